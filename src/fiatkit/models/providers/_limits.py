"""What an endpoint says in its headers of what is left of its rate limits."""

from __future__ import annotations

import math
import re
from collections.abc import Mapping
from datetime import datetime

from fiatkit.records import RateLimit, RateLimits

PATTERNS = ("x-ratelimit-{part}-{what}", "anthropic-ratelimit-{what}-{part}")
UNITS = {"ms": 0.001, "s": 1.0, "m": 60.0, "h": 3600.0, "d": 86400.0}
DURATION = re.compile(r"(\d+(?:\.\d+)?)(ms|s|m|h|d)")


def rate_limits(headers: Mapping[str, str], now: float) -> RateLimits | None:
    """The limits that the headers of an answer tell; None if they tell none.

    Args:
        headers: those of OpenAI, which most endpoints use, or of Anthropic.
        now: the time as seconds since 1970, for limits that are told as a date.
    """
    for pattern in PATTERNS:
        found = {what: _limit(headers, pattern, what, now) for what in ("requests", "tokens")}
        if any(limit != RateLimit() for limit in found.values()):
            return RateLimits(**found)
    return None


def _limit(headers: Mapping[str, str], pattern: str, what: str, now: float) -> RateLimit:
    def part(name: str) -> str:
        return headers.get(pattern.format(part=name, what=what), "").strip()

    return RateLimit(_number(part("limit")), _number(part("remaining")), _reset(part("reset"), now))


def _number(text: str) -> float | None:
    try:
        value = float(text)
    except ValueError:
        return None
    return value if math.isfinite(value) and value >= 0 else None


def _reset(text: str, now: float) -> float | None:
    """Seconds, from "1m6.5s", "20ms", a bare number, or a date such as 2026-01-31T12:00:00Z."""
    if (plain := _number(text)) is not None:
        return plain
    parts = DURATION.findall(text)
    if parts and "".join(number + unit for number, unit in parts) == text:
        return sum(float(number) * UNITS[unit] for number, unit in parts)
    try:
        return max(0.0, datetime.fromisoformat(text).timestamp() - now)
    except (ValueError, OverflowError, OSError):
        return None

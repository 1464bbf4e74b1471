"""What an HTTP status and its body mean for the run: one table, for every provider.

tests/models/test_statuses.py holds it against what servers really answer.
"""

from __future__ import annotations

import email.utils
import math
import re
import time
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

from fiatkit.errors import (
    FatalProviderError,
    ProviderError,
    RowProviderError,
    TransientProviderError,
)

LONGEST_WAIT = 24 * 3600.0


@dataclass(frozen=True, slots=True)
class Rule:
    """What an error answer means: the first rule whose parts all fit counts.

    Attributes:
        statuses: HTTP statuses, as a range.
        code: expression that the error's code or type must hold; empty: any.
        words: expression that its message must hold; empty: any.
        kind: the class of error that it becomes.
        reason: its name in the ledger; `{}` stands for the status.
        hint: what the user may do; empty: what the server says is quoted.
        ambiguous: the call may have been carried out and billed.
    """

    statuses: range
    code: str
    words: str
    kind: type[ProviderError]
    reason: str
    hint: str = ""
    ambiguous: bool = False

    def fits(self, status: int, code: str, words: str) -> bool:
        """Whether this rule is about such an answer."""
        return (
            status in self.statuses
            and re.search(self.code, code) is not None
            and re.search(self.words, words) is not None
        )


def _only(status: int) -> range:
    return range(status, status + 1)


ANY, CLIENT, SERVER = range(400, 600), range(400, 500), range(500, 600)
QUOTA = "The account has no quota left."
REFUSED = "content_filter|content_policy|moderation|invalid_prompt|data_inspection"
TOO_LONG = (
    "(?i)prompt is too long|maximum context length|exceeds the maximum number of tokens|"
    "context size has been exceeded|exceeds the available context size|string too long"
)
RULES = (
    Rule(range(300, 400), "", "", FatalProviderError, "redirect",
         "Redirects are not followed; give the final address as large.base_url."),
    Rule(_only(402), "", "", FatalProviderError, "quota", QUOTA),
    Rule(CLIENT, "quota|billing|spend_limit|credits", "", FatalProviderError, "quota", QUOTA),
    Rule(_only(400), "", "credit balance is too low", FatalProviderError, "quota", QUOTA),
    Rule(_only(429), "", "Request too large", RowProviderError, "too_long"),
    Rule(_only(429), "", "", TransientProviderError, "rate_limit"),
    Rule(CLIENT, "unsupported_(value|parameter)", "", FatalProviderError, "unsupported",
         "If it is a reasoning model, set large.reasoning: true."),
    Rule(CLIENT, REFUSED, "", RowProviderError, "refused"),
    Rule(_only(403), "", "(?i)flagged|moderation", RowProviderError, "refused"),
    Rule(range(401, 404, 2), "", "", FatalProviderError, "auth", "Check the key and its rights."),
    Rule(_only(400), "", "(?i)api key not valid|API_KEY_INVALID", FatalProviderError, "auth",
         "Check the key and its rights."),
    Rule(_only(404), "", "", FatalProviderError, "not_found",
         "Check large.model and large.base_url."),
    Rule(ANY, "context_length|exceed_context|string_above_max", "", RowProviderError, "too_long"),
    Rule(ANY, "", TOO_LONG, RowProviderError, "too_long"),
    Rule(_only(413), "", "", RowProviderError, "too_long"),
    Rule(range(408, 410), "", "", TransientProviderError, "http_{}", ambiguous=True),
    Rule(_only(502), "", "", TransientProviderError, "http_{}", ambiguous=True),
    Rule(_only(504), "", "", TransientProviderError, "http_{}", ambiguous=True),
    Rule(range(520, 525, 4), "", "", TransientProviderError, "http_{}", ambiguous=True),
    Rule(SERVER, "", "", TransientProviderError, "http_{}"),
    Rule(range(0, 1000), "", "", RowProviderError, "http_{}"),
)  # fmt: skip


def by_status(
    place: str, status: int, body: Any, headers: Any, quoted: Callable[[bytes], str]
) -> ProviderError:
    """The error for an answer of `place` that is no success.

    Args:
        place: the address, for the message.
        status: the HTTP status.
        body: the error's parsed JSON, or anything else.
        headers: with Retry-After, if the server names a pause.
        quoted: makes what the server says fit to be shown.
    """
    value = error_value(body)
    given = value.get("code")
    raw = given if isinstance(given, str) else value.get("type") or value.get("status")
    code = quoted(str(raw or "").encode(errors="replace"))
    words = quoted(str(value.get("message") or "").encode(errors="replace"))
    rule = next(rule for rule in RULES if rule.fits(status, code, words))
    kind = _obeyed(rule.kind, headers)
    said = f'"{place}" answered {status}'
    said += f" ({code})." if code.replace("_", "").isalnum() and len(code) < 60 else "."
    harmless = rule.kind is RowProviderError or rule.reason == "unsupported"
    told = f"It says: {words!r}" if words and harmless else ""
    wait = retry_after(headers, time.time()) if kind is TransientProviderError else None
    return kind(
        said,
        " ".join(filter(None, (told, rule.hint))),
        reason=rule.reason.format(status),
        ambiguous=rule.ambiguous,
        retry_after=wait,
    )


def _obeyed(kind: type[ProviderError], headers: Any) -> type[ProviderError]:
    """What becomes of an error when the server says itself whether to try again."""
    said = headers.get("x-should-retry")
    if said == "true" and kind is RowProviderError:
        return TransientProviderError
    return FatalProviderError if said == "false" and kind is TransientProviderError else kind


def error_value(body: Any) -> dict[str, Any]:
    """The error in an error answer: alone, under "error", in a list (Gemini), a text (Ollama)."""
    if isinstance(body, list) and body:
        body = body[0]
    if isinstance(body, dict) and "error" in body:
        body = body["error"]
    if isinstance(body, str):
        return {"message": body}
    return body if isinstance(body, dict) else {}


def retry_after(headers: Any, now: float) -> float | None:
    """Seconds to wait, from retry-after-ms or Retry-After; None if absent, invalid or absurd."""
    seconds: float | None = None
    try:
        if headers.get("retry-after-ms"):
            seconds = float(headers["retry-after-ms"]) / 1000
    except ValueError:
        seconds = None
    given = headers.get("retry-after")
    if seconds is None and given:
        try:
            seconds = float(given)
        except ValueError:
            try:
                seconds = email.utils.parsedate_to_datetime(given).timestamp() - now
            except (TypeError, ValueError, OverflowError):
                return None
    if seconds is None or not math.isfinite(seconds) or not 0 < seconds <= LONGEST_WAIT:
        return None
    return seconds

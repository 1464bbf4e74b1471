"""JSON without double keys, NaN, endless numbers, half characters and deep nesting."""

from __future__ import annotations

import json
import math
from typing import Any

from fiatkit.data.columns import repeated

DIGITS = 4300


class _Refused:
    """Stands in a parsed value where something is not allowed, and says what."""

    def __init__(self, why: str) -> None:
        self.why = why


class NotStrict(ValueError):
    """What is wrong with a value."""


def parse(text: str) -> tuple[Any, bool]:
    """Parse one JSON value.

    Returns:
        The value, and whether `check` must look at it before it is used.

    Raises:
        json.JSONDecodeError: it is no JSON; knows line and column.
        NotStrict: it is nested too deeply.
    """
    found: list[_Refused] = []

    def refuse(why: str) -> _Refused:
        found.append(_Refused(why))
        return found[-1]

    def pairs(items: list[tuple[str, Any]]) -> Any:
        values = dict(items)
        if len(values) == len(items):
            return values
        return refuse(f'the key "{repeated(name for name, _ in items)}" stands there twice')

    def integer(digits: str) -> Any:
        if len(digits) > DIGITS:
            return refuse(f"a number of {len(digits):,} digits; at most {DIGITS:,} are allowed")
        return int(digits)

    def real(digits: str) -> Any:
        value = float(digits)
        return value if math.isfinite(value) else refuse(f"the number {digits[:20]} is too large")

    try:
        value = json.loads(
            text,
            object_pairs_hook=pairs,
            parse_constant=lambda name: refuse(f"{name} is not allowed"),
            parse_int=integer,
            parse_float=real,
        )
    except RecursionError:
        raise NotStrict("not valid JSON (nested too deeply)") from None
    return value, bool(found) or "\\u" in text


def check(value: object) -> None:
    """Raise NotStrict if something in the value is not allowed."""
    try:
        json.dumps(value, ensure_ascii=False, default=_tell).encode()
    except UnicodeEncodeError:
        raise NotStrict(
            "holds half of a surrogate pair (\\ud800 to \\udfff), which is no character; the text "
            "was probably cut in the middle of an emoji"
        ) from None
    except RecursionError:
        raise NotStrict("not valid JSON (nested too deeply)") from None


def _tell(value: Any) -> None:
    raise NotStrict(f"not valid JSON ({value.why})")

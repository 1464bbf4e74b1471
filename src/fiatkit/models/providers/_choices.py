"""A set of answers as a JSON schema, and which of them a text names."""

from __future__ import annotations

import contextlib
import json
from collections.abc import Sequence
from typing import Any

AROUND = " \t\r\n\"'`*.“”‘’«»"
OUTSIDE = "outside_the_choices"


def schema(choices: Sequence[str]) -> dict[str, Any]:
    """A JSON schema whose only values are {"answer": one of `choices`}."""
    return {
        "type": "object",
        "properties": {"answer": {"type": "string", "enum": list(choices)}},
        "required": ["answer"],
        "additionalProperties": False,
    }


def chosen(text: str, choices: Sequence[str]) -> str | None:
    """The choice that a text names: as it stands, in JSON, or but for blanks, quotes and case."""
    with contextlib.suppress(ValueError, KeyError, TypeError):
        text = str(json.loads(text)["answer"])
    if text in choices:
        return text
    bare = text.strip(AROUND).casefold()
    named = [choice for choice in choices if choice.strip(AROUND).casefold() == bare]
    return named[0] if len(named) == 1 else None

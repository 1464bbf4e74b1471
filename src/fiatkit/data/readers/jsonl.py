"""JSON lines: one object a line. Lines end with a newline only, whatever else Unicode breaks on."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from fiatkit.data.rows import read_text
from fiatkit.errors import DataError

SUFFIXES = (".jsonl", ".ndjson")


def read(path: Path) -> Iterator[tuple[int, dict[str, object]]]:
    """Yield (line, object). Raises DataError for anything that strict JSON does not allow."""
    text = read_text(path)
    end = "\n" if "\n" in text else "\r"  # a file of the old Mac has carriage returns only
    for number, line in enumerate(text.split(end), 1):
        if not line.strip():
            continue
        try:
            value = json.loads(line, object_pairs_hook=_no_duplicates, parse_constant=_no_constant)
        except (ValueError, RecursionError) as error:
            raise DataError(
                f'"{path}", line {number}: not valid JSON ({error}).',
                "Each line must be one complete JSON object.",
            ) from None
        if not isinstance(value, dict):
            raise DataError(
                f'"{path}", line {number}: holds a {type(value).__name__}, not an object.'
            )
        if "\\u" in line and _has_half_pair(value):
            raise DataError(
                f'"{path}", line {number}: holds half of a surrogate pair (\\ud800 to \\udfff), '
                "which is no character.",
                "The text was probably cut in the middle of an emoji; mend it where it was made.",
            )
        yield number, value


def _has_half_pair(value: object) -> bool:
    try:
        json.dumps(value, ensure_ascii=False).encode()
    except UnicodeEncodeError:
        return True
    return False


def _no_duplicates(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    found = dict(pairs)
    if len(found) < len(pairs):
        names = [name for name, _ in pairs]
        twice = next(name for name in names if names.count(name) > 1)
        raise ValueError(f'the key "{twice}" stands there twice')
    return found


def _no_constant(name: str) -> None:
    raise ValueError(f"{name} is not allowed")

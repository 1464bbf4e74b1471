"""JSON lines: one object a line. Lines end with a newline only, whatever else Unicode breaks on."""

from __future__ import annotations

import json
from collections.abc import Iterator

from fiatkit.data.readers import _strict
from fiatkit.data.source import Source
from fiatkit.errors import DataError

SUFFIXES = (".jsonl", ".ndjson")


def read(source: Source) -> Iterator[tuple[int, dict[str, object]]]:
    """Yield (line, object). Raises DataError for anything that strict JSON does not allow."""
    for number, line in enumerate(source.lines(source.line_end()), 1):
        if not line.strip():
            continue
        try:
            value, doubtful = _strict.parse(line)
            if doubtful:
                _strict.check(value)
        except json.JSONDecodeError as error:
            raise DataError(
                f'"{source.path}", line {number}, column {error.colno}: not valid JSON '
                f"({error.msg}).",
                "Each line must be one complete JSON object.",
            ) from None
        except _strict.NotStrict as error:
            raise DataError(
                f'"{source.path}", line {number}: {error}.', "Mend the row where it was made."
            ) from None
        if not isinstance(value, dict):
            raise DataError(
                f'"{source.path}", line {number}: holds a {type(value).__name__}, not an object.',
                "Each line must be one complete JSON object.",
            )
        yield number, value

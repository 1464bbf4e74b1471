"""JSON: a list of objects, or an object that holds exactly one list of objects."""

from __future__ import annotations

import json
from collections.abc import Iterator
from typing import Any

from fiatkit.data.readers import _strict
from fiatkit.data.source import Source
from fiatkit.errors import DataError

SUFFIXES = (".json",)
COUNTED = "row"
HINT = (
    'Write a list of objects: [{"id": "1", "text": "..."}, ...]; from pandas by '
    'frame.to_json(path, orient="records").'
)


def read(source: Source) -> Iterator[tuple[int, dict[str, object]]]:
    """Yield (number of the row from 1, object).

    Raises:
        DataError: not strict JSON, or another shape; names line and column, or the row.
    """
    try:
        document, doubtful = _strict.parse(source.text())
    except json.JSONDecodeError as error:
        raise DataError(
            f'"{source.path}", line {error.lineno}, column {error.colno}: not valid JSON '
            f"({error.msg}).",
            "If the file has one object a line, call it .jsonl.",
        ) from None
    except _strict.NotStrict as error:
        raise DataError(f'"{source.path}": {error}.') from None
    rows = _rows(source, document)
    for number, value in enumerate(rows, 1):
        _check(f'"{source.path}", row {number}', value, doubtful)
        if not isinstance(value, dict):
            raise DataError(
                f'"{source.path}", row {number}: holds a {type(value).__name__}, not an object.',
                HINT,
            )
        yield number, value
    _check(f'"{source.path}"', document, doubtful)


def _rows(source: Source, document: Any) -> list[Any]:
    if isinstance(document, list):
        return document
    if not isinstance(document, dict):
        _check(f'"{source.path}"', document, True)
        raise DataError(f'"{source.path}" holds a {type(document).__name__}, not a list.', HINT)
    lists = {
        name: value
        for name, value in document.items()
        if isinstance(value, list) and any(isinstance(item, dict) for item in value)
    }
    if len(lists) != 1:
        told = ", ".join(f'"{name}"' for name in lists) or "none"
        raise DataError(
            f'"{source.path}" holds an object with {len(lists)} lists of objects ({told}); exactly '
            "one is needed.",
            HINT,
        )
    return next(iter(lists.values()))


def _check(place: str, value: object, doubtful: bool) -> None:
    try:
        if doubtful:
            _strict.check(value)
    except _strict.NotStrict as error:
        raise DataError(f"{place}: {error}.", "Mend the row where it was made.") from None

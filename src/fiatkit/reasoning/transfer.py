"""Answers in and out of a store's file, each with its checksum."""

from __future__ import annotations

import base64
import json
import sqlite3
from collections.abc import Iterable
from pathlib import Path
from typing import Any

from fiatkit.errors import DataError
from fiatkit.files import read_jsonl, write_whole
from fiatkit.reasoning import schema
from fiatkit.reasoning.schema import COLUMNS, SELECTED, Row

BINARY = ("text", "reasoning")


def export(db: sqlite3.Connection, path: Path) -> int:
    """Write all answers as JSON lines, in the order in which they came. Returns how many."""
    rows = db.execute(f"SELECT {SELECTED} FROM completions ORDER BY seq")
    lines = [_line(row) for row in rows]
    write_whole(path, "".join(lines).encode())
    return len(lines)


def _line(row: Row) -> str:
    value: dict[str, Any] = {}
    for name, item in zip(COLUMNS, row, strict=True):
        if not isinstance(item, bytes):
            if item is not None or name not in schema.LATER:
                value[name] = item
            continue
        try:
            value[name] = item.decode()
        except UnicodeDecodeError:
            value[f"{name}_base64"] = base64.b64encode(item).decode()
    return json.dumps(value, ensure_ascii=False) + "\n"


def read_rows(path: Path) -> list[Row]:
    """The rows of an exported file.

    Raises:
        DataError: it is no such file, or the checksum of a line does not hold.
    """
    rows = []
    try:
        for number, value in enumerate(read_jsonl(path), 1):
            row = tuple(_item(value, name) for name in COLUMNS)
            if not schema.intact(row):
                raise DataError(f'"{path}", line {number}: the checksum does not hold.')
            rows.append(row)
    except (OSError, ValueError, KeyError, TypeError, AttributeError) as error:
        raise DataError(f'"{path}" is not an exported store ({error}).') from None
    return rows


def _item(value: dict[str, Any], name: str) -> Any:
    if name in BINARY:
        text = value.get(name)
        if text is not None:
            return text.encode()
        coded = value.get(f"{name}_base64")
        return None if coded is None else base64.b64decode(coded)
    return value.get(name) if name in schema.LATER else value[name]


def add(db: sqlite3.Connection, rows: Iterable[Row]) -> dict[str, int]:
    """Insert rows whose key is not there; say how many were, and how many differ from what is."""
    counts = {"added": 0, "here already": 0, "in conflict (kept what is here)": 0}
    marks = ", ".join("?" * len(COLUMNS))
    for row in rows:
        here = db.execute(
            "SELECT text, finish FROM completions WHERE key = ?", (row[0],)
        ).fetchone()
        if here is None:
            db.execute(f"INSERT INTO completions ({SELECTED}) VALUES ({marks})", row)
            counts["added"] += 1
        elif tuple(here) == (row[2], row[3]):
            counts["here already"] += 1
        else:
            counts["in conflict (kept what is here)"] += 1
    return counts

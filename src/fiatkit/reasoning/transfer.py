"""Answers from one store's file to another, each under its checksum, a few at a time in memory."""

from __future__ import annotations

import base64
import json
import sqlite3
from collections import Counter
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import Any

from fiatkit.data.arrow import pyarrow
from fiatkit.errors import DataError
from fiatkit.files import read_jsonl, writing_whole
from fiatkit.reasoning import schema
from fiatkit.reasoning.schema import COLUMNS, FIRST, LATER, SELECTED, Row

BINARY = ("text", "reasoning")
BATCH = 1000
ADDED, HERE, CONFLICT = "added", "here already", "in conflict (kept what is here)"
TYPES = {
    **dict.fromkeys(COLUMNS, "string"),
    **dict.fromkeys(BINARY, "binary"),
    **dict.fromkeys(("seconds", "created"), "float64"),
    **dict.fromkeys((n for n in COLUMNS if n.endswith("_tokens") or n == "cost"), "int64"),
}


def export(db: sqlite3.Connection, path: Path) -> int:
    """Write all answers in the order in which they came: as Parquet, or as JSON lines.

    Returns:
        How many they are.

    Raises:
        MissingExtraError: Parquet, and pyarrow is not installed.
    """
    rows = db.execute(f"SELECT {SELECTED} FROM completions ORDER BY seq")
    if path.suffix == ".parquet":
        return _export_parquet(rows, path)
    count = 0
    with writing_whole(path) as file:
        for row in rows:
            file.write(_line(row))
            count += 1
    return count


def _export_parquet(rows: sqlite3.Cursor, path: Path) -> int:
    arrow = pyarrow("Parquet export")
    table = arrow.schema([(name, arrow.type_for_alias(TYPES[name])) for name in COLUMNS])
    count = 0
    with writing_whole(path) as file, arrow.parquet.ParquetWriter(file, table) as writer:
        while group := rows.fetchmany(BATCH):
            columns = [list(values) for values in zip(*group, strict=True)]
            writer.write_table(arrow.table(columns, schema=table))
            count += len(group)
    return count


def _line(row: Row) -> bytes:
    value: dict[str, Any] = {}
    for name, item in zip(COLUMNS, row, strict=True):
        if not isinstance(item, bytes):
            if item is not None or name not in LATER:
                value[name] = item
            continue
        try:
            value[name] = item.decode()
        except UnicodeDecodeError:
            value[f"{name}_base64"] = base64.b64encode(item).decode()
    return (json.dumps(value, ensure_ascii=False) + "\n").encode()


def exported_rows(path: Path) -> Iterator[Row]:
    """The rows of an exported file, each checked.

    Raises:
        DataError: it is no such file, or the checksum of a row does not hold.
    """
    source = _parquet_rows(path) if path.suffix == ".parquet" else map(_row, read_jsonl(path))
    number = 0
    try:
        for number, row in enumerate(source, 1):
            if not schema.intact(row):
                raise DataError(f'"{path}", row {number}: the checksum does not hold.')
            yield row
    except (OSError, ValueError, KeyError, TypeError, AttributeError) as error:
        raise DataError(
            f'"{path}" is not an exported store (after row {number}: {error}).'
        ) from None


def _parquet_rows(path: Path) -> Iterator[Row]:
    with pyarrow("A Parquet file").parquet.ParquetFile(path) as file:
        for batch in file.iter_batches(batch_size=BATCH):
            for value in batch.to_pylist():
                yield tuple(value[name] for name in COLUMNS)


def _row(value: dict[str, Any]) -> Row:
    """A line of JSON as a row; exports of schema 1 have no later columns."""
    items = []
    for name in COLUMNS:
        item = value[name] if name in FIRST and name not in BINARY else value.get(name)
        if name in BINARY and item is not None:
            item = item.encode()
        elif name in BINARY and f"{name}_base64" in value:
            item = base64.b64decode(value[f"{name}_base64"])
        items.append(item)
    return tuple(items)


def add(db: sqlite3.Connection, rows: Iterable[Row]) -> Counter[str]:
    """Insert rows whose key is not there, inside a transaction; count what became of each."""
    counts = Counter({ADDED: 0, HERE: 0, CONFLICT: 0})
    marks = ", ".join("?" * len(COLUMNS))
    for row in rows:
        done = db.execute(f"INSERT OR IGNORE INTO completions ({SELECTED}) VALUES ({marks})", row)
        if done.rowcount:
            counts[ADDED] += 1
            continue
        here = db.execute("SELECT text, finish FROM completions WHERE key = ?", (row[0],))
        counts[HERE if here.fetchone() == (row[2], row[3]) else CONFLICT] += 1
    return counts


def merge(db: sqlite3.Connection, other: sqlite3.Connection) -> Counter[str]:
    """Add the answers, attempts and open batches of another store, inside a transaction.

    What is there already is not added twice; a batch that is over here stays so. A request that
    the other store has under way, with nobody holding it, may have been billed.
    """
    rows = other.execute(f"SELECT {SELECTED} FROM completions ORDER BY seq")
    damaged = 0

    def intact() -> Iterator[Row]:
        nonlocal damaged
        for row in rows:
            if schema.intact(row):
                yield row
            else:
                damaged += 1

    counts = add(db, intact())
    counts["damaged (left out)"] = damaged
    columns = ", ".join(schema.ATTEMPT)
    marks = ", ".join("?" * len(schema.ATTEMPT))
    same = "key = ? AND started = ? AND pid = ? AND host = ?"
    for attempt in other.execute(f"SELECT {columns} FROM attempts ORDER BY seq"):
        value = dict(zip(schema.ATTEMPT, attempt, strict=True))
        if value["outcome"] == "leased" and not value["batch"]:
            value |= {"outcome": "ambiguous", "possibly_billed": 1}
        counts["attempts"] += db.execute(
            f"INSERT INTO attempts ({columns}) SELECT {marks} "
            f"WHERE NOT EXISTS (SELECT 1 FROM attempts WHERE {same})",
            (*value.values(), value["key"], value["started"], value["pid"], value["host"]),
        ).rowcount
    _merge_batches(db, other)
    return counts


def _merge_batches(db: sqlite3.Connection, other: sqlite3.Connection) -> None:
    """So that the batches which the other store handed in are fetched from here."""
    for batch in other.execute("SELECT name, id, model, state, rows, began FROM batches"):
        db.execute(
            "INSERT INTO batches (name, id, model, state, rows, began) VALUES (?, ?, ?, ?, ?, ?) "
            "ON CONFLICT (name) DO UPDATE SET id = excluded.id WHERE id = ''",
            batch,
        )
    rows = other.execute(
        "SELECT r.key, r.batch, r.request, a.started, a.pid, a.host FROM batch_rows r "
        "JOIN attempts a ON a.seq = r.attempt"
    )
    for key, batch, request, *attempt in rows:
        db.execute(
            "INSERT OR IGNORE INTO batch_rows (key, batch, request, attempt) SELECT ?, ?, ?, seq "
            "FROM attempts WHERE key = ? AND started = ? AND pid = ? AND host = ? "
            "AND outcome = 'leased'",
            (key, batch, request, key, *attempt),
        )


def difference(db: sqlite3.Connection, other: sqlite3.Connection) -> Iterator[tuple[str, str]]:
    """Yield (what, key) for every answer that is not the same in both stores, by key.

    `what` is "only in the first", "only in the second", or "different".
    """
    query = "SELECT key, text, finish FROM completions ORDER BY key"
    first, second = db.execute(query), other.execute(query)
    a, b = first.fetchone(), second.fetchone()
    while a or b:
        if b is None or (a and a[0] < b[0]):
            yield "only in the first", a[0]
            a = first.fetchone()
        elif a is None or b[0] < a[0]:
            yield "only in the second", b[0]
            b = second.fetchone()
        else:
            if a != b:
                yield "different", a[0]
            a, b = first.fetchone(), second.fetchone()

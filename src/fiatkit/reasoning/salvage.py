"""What can still be read from a damaged store: every page is looked at, the file's order is not.

SQLite finds rows by way of a tree, which a few lost bytes break. Here each page that looks like a
leaf of a table is decoded on its own (https://www.sqlite.org/fileformat2.html), in the file and
in its -wal, newest first; an answer counts if its checksum holds, whatever became of the rest.
"""

from __future__ import annotations

import hashlib
import mmap
import os
import sqlite3
import struct
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

from fiatkit.errors import DataError
from fiatkit.files import sync
from fiatkit.reasoning import place, schema
from fiatkit.reasoning.schema import ATTEMPT, COLUMNS, FIRST, LATER, SELECTED, Row

PAGE = 4096
LEAF = 0x0D
REAL = ("seconds", "created", "started", "ended")
WAL_HEADER, FRAME_HEADER = 32, 24
CLOSED = """DELETE FROM batch_rows WHERE attempt NOT IN (
SELECT seq FROM attempts WHERE outcome = 'leased')"""  # an older page may hold them still
INTEGERS = {1: 1, 2: 2, 3: 3, 4: 4, 5: 6, 6: 8}


def recover(path: Path) -> Counter[str]:
    """Replace a damaged store by one of all answers and attempts that can be read.

    The damaged file, with its -wal, is kept as `<name>.corrupt-<n>`.

    Returns:
        How many answers and attempts were saved.

    Raises:
        DataError: there is no such file.
        StoreLockedError: a process writes it.
    """
    if not path.is_file():
        raise DataError(f'There is no store "{path}".', "Name it with --store.")
    lock = place.lock(path)
    try:
        fresh = path.with_name(f"{path.name}.recovered")
        fresh.unlink(missing_ok=True)
        os.close(os.open(fresh, os.O_RDWR | os.O_CREAT, 0o600))
        counts = _salvage(path, fresh)
        _swap(path, fresh)
        lock.mark("closed")
    finally:
        lock.close()
    return counts


def _salvage(path: Path, fresh: Path) -> Counter[str]:
    db = sqlite3.connect(fresh, isolation_level=None)
    try:
        schema.bring_up_to_date(db, fresh)
        db.execute("BEGIN")
        for number, row in _records(path):
            if len(row) in (1 + len(FIRST) + 1, 1 + len(COLUMNS)):
                _keep_answer(db, number, row)
            elif len(row) in (11, 1 + len(ATTEMPT)):
                _keep_attempt(db, number, row)
            elif len(row) == 6:
                _keep_batch(db, row)
            elif len(row) == 4:
                _keep_batch_row(db, row)
        db.execute(CLOSED)
        db.execute("COMMIT")
        tables = ("completions", "attempts")
        return Counter(
            {name: db.execute(f"SELECT count(*) FROM {name}").fetchone()[0] for name in tables}
        )
    finally:
        db.close()


def _keep_answer(db: sqlite3.Connection, number: int, row: Row) -> None:
    """In the file: number, the columns of schema 1, the sum, the later columns."""
    later = row[len(FIRST) + 2 :] or (None,) * len(LATER)
    values = _typed(COLUMNS, (*row[1 : len(FIRST) + 1], *later, row[len(FIRST) + 1]))
    if schema.intact(values):
        marks = ", ".join("?" * (1 + len(COLUMNS)))
        db.execute(
            f"INSERT OR IGNORE INTO completions (seq, {SELECTED}) VALUES ({marks})",
            (number, *values),
        )


def _keep_attempt(db: sqlite3.Connection, number: int, row: Row) -> None:
    """Attempts have no sum: what has the right types counts, ended before under way."""
    values = _typed(ATTEMPT, (*row[1:], None, None, "", "", "")[: len(ATTEMPT)])
    value = dict(zip(ATTEMPT, values, strict=True))
    texts = all(isinstance(value[name], str) for name in ("key", "host", "outcome", "run"))
    if not (texts and len(value["key"]) == 64 and isinstance(value["started"], float)):
        return
    marks = ", ".join("?" * (1 + len(ATTEMPT)))
    db.execute(
        f"INSERT INTO attempts (seq, {', '.join(ATTEMPT)}) VALUES ({marks}) "
        f"ON CONFLICT (seq) DO UPDATE SET {', '.join(f'{n} = excluded.{n}' for n in ATTEMPT)} "
        "WHERE attempts.ended IS NULL",
        (number, *values),
    )


def _keep_batch(db: sqlite3.Connection, row: Row) -> None:
    """The newest that is found of a batch."""
    *texts, rows, began = row
    right = all(isinstance(text, str) for text in texts) and str(row[2]).startswith("[")
    if right and isinstance(rows, int) and isinstance(began, int | float):
        db.execute("INSERT OR IGNORE INTO batches VALUES (?, ?, ?, ?, ?, ?)", row)


def _keep_batch_row(db: sqlite3.Connection, row: Row) -> None:
    """A row of a batch; its key is the sha256 of its request."""
    key, batch, request, attempt = row
    right = isinstance(request, str) and isinstance(batch, str) and isinstance(attempt, int)
    if right and hashlib.sha256(request.encode(errors="surrogateescape")).hexdigest() == key:
        db.execute("INSERT OR IGNORE INTO batch_rows VALUES (?, ?, ?, ?)", row)


def _typed(names: Sequence[str], values: Row) -> Row:
    """SQLite keeps a real number without a fraction as an integer."""
    return tuple(
        float(value) if name in REAL and isinstance(value, int) else value
        for name, value in zip(names, values, strict=True)
    )


def _swap(path: Path, fresh: Path) -> None:
    """Put the new file in the place of the old, which is there under another name before."""
    number = 1
    while path.with_name(f"{path.name}.corrupt-{number}").exists():
        number += 1
    for suffix in ("-wal", ""):
        old = path.with_name(path.name + suffix)
        if old.exists():
            os.link(old, path.with_name(f"{path.name}.corrupt-{number}{suffix}"))
    sync(path.parent)
    for suffix in ("-wal", "-shm"):
        path.with_name(path.name + suffix).unlink(missing_ok=True)
    sync(path.parent)
    fresh.replace(path)
    sync(path.parent)


def _records(path: Path) -> Iterator[tuple[int, Row]]:
    """Yield (row id, values) of whatever decodes as a row, newest pages first."""
    wal = path.with_name(f"{path.name}-wal")
    with path.open("rb") as file, _mapped(file.fileno()) as main:
        if wal.exists() and wal.stat().st_size > WAL_HEADER:
            with wal.open("rb") as log, _mapped(log.fileno()) as frames:
                newest = dict(_frames(frames))
                step = FRAME_HEADER + PAGE
                starts = range(WAL_HEADER + FRAME_HEADER, len(frames) - PAGE + 1, step)
                for start in reversed(starts):
                    yield from _rows(frames[start : start + PAGE], main, frames, newest)
                yield from _of_file(main, frames, newest)
        else:
            yield from _of_file(main, b"", {})


def _of_file(main: Any, frames: Any, newest: Mapping[int, int]) -> Iterator[tuple[int, Row]]:
    for start in range(0, len(main), PAGE):
        yield from _rows(main[start : start + PAGE], main, frames, newest)


def _mapped(handle: int) -> Any:
    return mmap.mmap(handle, 0, access=mmap.ACCESS_READ) if os.fstat(handle).st_size else _Empty()


class _Empty(bytes):
    """An empty file, which cannot be mapped."""

    def __enter__(self) -> _Empty:
        return self

    def __exit__(self, *exception: object) -> None:
        return


def _frames(frames: Any) -> Iterator[tuple[int, int]]:
    """Yield (page number, where its content begins) for the frames of a -wal, oldest first."""
    for start in range(WAL_HEADER, len(frames) - FRAME_HEADER - PAGE + 1, FRAME_HEADER + PAGE):
        yield struct.unpack_from(">I", frames, start)[0], start + FRAME_HEADER


def _rows(
    page: bytes, main: Any, frames: Any, newest: Mapping[int, int]
) -> Iterator[tuple[int, Row]]:
    if len(page) < PAGE or page[0] != LEAF:
        return
    (cells,) = struct.unpack_from(">H", page, 3)
    for index in range(min(cells, (PAGE - 8) // 2)):
        (at,) = struct.unpack_from(">H", page, 8 + 2 * index)
        for pages in (newest, {}) if newest else ({},):
            try:
                number, payload = _payload(page, at, main, frames, pages)
                row = _decoded(payload)
            except (LookupError, struct.error, ValueError):
                continue
            yield number, row


def _payload(
    page: bytes, at: int, main: Any, frames: Any, newest: Mapping[int, int]
) -> tuple[int, bytes]:
    """The row id and the whole payload of a cell, its overflow pages followed."""
    size, at = _varint(page, at)
    number, at = _varint(page, at)
    if size <= PAGE - 35:
        return number, page[at : at + size]
    least = (PAGE - 12) * 32 // 255 - 23
    local = least + (size - least) % (PAGE - 4)
    local = local if local <= PAGE - 35 else least
    parts, left = [page[at : at + local]], size - local
    (following,) = struct.unpack_from(">I", page, at + local)
    if left > len(main) + len(frames):
        raise ValueError("longer than the file")
    while left > 0:
        if following in newest:
            content = frames[newest[following] : newest[following] + PAGE]
        else:
            content = main[(following - 1) * PAGE : following * PAGE]
        parts.append(content[4 : 4 + left])
        left -= len(parts[-1])
        if not parts[-1]:
            raise ValueError("an overflow page is not there")
        (following,) = struct.unpack_from(">I", content)
    return number, b"".join(parts)


def _decoded(payload: bytes) -> Row:
    """The values of a record."""
    end, at = _varint(payload, 0)
    values: list[Any] = []
    body = end
    while at < end:
        kind, at = _varint(payload, at)
        if kind in INTEGERS:
            size = INTEGERS[kind]
            values.append(int.from_bytes(payload[body : body + size], "big", signed=True))
        elif kind == 7:
            size = 8
            values.append(struct.unpack_from(">d", payload, body)[0])
        elif kind >= 12:
            size = (kind - 12) // 2
            raw = payload[body : body + size]
            values.append(raw.decode() if kind % 2 else raw)
        else:
            size = 0
            values.append({0: None, 8: 0, 9: 1}[kind])
        body += size
    return tuple(values)


def _varint(raw: bytes, at: int) -> tuple[int, int]:
    value = 0
    for index in range(8):
        byte = raw[at + index]
        value = value << 7 | byte & 0x7F
        if byte < 0x80:
            return value, at + index + 1
    return value << 8 | raw[at + 8], at + 9

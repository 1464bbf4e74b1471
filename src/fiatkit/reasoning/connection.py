"""Connections to a store's file: how one looks, what errors mean, what a fork may not do."""

from __future__ import annotations

import contextlib
import os
import sqlite3
import weakref
from collections.abc import Iterator
from pathlib import Path
from typing import Protocol

from fiatkit.errors import EnvironmentProblem, StoreCorruptError
from fiatkit.files import Lock
from fiatkit.reasoning import place

RECOVER = "It was left as it is. `fiat store recover` saves every answer whose checksum holds."


class Open(Protocol):
    """A store that has connections and perhaps a lock."""

    _db: sqlite3.Connection
    _guard: sqlite3.Connection
    _lock: Lock | None


OPEN: weakref.WeakSet[Open] = weakref.WeakSet()
_OF_THE_PARENT: list[sqlite3.Connection] = []


def _leave_to_parent() -> None:
    """In a forked child: let go of the parent's lock, and never touch its connections."""
    for store in OPEN:
        _OF_THE_PARENT.extend((store._db, store._guard))
        if store._lock:
            store._lock.close()


os.register_at_fork(after_in_child=_leave_to_parent)


def connected(place: str | Path) -> sqlite3.Connection:
    """A connection without transactions of its own."""
    uri = isinstance(place, str)
    return sqlite3.connect(place, uri=uri, isolation_level=None, check_same_thread=False)


def reader(path: Path) -> sqlite3.Connection:
    """A connection that can neither write nor checkpoint."""
    uri = f"{path.resolve().as_uri()}?mode=ro"
    if not Path(f"{path}-wal").exists() and not os.access(path.parent, os.W_OK):
        uri += "&immutable=1"
    db = connected(uri)
    try:
        db.execute("SELECT count(*) FROM sqlite_master").fetchone()
    except BaseException:
        db.close()
        raise
    return db


@contextlib.contextmanager
def lenient(db: sqlite3.Connection) -> Iterator[None]:
    """While reading many rows: bytes that are no text come as surrogates, and fail the checksum."""
    db.text_factory = lambda raw: raw.decode(errors="surrogateescape")
    try:
        yield
    finally:
        db.text_factory = str


@contextlib.contextmanager
def explained(path: Path) -> Iterator[None]:
    """Turn SQLite's errors into ours."""
    try:
        yield
    except (sqlite3.DatabaseError, OSError) as error:
        raise explanation(path, error) from None


def explanation(path: Path, error: Exception) -> Exception:
    """What an error of SQLite means; itself, if it is not for the user."""
    text = str(error)
    if "malformed" in text or "not a database" in text:
        return StoreCorruptError(f'The store "{path}" is damaged: {text}.', RECOVER)
    if isinstance(error, sqlite3.OperationalError | OSError):
        return EnvironmentProblem(
            f'The store "{path}" cannot be used: {text}{place.room(path)}.',
            "Every answer that was acknowledged is kept. Free disk space or mend the "
            "permissions, then run the same command again.",
        )
    return error

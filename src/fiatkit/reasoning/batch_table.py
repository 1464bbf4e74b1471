"""Which batches were handed in, and which of their rows are open: two tables of the store.

A batch and the attempts of all its rows are committed before anything is sent, so that a crash at
any point leaves either an intent, which is looked up at the provider, or an id.
"""

from __future__ import annotations

import json
import sqlite3
import time
from collections.abc import Callable, Sequence
from contextlib import AbstractContextManager
from dataclasses import dataclass

from fiatkit.reasoning import ledger
from fiatkit.reasoning.key import canonical_request, request_of
from fiatkit.records import ModelIdentity, Request

OPEN = "open"
Row = tuple[str, Request]


@dataclass(frozen=True, slots=True)
class Batch:
    """A batch that is not over. `id` is the provider's, "" as long as it is not known."""

    name: str
    id: str
    rows: int
    began: float


@dataclass(frozen=True, slots=True)
class OpenRow:
    """A row of a batch without a result yet, and its attempt in the ledger."""

    key: str
    request: Request
    attempt: int


class BatchTable:
    """The tables `batches` and `batch_rows` of an open store.

    Args:
        db: the store's connection that writes.
        reading: the one that looks, also while the other waits for the disk.
        writing: makes one transaction.
    """

    def __init__(
        self,
        db: sqlite3.Connection,
        reading: sqlite3.Connection,
        writing: Callable[[], AbstractContextManager[None]],
    ) -> None:
        self._db = db
        self._reading = reading
        self._writing = writing

    def begin(self, name: str, model: ModelIdentity, rows: Sequence[Row], run: str = "") -> None:
        """Commit that a batch is about to be handed in: the batch, its rows and their attempts."""
        with self._writing():
            self._db.execute(
                "INSERT INTO batches (name, model, state, rows, began) VALUES (?, ?, ?, ?, ?)",
                (name, _name(model), OPEN, len(rows), time.time()),
            )
            for key, request in rows:
                attempt = ledger.begin(self._db, key, run, model.model, name)
                self._db.execute(
                    "INSERT INTO batch_rows (key, batch, request, attempt) VALUES (?, ?, ?, ?)",
                    (key, name, canonical_request(model, request), attempt),
                )

    def settle(self, name: str, identity: str) -> None:
        """Keep the provider's id of a batch."""
        with self._writing():
            self._db.execute("UPDATE batches SET id = ? WHERE name = ?", (identity, name))

    def disown(self, batch: Batch) -> None:
        """The provider's id was another's batch: remember it as such, and look again."""
        with self._writing():
            self._db.execute("UPDATE batches SET id = '' WHERE name = ?", (batch.name,))
            self._db.execute(
                "INSERT INTO batches (name, id, model, state, rows, began) "
                "SELECT ?, ?, model, 'foreign', rows, began FROM batches WHERE name = ?",
                (f"{batch.name}:{batch.id}", batch.id, batch.name),
            )

    def close(self, name: str, state: str) -> None:
        """A batch is over, and each of its rows has its result."""
        with self._writing():
            self._db.execute("UPDATE batches SET state = ? WHERE name = ?", (state, name))

    def close_row(self, key: str) -> None:
        """A row has its result."""
        with self._writing():
            self._db.execute("DELETE FROM batch_rows WHERE key = ?", (key,))

    def open(self, model: ModelIdentity) -> list[Batch]:
        """The batches of a model that are not over, the oldest first."""
        found = self._db.execute(
            "SELECT name, id, rows, began FROM batches WHERE model = ? AND state = ? "
            "ORDER BY rowid",
            (_name(model), OPEN),
        )
        return [Batch(*row) for row in found]

    def ids(self) -> set[str]:
        """All ids of the provider's that are known here."""
        return {str(row[0]) for row in self._db.execute("SELECT id FROM batches WHERE id <> ''")}

    def row(self, key: str, batch: str) -> OpenRow | None:
        """An open row of a batch; None if it is not open, or another's."""
        found = self._db.execute(
            "SELECT key, request, attempt FROM batch_rows WHERE key = ? AND batch = ?", (key, batch)
        ).fetchone()
        return None if found is None else _row(found)

    def rows(self, batch: str, most: int = 100) -> list[OpenRow]:
        """Some of the open rows of a batch."""
        found = self._db.execute(
            "SELECT key, request, attempt FROM batch_rows WHERE batch = ? LIMIT ?", (batch, most)
        )
        return [_row(row) for row in found]

    def count(self, batch: str) -> int:
        """How many rows of a batch are open."""
        query = "SELECT count(*) FROM batch_rows WHERE batch = ?"
        return int(self._db.execute(query, (batch,)).fetchone()[0])

    def has(self, key: str) -> bool:
        """Whether a request is in a batch that is not over."""
        found = self._reading.execute("SELECT 1 FROM batch_rows WHERE key = ?", (key,))
        return found.fetchone() is not None

    def open_rows(self) -> int:
        """How many rows are in batches that are not over."""
        return int(self._db.execute("SELECT count(*) FROM batch_rows").fetchone()[0])


def _name(model: ModelIdentity) -> str:
    return json.dumps([model.provider, model.endpoint, model.model, model.revision])


def _row(values: tuple[str, str, int]) -> OpenRow:
    return OpenRow(values[0], request_of(json.loads(values[1])), values[2])

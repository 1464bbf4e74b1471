"""Looking at a store: its answers, its ledger, whether it is intact. Nothing here writes."""

from __future__ import annotations

import json
import os
import sqlite3
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any, Self

from fiatkit.errors import FiatError
from fiatkit.files import Lock
from fiatkit.reasoning import checks, ledger, schema, transfer
from fiatkit.reasoning.connection import OPEN, explanation, lenient
from fiatkit.reasoning.ledger import Group, Spent
from fiatkit.reasoning.schema import SELECTED
from fiatkit.records import Completion

GET = f"SELECT {', '.join(schema.ANSWER)} FROM completions WHERE key IN"
GET_WITH_REQUEST = f"SELECT {SELECTED} FROM completions WHERE key = ?"


class StoreReader:
    """A store that is open for looking only. Use it as a context manager.

    Args:
        path: the file.
        db: a connection to it.
        reading: another one, for looking while `db` waits for the disk; default: `db`.
    """

    _lock: Lock | None = None

    def __init__(
        self, path: Path, db: sqlite3.Connection, reading: sqlite3.Connection | None = None
    ) -> None:
        self.path = path
        self.corrupt = 0
        self._db = db
        self._reading = self._guard = reading or db
        self._process = os.getpid()
        OPEN.add(self)

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *exception: object) -> None:
        self.close()

    def close(self) -> None:
        """Close the file; in a fork, leave it to the process that opened it."""
        if self._process == os.getpid():
            self._db.close()

    def _check_process(self) -> None:
        if self._process != os.getpid():
            raise FiatError(
                f'The store "{self.path}" was opened by process {self._process}; this is a fork '
                f"of it, process {os.getpid()}.",
                "Open the store after the fork, in one process.",
            )

    def get(self, key: str) -> Completion | None:
        """The committed answer of a request, of whatever kind; None if there is none.

        A row whose checksum does not hold is counted in `corrupt` and taken as absent.
        """
        return self.get_all((key,)).get(key)

    def get_all(self, keys: Sequence[str]) -> dict[str, Completion]:
        """The committed answers of many requests, by key; those that have none are left out."""
        self._check_process()
        marks = ", ".join("?" * len(keys))
        try:
            answers = self._reading.execute(f"{GET} ({marks})", keys).fetchall()
        except sqlite3.DatabaseError as error:
            if "Could not decode" not in str(error):
                raise explanation(self.path, error) from None
            if len(keys) == 1:
                self.corrupt += 1
                return {}
            return {key: found for key in keys for found in [self.get(key)] if found}
        whole = [answer for answer in answers if self._holds(answer)]
        self.corrupt += len(answers) - len(whole)
        return {answer[0]: schema.completion_of(answer) for answer in whole}

    def _holds(self, answer: schema.Row) -> bool:
        holds = schema.answer_holds(answer)
        if holds is None:
            row = self._reading.execute(GET_WITH_REQUEST, answer[:1]).fetchone()
            return schema.intact(row)
        return holds

    def newest_requests(self, count: int) -> Iterator[dict[str, Any]]:
        """The requests that were answered last, newest first, as `request_values` gives them."""
        rows = self._db.execute(
            "SELECT request FROM completions ORDER BY seq DESC LIMIT ?", (count,)
        )
        return (json.loads(request) for (request,) in rows)

    def possibly_billed(self, key: str) -> bool:
        """Whether the reply to an attempt at this request was lost."""
        found = self._reading.execute(
            "SELECT 1 FROM attempts WHERE key = ? AND possibly_billed LIMIT 1", (key,)
        )
        return found.fetchone() is not None

    def spent(self, run: str | None = None) -> Spent:
        """What all attempts came to, those of one run or all that the store knows of."""
        return ledger.sums(self._db, (), run)[0]

    def ledger(self, by: Sequence[Group]) -> list[Spent]:
        """Sums of the attempts for each run, model, day (UTC) or outcome, or their combinations.

        Raises:
            UnknownNameError: no such group.
        """
        return ledger.sums(self._db, by)

    def status(self) -> dict[str, Any]:
        """Counts of answers by kind and model, of attempts by outcome, tokens and cost."""
        return {"path": str(self.path), **checks.status(self._db)}

    def verify(self) -> list[str]:
        """Check the file's structure, every checksum and every key. Returns what is wrong."""
        with lenient(self._db):
            return list(checks.verify(self._db))

    def export(self, path: Path) -> int:
        """Write all answers, in the order in which they came. Returns how many.

        Args:
            path: `*.parquet` for Parquet, any other name for JSON lines.
        """
        with lenient(self._db):
            return transfer.export(self._db, path)

    def difference(self, other: StoreReader) -> Iterator[tuple[str, str]]:
        """Yield ("only in the first" | "only in the second" | "different", key) by key."""
        return transfer.difference(self._db, other._db)

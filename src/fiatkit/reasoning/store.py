"""The rationale store: one SQLite file, durable before an answer is used, never evicting.

Two tables. `completions` holds each answer under its request's key; `attempts` is the ledger of
everything that was sent, whether an answer came or not. An attempt is committed before it is
sent and closed in one transaction with its answer, so that after a crash it is known which
requests may have been billed without an answer.
"""

from __future__ import annotations

import asyncio
import contextlib
import hashlib
import json
import os
import socket
import sqlite3
import time
from collections import Counter
from collections.abc import AsyncIterator, Iterator, Sequence
from decimal import Decimal
from pathlib import Path
from typing import Any

from fiatkit.errors import (
    DataError,
    EnvironmentProblem,
    FiatError,
    StoreCorruptError,
    StoreLockedError,
)
from fiatkit.reasoning import checks, place, schema, transfer
from fiatkit.reasoning.batch_table import BatchTable
from fiatkit.reasoning.connection import (
    OPEN,
    RECOVER,
    connected,
    explained,
    explanation,
    lenient,
    reader,
)
from fiatkit.reasoning.key import canonical_request
from fiatkit.reasoning.ledger import Group, Spent, ledger
from fiatkit.reasoning.schema import SELECTED
from fiatkit.records import Completion, ModelIdentity, Request, Usage

NO_USAGE = Usage()
GET = f"SELECT {', '.join(schema.ANSWER)} FROM completions WHERE key IN"
GET_WITH_REQUEST = f"SELECT {SELECTED} FROM completions WHERE key = ?"
CHECKPOINT_EVERY = 500  # transactions
BYTES_EACH = 4096  # of an answer, as long as the store holds none


class RationaleStore:
    """The answers of large models, by request. Use it as a context manager.

    One connection of one process writes; it is also the only one that checkpoints. A file of an
    older release is copied to `<name>.schema-<n>` and brought up to date. After a failed write
    nothing more is written: what the disk holds of the last transaction is unknown.

    Args:
        path: the file; made, with its folder, if it is not there.
        steal: take over what another machine has under way on a shared file system.

    Raises:
        StoreLockedError: another process writes it.
        StoreCorruptError: the file is damaged, or of a newer release; it is left as it is.
        EnvironmentProblem: the place cannot be used.
    """

    def __init__(self, path: Path, *, steal: bool = False) -> None:
        self.path = path
        self.corrupt = 0
        self._process = os.getpid()
        self._broken: FiatError | None = None
        self._transactions = 0
        self._together = False
        self._lock: place.Lock | None = place.Lock(path)
        try:
            self._check_whole(self._lock.left)
            place.make_private(path)
            with explained(path):
                self._check()
                self._db = connected(path)
                try:
                    journal = self._prepare(steal)
                    self._guard = reader(path)
                    self._reading = self._guard if journal == "wal" else self._db
                except BaseException:
                    self._db.close()
                    raise
        except BaseException:
            self._lock.close()
            raise
        OPEN.add(self)

    @staticmethod
    def is_begun(path: Path) -> bool:
        """Whether there is anything to look at: a process that was killed before it made the tables
        leaves an empty file, which the next one fills."""
        return path.is_file() and path.stat().st_size > 0

    @classmethod
    def read_only(cls, path: Path) -> RationaleStore:
        """Open for looking, also while another process writes."""
        if not path.is_file():
            raise DataError(f'There is no store "{path}".', "Name it with --store.")
        store = cls.__new__(cls)
        store.path, store.corrupt, store._lock = path, 0, None
        store._process, store._broken = os.getpid(), None
        with explained(path):
            store._db = store._guard = store._reading = reader(path)
            schema.view_as_current(store._db, path)
        OPEN.add(store)
        return store

    def __enter__(self) -> RationaleStore:
        return self

    def __exit__(self, *exception: object) -> None:
        self.close()

    def close(self) -> None:
        """Close the file and let go of the lock.

        As long as a second connection is open, the first does not checkpoint on closing; so the
        order says whether it does. After a failed write it must not.
        """
        if self._process != os.getpid():
            return
        for db in (self._db, self._guard) if self._broken else (self._guard, self._db):
            db.close()
        if self._lock:
            if not self._broken and (self._transactions or self._lock.left):
                self._lock.mark("closed")
            self._lock.close()

    def _check_whole(self, left: str) -> None:
        """Refuse a file that has lost what its last writer is known to have put there."""
        size = self.path.stat().st_size if self.path.exists() else None
        lost = ""
        if left and size == 0:
            lost = "it is empty, though answers were put there"
        elif (
            left == "open"
            and size
            and not Path(f"{self.path}-wal").exists()
            and not place.shared_file_system(self.path)
        ):
            lost = f'"{self.path.name}-wal", which held the newest answers, is gone'
        if lost:
            raise StoreCorruptError(f'The store "{self.path}" is damaged: {lost}.', RECOVER)

    def _check(self) -> None:
        """Check the file before anything is written into it.

        Where there is a -wal, by a connection that cannot write: another one, on closing, would
        remove what it cannot read of it.
        """
        logged = Path(f"{self.path}-wal").exists()
        with contextlib.closing((reader if logged else connected)(self.path)) as db:
            schema.version_of(db, self.path)
            problem = db.execute("PRAGMA quick_check(1)").fetchone()[0]
        if problem != "ok":
            raise StoreCorruptError(f'The store "{self.path}" is damaged: {problem}.', RECOVER)

    def _prepare(self, steal: bool) -> str:
        """Bring the file up to date, settle what is under way in it. Returns its journal."""
        db, journal = self._db, place.journal_for(self.path)
        db.execute("PRAGMA synchronous = FULL")
        db.execute("PRAGMA wal_autocheckpoint = 0")
        schema.bring_up_to_date(db, self.path)
        db.execute(f"PRAGMA journal_mode = {journal}")
        self._settle_leases(steal)
        self._version = self._data_version()
        return journal

    def _settle_leases(self, steal: bool) -> None:
        """Requests of a dead process that never came back may have been carried out and billed.

        On a local disk our lock proves that their process is dead. Those in a batch are still at
        the provider's: its answer is fetched by the batch's id.
        """
        under_way = "outcome = 'leased' AND batch = ''"
        hosts = self._db.execute(f"SELECT DISTINCT host FROM attempts WHERE {under_way}")
        others = [host for (host,) in hosts if host != socket.gethostname()]
        if others and not steal and place.shared_file_system(self.path):
            raise StoreLockedError(
                f'The store "{self.path}" has requests of {", ".join(others)} under way.',
                "If nothing runs there any more: fiat store steal.",
            )
        self._db.execute(
            "UPDATE attempts SET outcome = 'ambiguous', possibly_billed = 1, ended = ? "
            f"WHERE {under_way}",
            (time.time(),),
        )

    # -- answers ---------------------------------------------------------------------------------

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

    def lease(self, key: str, run: str = "", model: str = "", *, batch: str = "") -> int:
        """Commit that a request is about to be sent.

        Args:
            key: the request's key.
            run: the run that pays for it, for the ledger.
            model: the large model, for the ledger.
            batch: the id of the batch that it is sent in; such a lease outlives the process.

        Returns:
            The attempt's number.
        """
        with self._writing():
            cursor = self._db.execute(
                "INSERT INTO attempts (key, pid, host, outcome, started, run, model, batch) "
                "VALUES (?, ?, ?, 'leased', ?, ?, ?, ?)",
                (key, os.getpid(), socket.gethostname(), time.time(), run, model, batch),
            )
        assert cursor.lastrowid is not None
        return cursor.lastrowid

    def commit(
        self,
        attempt: int,
        identity: ModelIdentity,
        request: Request,
        answer: Completion,
        *,
        cost: Decimal | None = None,
    ) -> Completion:
        """Keep an answer and close its attempt, in one transaction; durable when this returns.

        Args:
            attempt: from `lease`.
            identity: the model that was asked.
            request: what it was asked.
            answer: what it wrote.
            cost: US dollars, kept to 1e-12; None if it is not known.

        Returns:
            The answer as it is stored: half surrogates replaced, with its cost.
        """
        asked = canonical_request(identity, request)
        key = hashlib.sha256(asked.encode()).hexdigest()
        row = schema.row_of(key, asked, answer, cost)
        marks = ", ".join("?" * len(row))
        with self._writing():
            self._db.execute(
                f"INSERT OR REPLACE INTO completions ({SELECTED}) VALUES ({marks})", row
            )
            self._end(attempt, "done", False, answer.usage, cost)
        return schema.completion_of((key, *row[2:]))

    def fail(
        self,
        attempt: int,
        reason: str,
        *,
        ambiguous: bool = False,
        usage: Usage = NO_USAGE,
        cost: Decimal | None = None,
    ) -> None:
        """Close an attempt that brought no answer. If `ambiguous`, it may have been billed."""
        with self._writing():
            outcome = "ambiguous" if ambiguous else f"failed:{reason}"
            self._end(attempt, outcome, ambiguous, usage, cost)

    def _end(
        self, attempt: int, outcome: str, ambiguous: bool, usage: Usage, cost: Decimal | None
    ) -> None:
        self._db.execute(
            "UPDATE attempts SET outcome = ?, possibly_billed = ?, prompt_tokens = ?, "
            "completion_tokens = ?, cached_tokens = ?, reasoning_tokens = ?, cost = ?, "
            "ended = max(started, ?) "
            "WHERE seq = ?",
            (
                outcome,
                int(ambiguous),
                usage.prompt_tokens,
                usage.completion_tokens,
                usage.cached_tokens,
                usage.reasoning_tokens,
                schema.units(cost),
                time.time(),
                attempt,
            ),
        )

    @contextlib.contextmanager
    def _writing(self) -> Iterator[None]:
        """One durable transaction, or a part of the one that is made `together`."""
        if self._together:
            yield
            return
        with self._transaction():
            yield
            self._db.execute("COMMIT")

    @contextlib.asynccontextmanager
    async def together(self) -> AsyncIterator[None]:
        """One durable transaction of all that is written inside; the disk is not waited for here.

        As long as it is, nothing else may be written.
        """
        with self._transaction():
            self._together = True
            try:
                yield
            finally:
                self._together = False
            await asyncio.to_thread(self._db.execute, "COMMIT")

    @contextlib.contextmanager
    def _transaction(self) -> Iterator[None]:
        """A transaction to be committed inside. After one has failed, none is begun again."""
        self._check_process()
        if self._broken:
            raise self._broken
        try:
            with explained(self.path):
                self._notice_other_writers()
                self._db.execute("BEGIN IMMEDIATE")
                try:
                    yield
                except BaseException:
                    with contextlib.suppress(sqlite3.Error):
                        self._db.execute("ROLLBACK")
                    raise
                self._after_commit()
        except (EnvironmentProblem, StoreCorruptError) as error:
            self._broken = error
            raise

    def _after_commit(self) -> None:
        self._transactions += 1
        if self._transactions == 1 and self._lock:
            self._lock.mark("open")
        if self._transactions % CHECKPOINT_EVERY == 0:
            self._db.execute("PRAGMA wal_checkpoint(PASSIVE)").fetchone()

    def _notice_other_writers(self) -> None:
        """The number changes when another connection has written; ours do not change it."""
        version = self._data_version()
        if version != self._version:
            self._version = version
            place.warn_of_writers(self.path)

    def _data_version(self) -> int:
        return int(self._db.execute("PRAGMA data_version").fetchone()[0])

    def _check_process(self) -> None:
        if self._process != os.getpid():
            raise FiatError(
                f'The store "{self.path}" was opened by process {self._process}; this is a fork '
                f"of it, process {os.getpid()}.",
                "Open the store after the fork, in one process.",
            )

    def check_room(self, rows: int) -> None:
        """Warn if the disk may not have the room for so many more answers."""
        held = self._db.execute("SELECT max(seq) FROM completions").fetchone()[0]
        pages = self._db.execute("PRAGMA page_count").fetchone()[0]
        size = self._db.execute("PRAGMA page_size").fetchone()[0]
        place.check_room(self.path, rows, pages * size // held if held else BYTES_EACH)

    # -- the ledger ------------------------------------------------------------------------------

    def spent(self, run: str | None = None) -> Spent:
        """What all attempts came to, those of one run or all that the store knows of."""
        return ledger(self._db, (), run)[0]

    def ledger(self, by: Sequence[Group]) -> list[Spent]:
        """Sums of the attempts for each run, model, day (UTC) or outcome, or their combinations.

        Raises:
            UnknownNameError: no such group.
        """
        return ledger(self._db, by)

    # -- batches ---------------------------------------------------------------------------------

    @property
    def batches(self) -> BatchTable:
        """The batches that were handed in, and their rows that are still open."""
        return BatchTable(self._db, self._reading, self._writing)

    # -- looking after it ------------------------------------------------------------------------

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

    def import_(self, path: Path) -> Counter[str]:
        """Add exported answers. What is here already stays; all or none are added.

        Returns:
            How many were added, present before, and in conflict with what is here.

        Raises:
            DataError: the file is none, or the checksum of a row does not hold.
        """
        with self._writing():
            return transfer.add(self._db, transfer.exported_rows(path))

    def merge(self, path: Path) -> Counter[str]:
        """Add the answers and the attempts of another store, which nobody may be writing.

        Merging it again changes nothing.

        Returns:
            How many answers were added, present before, in conflict, or damaged, and how many
            attempts were added.
        """
        with (
            RationaleStore.read_only(path) as other,
            contextlib.closing(place.Lock(path)),
            lenient(other._db),
            self._writing(),
        ):
            return transfer.merge(self._db, other._db)

    def difference(self, other: RationaleStore) -> Iterator[tuple[str, str]]:
        """Yield ("only in the first" | "only in the second" | "different", key) by key."""
        return transfer.difference(self._db, other._db)

    def compact(self) -> tuple[int, int]:
        """Give unused pages back to the disk; nothing is removed. Returns bytes before and after.

        Needs as much room again as the file has while it runs.
        """
        with explained(self.path):
            self._db.execute("PRAGMA wal_checkpoint(TRUNCATE)").fetchone()
            before = self.path.stat().st_size
            self._db.execute("VACUUM")
            self._db.execute("PRAGMA wal_checkpoint(TRUNCATE)").fetchone()
            self._version = self._data_version()
        return before, self.path.stat().st_size

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
import os
import sqlite3
from collections import Counter
from collections.abc import AsyncIterator, Iterator
from decimal import Decimal
from pathlib import Path

from fiatkit.errors import DataError, EnvironmentProblem, FiatError, StoreCorruptError
from fiatkit.files import Lock
from fiatkit.reasoning import checks, ledger, place, schema, transfer
from fiatkit.reasoning.batch_table import BatchTable
from fiatkit.reasoning.connection import connected, explained, lenient, reader
from fiatkit.reasoning.key import canonical_request
from fiatkit.reasoning.store_reader import StoreReader
from fiatkit.records import Completion, ModelIdentity, Request, Usage

NO_USAGE = Usage()
KEEP = (
    f"INSERT OR REPLACE INTO completions ({schema.SELECTED}) "
    f"VALUES ({', '.join('?' * len(schema.COLUMNS))})"
)
CHECKPOINT_EVERY = 500  # transactions
BYTES_EACH = 4096  # of an answer, as long as the store holds none


class RationaleStore(StoreReader):
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

    _lock: Lock

    def __init__(self, path: Path, *, steal: bool = False) -> None:
        self._broken: FiatError | None = None
        self._transactions = 0
        self._together = False
        self._lock = place.lock(path)
        try:
            checks.check_left(path, self._lock.left)
            place.make_private(path)
            with explained(path):
                checks.check_before_writing(path)
                db = connected(path)
                try:
                    journal = _prepare(db, path, steal)
                    guard = reader(path)
                    self._version = _data_version(db)
                except BaseException:
                    db.close()
                    raise
        except BaseException:
            self._lock.close()
            raise
        super().__init__(path, db, guard if journal == "wal" else db)
        self._guard = guard

    @staticmethod
    def is_begun(path: Path) -> bool:
        """Whether there is anything to look at: a process that was killed before it made the tables
        leaves an empty file, which the next one fills."""
        return path.is_file() and path.stat().st_size > 0

    @staticmethod
    def read_only(path: Path) -> StoreReader:
        """Open for looking, also while another process writes."""
        if not path.is_file():
            raise DataError(f'There is no store "{path}".', "Name it with --store.")
        with explained(path):
            db = reader(path)
            schema.view_as_current(db, path)
        return StoreReader(path, db)

    def close(self) -> None:
        """Close the file and let go of the lock.

        As long as a second connection is open, the first does not checkpoint on closing; so the
        order says whether it does. After a failed write it must not.
        """
        if self._process != os.getpid():
            return
        for db in (self._db, self._guard) if self._broken else (self._guard, self._db):
            db.close()
        if not self._broken and (self._transactions or self._lock.left):
            self._lock.mark("closed")
        self._lock.close()

    # -- answers ---------------------------------------------------------------------------------

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
            return ledger.begin(self._db, key, run, model, batch)

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
        with self._writing():
            self._db.execute(KEEP, row)
            ledger.end(self._db, attempt, "done", answer.usage, cost)
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
            ledger.end(self._db, attempt, outcome, usage, cost, possibly_billed=ambiguous)

    # -- transactions ----------------------------------------------------------------------------

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
        if self._transactions == 1:
            self._lock.mark("open")
        if self._transactions % CHECKPOINT_EVERY == 0:
            self._db.execute("PRAGMA wal_checkpoint(PASSIVE)").fetchone()

    def _notice_other_writers(self) -> None:
        """Warn of a program that writes although we hold the lock."""
        version = _data_version(self._db)
        if version != self._version:
            self._version = version
            place.warn_of_writers(self.path)

    # -- batches ---------------------------------------------------------------------------------

    @property
    def batches(self) -> BatchTable:
        """The batches that were handed in, and their rows that are still open."""
        return BatchTable(self._db, self._reading, self._writing)

    # -- looking after it ------------------------------------------------------------------------

    def check_room(self, rows: int) -> None:
        """Warn if the disk may not have the room for so many more answers."""
        held = self._db.execute("SELECT max(seq) FROM completions").fetchone()[0]
        pages = self._db.execute("PRAGMA page_count").fetchone()[0]
        size = self._db.execute("PRAGMA page_size").fetchone()[0]
        place.check_room(self.path, rows, pages * size // held if held else BYTES_EACH)

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
            contextlib.closing(place.lock(path)),
            lenient(other._db),
            self._writing(),
        ):
            return transfer.merge(self._db, other._db)

    def compact(self) -> tuple[int, int]:
        """Give unused pages back to the disk; nothing is removed. Returns bytes before and after.

        Needs as much room again as the file has while it runs.
        """
        with explained(self.path):
            self._db.execute("PRAGMA wal_checkpoint(TRUNCATE)").fetchone()
            before = self.path.stat().st_size
            self._db.execute("VACUUM")
            self._db.execute("PRAGMA wal_checkpoint(TRUNCATE)").fetchone()
            self._version = _data_version(self._db)
        return before, self.path.stat().st_size


def _prepare(db: sqlite3.Connection, path: Path, steal: bool) -> str:
    """Bring the file up to date, settle what is under way in it. Returns its journal."""
    journal = place.journal_for(path)
    db.execute("PRAGMA synchronous = FULL")
    db.execute("PRAGMA wal_autocheckpoint = 0")
    schema.bring_up_to_date(db, path)
    db.execute(f"PRAGMA journal_mode = {journal}")
    ledger.settle(db, path, steal)
    return journal


def _data_version(db: sqlite3.Connection) -> int:
    """Changes when another connection has written."""
    return int(db.execute("PRAGMA data_version").fetchone()[0])

"""The rationale store: one SQLite file, durable before an answer is used, never evicting.

Two tables. `completions` holds each answer under its request's key; `attempts` is the ledger of
everything that was sent, whether an answer came or not. An attempt is committed before it is
sent and closed in one transaction with its answer, so that after a crash it is known which
requests may have been billed without an answer.
"""

from __future__ import annotations

import contextlib
import fcntl
import hashlib
import os
import socket
import sqlite3
import time
from collections.abc import Iterator, Sequence
from decimal import Decimal
from pathlib import Path
from typing import Any

from fiatkit.errors import DataError, EnvironmentProblem, StoreCorruptError, StoreLockedError
from fiatkit.reasoning import schema, transfer
from fiatkit.reasoning.key import canonical, completion_key, request_values
from fiatkit.reasoning.ledger import Group, Spent, ledger
from fiatkit.reasoning.schema import SELECTED
from fiatkit.records import Completion, ModelIdentity, Request, Usage

NO_USAGE = Usage()


class RationaleStore:
    """The answers of large models, by request. Use it as a context manager.

    A file of an older release is copied to `<name>.schema-<n>` and brought up to date.

    Args:
        path: the file; made, with its folder, if it is not there.

    Raises:
        StoreLockedError: another process writes it.
        StoreCorruptError: the file is damaged, or of a newer release; it is left as it is.
    """

    def __init__(self, path: Path) -> None:
        self.path = path
        self.corrupt = 0
        self._lock = _lock(path)
        try:
            with _explained(path):
                self._db = sqlite3.connect(path, isolation_level=None, check_same_thread=False)
            try:
                with _explained(path):
                    self._prepare()
            except BaseException:
                self._db.close()
                raise
        except BaseException:
            os.close(self._lock)
            raise

    @classmethod
    def read_only(cls, path: Path) -> RationaleStore:
        """Open for looking, also while another process writes."""
        if not path.is_file():
            raise DataError(f'There is no store "{path}".', "Name it with --store.")
        store = cls.__new__(cls)
        store.path, store.corrupt, store._lock = path, 0, -1
        with _explained(path):
            uri = f"{path.resolve().as_uri()}?mode=ro"
            store._db = sqlite3.connect(uri, uri=True, isolation_level=None)
            schema.view_as_current(store._db, path)
        return store

    def __enter__(self) -> RationaleStore:
        return self

    def __exit__(self, *exception: object) -> None:
        self.close()

    def close(self) -> None:
        """Close the file and let go of the lock."""
        self._db.close()
        if self._lock >= 0:
            os.close(self._lock)
            self._lock = -1

    def _prepare(self) -> None:
        """Check the file before anything is written into it."""
        db = self._db
        schema.version_of(db, self.path)
        problem = db.execute("PRAGMA quick_check(1)").fetchone()[0]
        if problem != "ok":
            raise StoreCorruptError(
                f'The store "{self.path}" is damaged: {problem}.',
                "It was left as it is. Copy it away; `fiat store export` may save what is whole.",
            )
        db.execute("PRAGMA synchronous = FULL")
        schema.bring_up_to_date(db, self.path)
        db.execute("PRAGMA journal_mode = WAL")
        self._settle_leases()

    def _settle_leases(self) -> None:
        """Requests of a dead process that never came back may have been carried out and billed.

        Those in a batch are still at the provider's: its answer is fetched by the batch's id.
        """
        self._db.execute(
            "UPDATE attempts SET outcome = 'ambiguous', possibly_billed = 1, ended = ? "
            "WHERE outcome = 'leased' AND batch = ''",
            (time.time(),),
        )

    # -- answers ---------------------------------------------------------------------------------

    def get(self, key: str) -> Completion | None:
        """The committed answer of a request, of whatever kind; None if there is none.

        A row whose checksum does not hold is counted in `corrupt` and taken as absent.
        """
        row = self._db.execute(
            f"SELECT {SELECTED} FROM completions WHERE key = ?", (key,)
        ).fetchone()
        if row is None:
            return None
        if not schema.intact(row):
            self.corrupt += 1
            return None
        return schema.completion_of(row)

    def possibly_billed(self, key: str) -> bool:
        """Whether the reply to an attempt at this request was lost."""
        found = self._db.execute(
            "SELECT 1 FROM attempts WHERE key = ? AND possibly_billed LIMIT 1", (key,)
        )
        return found.fetchone() is not None

    def lease(self, key: str, *, run: str = "", model: str = "", batch: str = "") -> int:
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
        key = completion_key(identity, request)
        row = schema.row_of(key, canonical(request_values(identity, request)), answer, cost)
        marks = ", ".join("?" * len(row))
        with self._writing():
            self._db.execute(
                f"INSERT OR REPLACE INTO completions ({SELECTED}) VALUES ({marks})", row
            )
            self._end(attempt, "done", False, answer.usage, cost)
        return schema.completion_of(row)

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
            "completion_tokens = ?, cached_tokens = ?, reasoning_tokens = ?, cost = ?, ended = ? "
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
        with _explained(self.path):
            self._db.execute("BEGIN IMMEDIATE")
            try:
                yield
                self._db.execute("COMMIT")
            except BaseException:
                with contextlib.suppress(sqlite3.Error):
                    self._db.execute("ROLLBACK")
                raise

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

    # -- looking after it ------------------------------------------------------------------------

    def status(self) -> dict[str, Any]:
        """Counts of answers by kind and model, of attempts by outcome, and tokens."""

        def counts(query: str) -> dict[str, int]:
            return {str(name): int(count) for name, count in self._db.execute(query)}

        kinds = counts("SELECT finish, count(*) FROM completions GROUP BY finish")
        spent = self.spent()
        return {
            "path": str(self.path),
            "completions": sum(kinds.values()),
            "by kind": kinds,
            "by model": counts(
                "SELECT json_extract(request, '$.model'), count(*) FROM completions GROUP BY 1"
            ),
            "attempts": counts("SELECT outcome, count(*) FROM attempts GROUP BY outcome"),
            "possibly billed": spent.possibly_billed,
            "tokens": {
                "prompt": spent.prompt_tokens,
                "cached": spent.cached_tokens,
                "completion": spent.completion_tokens,
                "reasoning": spent.reasoning_tokens,
            },
            "cost": f"${spent.cost}, unknown for {spent.unknown_cost} attempts",
        }

    def verify(self) -> list[str]:
        """Check the file's structure, every checksum and every key. Returns what is wrong."""
        problems = [
            str(row[0]) for row in self._db.execute("PRAGMA integrity_check(20)") if row[0] != "ok"
        ]
        for row in self._db.execute(f"SELECT {SELECTED} FROM completions"):
            if not schema.intact(row):
                problems.append(f"{row[0]}: the checksum does not hold")
            elif hashlib.sha256(str(row[1]).encode()).hexdigest() != row[0]:
                problems.append(f"{row[0]}: the key is not the request's")
        return problems

    def export(self, path: Path) -> int:
        """Write all answers as JSON lines, in the order in which they came. Returns how many."""
        return transfer.export(self._db, path)

    def import_(self, path: Path) -> dict[str, int]:
        """Add exported answers. What is here already stays; a line whose sum fails is refused.

        Returns:
            How many were added, present before, and in conflict with what is here.
        """
        rows = transfer.read_rows(path)
        with self._writing():
            return transfer.add(self._db, rows)


def _lock(path: Path) -> int:
    """Take the writer's lock, which dies with the process."""
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        handle = os.open(f"{path}.lock", os.O_RDWR | os.O_CREAT, 0o600)
    except OSError as error:
        raise EnvironmentProblem(
            f'Cannot write the store "{path}": {error.strerror or error}.',
            "Name another place with --store.",
        ) from None
    try:
        fcntl.flock(handle, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except OSError:
        owner = os.pread(handle, 200, 0).decode(errors="replace").strip() or "another process"
        os.close(handle)
        raise StoreLockedError(
            f'The store "{path}" is locked by {owner}.',
            "Wait for it to end. Looking (fiat store status) works meanwhile.",
        ) from None
    since = time.strftime("%Y-%m-%d %H:%M:%S")
    os.ftruncate(handle, 0)
    os.pwrite(handle, f"pid {os.getpid()} on {socket.gethostname()} since {since}".encode(), 0)
    return handle


@contextlib.contextmanager
def _explained(path: Path) -> Iterator[None]:
    """Turn SQLite's errors into ours; after a failed write nothing is tried again."""
    try:
        yield
    except sqlite3.DatabaseError as error:
        text = str(error)
        if "malformed" in text or "not a database" in text:
            raise StoreCorruptError(
                f'The store "{path}" is damaged: {text}.',
                "It was left as it is. Restore it from a copy, or name another with --store.",
            ) from None
        if isinstance(error, sqlite3.OperationalError):
            raise EnvironmentProblem(
                f'The store "{path}" cannot be used: {text}.',
                "Every answer that was acknowledged is kept. Free disk space or mend the "
                "permissions, then run the same command again.",
            ) from None
        raise

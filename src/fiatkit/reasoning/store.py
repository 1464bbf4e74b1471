"""The rationale store: one SQLite file, durable before an answer is used, never evicting.

Two tables. `completions` holds each answer under its request's key; `attempts` is the ledger of
everything that was sent, whether an answer came or not. An attempt is committed before it is
sent and closed in one transaction with its answer, so that after a crash it is known which
requests may have been billed without an answer.
"""

from __future__ import annotations

import base64
import contextlib
import fcntl
import hashlib
import json
import os
import socket
import sqlite3
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from fiatkit.errors import DataError, EnvironmentProblem, StoreCorruptError, StoreLockedError
from fiatkit.files import read_jsonl, write_whole
from fiatkit.reasoning.key import canonical, completion_key, request_values
from fiatkit.records import Completion, ModelIdentity, Request, Usage

SCHEMA = 1
APPLICATION_ID = 0x46494154  # "FIAT"
TABLES = """
CREATE TABLE completions (
  seq INTEGER PRIMARY KEY,
  key TEXT NOT NULL UNIQUE,
  request TEXT NOT NULL,
  text BLOB NOT NULL,
  finish TEXT NOT NULL,
  prompt_tokens INTEGER, completion_tokens INTEGER, cached_tokens INTEGER,
  seconds REAL NOT NULL,
  model TEXT NOT NULL,
  detail TEXT NOT NULL,
  created REAL NOT NULL,
  sum TEXT NOT NULL
);
CREATE TABLE attempts (
  seq INTEGER PRIMARY KEY,
  key TEXT NOT NULL,
  pid INTEGER NOT NULL,
  host TEXT NOT NULL,
  outcome TEXT NOT NULL,
  possibly_billed INTEGER NOT NULL DEFAULT 0,
  prompt_tokens INTEGER, completion_tokens INTEGER, cached_tokens INTEGER,
  started REAL NOT NULL,
  ended REAL
);
CREATE INDEX attempts_by_key ON attempts (key);
CREATE INDEX attempts_open ON attempts (outcome) WHERE outcome = 'leased';
"""
COLUMNS = (
    "key, request, text, finish, prompt_tokens, completion_tokens, cached_tokens, seconds, model, "
    "detail, created, sum"
)


class RationaleStore:
    """The answers of large models, by request. Use it as a context manager.

    Args:
        path: the file; made, with its folder, if it is not there.

    Raises:
        StoreLockedError: another process writes it.
        StoreCorruptError: the file is damaged, or of a newer release; it is left as it is.
    """

    def __init__(self, path: Path) -> None:
        self.path = path
        self.corrupt = 0
        self._writable = True
        self._lock = _lock(path)
        try:
            with _explained(path):
                self._db = sqlite3.connect(path, isolation_level=None, check_same_thread=False)
                self._prepare()
        except BaseException:
            os.close(self._lock)
            raise

    @classmethod
    def read_only(cls, path: Path) -> RationaleStore:
        """Open for looking, also while another process writes."""
        if not path.is_file():
            raise DataError(f'There is no store "{path}".', "Name it with --store.")
        store = cls.__new__(cls)
        store.path, store.corrupt, store._writable, store._lock = path, 0, False, -1
        with _explained(path):
            uri = f"{path.resolve().as_uri()}?mode=ro"
            store._db = sqlite3.connect(uri, uri=True, isolation_level=None)
            store._check_version()
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
        db = self._db
        if db.execute("PRAGMA page_count").fetchone()[0] == 0:
            db.execute("PRAGMA journal_mode = WAL")
            db.executescript(
                f"BEGIN; {TABLES} PRAGMA application_id = {APPLICATION_ID}; "
                f"PRAGMA user_version = {SCHEMA}; COMMIT;"
            )
        self._check_version()
        problem = db.execute("PRAGMA quick_check(1)").fetchone()[0]
        if problem != "ok":
            raise StoreCorruptError(
                f'The store "{self.path}" is damaged: {problem}.',
                "It was left as it is. Copy it away; `fiat store export` may save what is whole.",
            )
        db.execute("PRAGMA journal_mode = WAL")
        db.execute("PRAGMA synchronous = FULL")
        self._settle_leases()

    def _check_version(self) -> None:
        owner = self._db.execute("PRAGMA application_id").fetchone()[0]
        version = self._db.execute("PRAGMA user_version").fetchone()[0]
        if owner != APPLICATION_ID:
            raise StoreCorruptError(f'"{self.path}" is not a rationale store of fiatkit.')
        if version > SCHEMA:
            raise StoreCorruptError(
                f'The store "{self.path}" has schema {version}; this release reads up to {SCHEMA}.',
                "Use a newer fiatkit.",
            )

    def _settle_leases(self) -> None:
        """Requests of a dead process that never came back may have been carried out and billed."""
        self._db.execute(
            "UPDATE attempts SET outcome = 'ambiguous', possibly_billed = 1, ended = ? "
            "WHERE outcome = 'leased'",
            (time.time(),),
        )

    # -- answers ---------------------------------------------------------------------------------

    def get(self, key: str) -> Completion | None:
        """The committed answer of a request, of whatever kind; None if there is none.

        A row whose checksum does not hold is counted in `corrupt` and taken as absent.
        """
        row = self._db.execute(
            f"SELECT {COLUMNS} FROM completions WHERE key = ?", (key,)
        ).fetchone()
        if row is None:
            return None
        if row[-1] != _sum(row[:-1]):
            self.corrupt += 1
            return None
        return _completion(row)

    def lease(self, key: str) -> int:
        """Commit that a request is about to be sent. Returns the attempt's number."""
        with self._writing():
            cursor = self._db.execute(
                "INSERT INTO attempts (key, pid, host, outcome, started) VALUES (?, ?, ?, ?, ?)",
                (key, os.getpid(), socket.gethostname(), "leased", time.time()),
            )
        assert cursor.lastrowid is not None
        return cursor.lastrowid

    def commit(
        self, attempt: int, identity: ModelIdentity, request: Request, answer: Completion
    ) -> Completion:
        """Keep an answer and close its attempt, in one transaction; durable when this returns.

        Returns:
            The answer as it is stored, half surrogates replaced.
        """
        key = completion_key(identity, request)
        row = _row(key, canonical(request_values(identity, request)), answer)
        usage = answer.usage
        with self._writing():
            self._db.execute(
                f"INSERT OR REPLACE INTO completions ({COLUMNS}) "
                "VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?)",
                row,
            )
            self._db.execute(
                "UPDATE attempts SET outcome = ?, prompt_tokens = ?, completion_tokens = ?, "
                "cached_tokens = ?, ended = ? WHERE seq = ?",
                (
                    "done",
                    usage.prompt_tokens,
                    usage.completion_tokens,
                    usage.cached_tokens,
                    time.time(),
                    attempt,
                ),
            )
        return _completion(row)

    def fail(self, attempt: int, reason: str, *, ambiguous: bool = False) -> None:
        """Close an attempt that brought no answer."""
        outcome = "ambiguous" if ambiguous else f"failed:{reason}"
        with self._writing():
            self._db.execute(
                "UPDATE attempts SET outcome = ?, possibly_billed = ?, ended = ? WHERE seq = ?",
                (outcome, int(ambiguous), time.time(), attempt),
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

    # -- looking after it ------------------------------------------------------------------------

    def status(self) -> dict[str, Any]:
        """Counts of answers by kind and model, of attempts by outcome, and tokens."""

        def counts(query: str) -> dict[str, int]:
            return {str(name): int(count) for name, count in self._db.execute(query)}

        kinds = counts("SELECT finish, count(*) FROM completions GROUP BY finish")
        tokens = self._db.execute(
            "SELECT sum(prompt_tokens), sum(cached_tokens), sum(completion_tokens) FROM attempts"
        ).fetchone()
        return {
            "path": str(self.path),
            "completions": sum(kinds.values()),
            "by kind": kinds,
            "by model": counts(
                "SELECT json_extract(request, '$.model'), count(*) FROM completions GROUP BY 1"
            ),
            "attempts": counts("SELECT outcome, count(*) FROM attempts GROUP BY outcome"),
            "possibly billed": self._db.execute(
                "SELECT count(*) FROM attempts WHERE possibly_billed"
            ).fetchone()[0],
            "tokens": dict(zip(("prompt", "cached", "completion"), tokens, strict=True)),
        }

    def verify(self) -> list[str]:
        """Check the file's structure, every checksum and every key. Returns what is wrong."""
        problems = [
            str(row[0]) for row in self._db.execute("PRAGMA integrity_check(20)") if row[0] != "ok"
        ]
        for row in self._db.execute(f"SELECT {COLUMNS} FROM completions"):
            if row[-1] != _sum(row[:-1]):
                problems.append(f"{row[0]}: the checksum does not hold")
            elif hashlib.sha256(str(row[1]).encode()).hexdigest() != row[0]:
                problems.append(f"{row[0]}: the key is not the request's")
        return problems

    def export(self, path: Path) -> int:
        """Write all answers as JSON lines, in the order in which they came. Returns how many."""
        rows = self._db.execute(f"SELECT {COLUMNS} FROM completions ORDER BY seq")
        names = COLUMNS.split(", ")
        lines = []
        for row in rows:
            value = dict(zip(names, row, strict=True))
            try:
                value["text"] = row[2].decode()
            except UnicodeDecodeError:
                del value["text"]
                value["text_base64"] = base64.b64encode(row[2]).decode()
            lines.append(json.dumps(value, ensure_ascii=False) + "\n")
        write_whole(path, "".join(lines).encode())
        return len(lines)

    def import_(self, path: Path) -> dict[str, int]:
        """Add exported answers. What is here already stays; a line whose sum fails is refused.

        Returns:
            How many were added, present before, and in conflict with what is here.
        """
        counts = {"added": 0, "here already": 0, "in conflict (kept what is here)": 0}
        names = COLUMNS.split(", ")
        rows = []
        try:
            for number, value in enumerate(read_jsonl(path), 1):
                text = value.get("text")
                raw = base64.b64decode(value["text_base64"]) if text is None else text.encode()
                row = tuple(raw if name == "text" else value[name] for name in names)
                if row[-1] != _sum(row[:-1]):
                    raise DataError(f'"{path}", line {number}: the checksum does not hold.')
                rows.append(row)
        except (OSError, ValueError, KeyError, TypeError, AttributeError) as error:
            raise DataError(f'"{path}" is not an exported store ({error}).') from None
        with self._writing():
            for row in rows:
                here = self._db.execute(
                    "SELECT text, finish FROM completions WHERE key = ?", (row[0],)
                ).fetchone()
                if here is None:
                    marks = ", ".join("?" * len(names))
                    self._db.execute(f"INSERT INTO completions ({COLUMNS}) VALUES ({marks})", row)
                    counts["added"] += 1
                elif tuple(here) == (row[2], row[3]):
                    counts["here already"] += 1
                else:
                    counts["in conflict (kept what is here)"] += 1
        return counts


def _row(key: str, request: str, answer: Completion) -> tuple[Any, ...]:
    usage = answer.usage
    detail = answer.detail
    text = answer.text
    try:
        raw = text.encode()
    except UnicodeEncodeError:
        raw = text.encode("utf-8", "surrogatepass").decode("utf-8", "replace").encode()
        detail = f"{detail} half surrogates replaced".strip()
    values = (
        key,
        request,
        raw,
        answer.finish,
        usage.prompt_tokens,
        usage.completion_tokens,
        usage.cached_tokens,
        answer.seconds,
        answer.model,
        detail,
        time.time(),
    )
    return (*values, _sum(values))


def _completion(row: tuple[Any, ...]) -> Completion:
    usage = Usage(row[4], row[5], row[6])
    return Completion(row[2].decode(), row[3], usage, row[8], row[7], row[9])


def _sum(values: tuple[Any, ...]) -> str:
    digest = hashlib.sha256()
    for value in values:
        raw = value if isinstance(value, bytes) else repr(value).encode()
        digest.update(len(raw).to_bytes(8, "big") + raw)
    return digest.hexdigest()


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

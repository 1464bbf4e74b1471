"""The layout of a store's file: its tables, the steps from older layouts, and one row's checksum.

Knows SQLite and the records; it does not know who reads or writes.
"""

from __future__ import annotations

import hashlib
import json
import os
import re
import sqlite3
import time
from decimal import ROUND_HALF_EVEN, Decimal
from pathlib import Path
from typing import Any

from fiatkit.errors import StoreCorruptError
from fiatkit.records import Completion, Usage

APPLICATION_ID = 0x46494154  # "FIAT"
STEPS = {
    1: """
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
""",
    2: """
ALTER TABLE completions ADD COLUMN reasoning_tokens INTEGER;
ALTER TABLE completions ADD COLUMN cost INTEGER;
ALTER TABLE completions ADD COLUMN reasoning BLOB;
ALTER TABLE completions ADD COLUMN logprobs TEXT;
ALTER TABLE attempts ADD COLUMN reasoning_tokens INTEGER;
ALTER TABLE attempts ADD COLUMN cost INTEGER;
ALTER TABLE attempts ADD COLUMN run TEXT NOT NULL DEFAULT '';
ALTER TABLE attempts ADD COLUMN model TEXT NOT NULL DEFAULT '';
ALTER TABLE attempts ADD COLUMN batch TEXT NOT NULL DEFAULT '';
""",
    3: """
CREATE TABLE batches (
  name TEXT PRIMARY KEY,
  id TEXT NOT NULL DEFAULT '',
  model TEXT NOT NULL,
  state TEXT NOT NULL,
  rows INTEGER NOT NULL,
  began REAL NOT NULL
);
CREATE TABLE batch_rows (
  key TEXT PRIMARY KEY,
  batch TEXT NOT NULL,
  request TEXT NOT NULL,
  attempt INTEGER NOT NULL
);
CREATE INDEX batch_rows_by_batch ON batch_rows (batch);
""",
}
SCHEMA = max(STEPS)
FIRST = (
    "key",
    "request",
    "text",
    "finish",
    "prompt_tokens",
    "completion_tokens",
    "cached_tokens",
    "seconds",
    "model",
    "detail",
    "created",
)
LATER = ("reasoning_tokens", "cost", "reasoning", "logprobs")
COLUMNS = (*FIRST, *LATER, "sum")
SELECTED = ", ".join(COLUMNS)
ANSWER = tuple(name for name in COLUMNS if name != "request")
SECOND = "2:"
ATTEMPT = (
    "key",
    "pid",
    "host",
    "outcome",
    "possibly_billed",
    "prompt_tokens",
    "completion_tokens",
    "cached_tokens",
    "started",
    "ended",
    "reasoning_tokens",
    "cost",
    "run",
    "model",
    "batch",
)
NOTHING = (4).to_bytes(8, "big") + b"None"
PLACES = 12

Row = tuple[Any, ...]


def version_of(db: sqlite3.Connection, path: Path) -> int:
    """The schema of an open file; 0 if it holds nothing at all.

    Raises:
        StoreCorruptError: not a store of fiatkit, or one of a newer release.
    """
    owner = db.execute("PRAGMA application_id").fetchone()[0]
    version = int(db.execute("PRAGMA user_version").fetchone()[0])
    if owner == 0 and version == 0 and db.execute("PRAGMA page_count").fetchone()[0] == 0:
        return 0
    if owner != APPLICATION_ID:
        raise StoreCorruptError(f'"{path}" is not a rationale store of fiatkit.')
    if version > SCHEMA:
        raise StoreCorruptError(
            f'The store "{path}" has schema {version}; this release reads up to {SCHEMA}.',
            "Use a newer fiatkit.",
        )
    return version


def bring_up_to_date(db: sqlite3.Connection, path: Path) -> None:
    """Make the tables, or take them from an older schema to this one, in one transaction.

    An older file is copied first, whole, to `<name>.schema-<n>`.
    """
    version = version_of(db, path)
    if version == SCHEMA:
        return
    if version:
        _back_up(db, path.with_name(f"{path.name}.schema-{version}"))
    steps = "".join(STEPS[number] for number in range(version + 1, SCHEMA + 1))
    db.executescript(
        f"BEGIN IMMEDIATE; {steps} PRAGMA application_id = {APPLICATION_ID}; "
        f"PRAGMA user_version = {SCHEMA}; COMMIT;"
    )


def _back_up(db: sqlite3.Connection, path: Path) -> None:
    """Copy the open file; the copy appears under its name when it is whole and on the disk."""
    unfinished = path.with_name(f"{path.name}.unfinished")
    unfinished.unlink(missing_ok=True)
    copy = sqlite3.connect(unfinished)
    try:
        db.backup(copy)
    finally:
        copy.close()
    unfinished.chmod(0o600)
    for name, flags in ((unfinished, os.O_RDWR), (path.parent, os.O_RDONLY)):
        handle = os.open(name, flags)
        try:
            os.fsync(handle)
        finally:
            os.close(handle)
        if name == unfinished:
            unfinished.replace(path)


def view_as_current(db: sqlite3.Connection, path: Path) -> None:
    """Let a file of an older schema, opened for looking only, be read like one of this schema."""
    version = version_of(db, path)
    if version == 1:
        db.executescript(
            "CREATE TEMP VIEW completions AS SELECT *, NULL AS reasoning_tokens, NULL AS cost, "
            "NULL AS reasoning, NULL AS logprobs FROM main.completions;"
            "CREATE TEMP VIEW attempts AS SELECT *, NULL AS reasoning_tokens, NULL AS cost, "
            "'' AS run, '' AS model, '' AS batch FROM main.attempts;"
        )
    if version < 3:
        db.executescript(
            "CREATE TEMP VIEW batches AS SELECT '' AS name, '' AS id, '' AS model, '' AS state, "
            "0 AS rows, 0.0 AS began WHERE 0;"
            "CREATE TEMP VIEW batch_rows AS SELECT '' AS key, '' AS batch, '' AS request, "
            "0 AS attempt WHERE 0;"
        )


def row_of(key: str, request: str, answer: Completion, cost: Decimal | None) -> Row:
    """The values of COLUMNS for an answer. Half surrogates are replaced and told in `detail`."""
    raw, replaced = _bytes(answer.text)
    reasoning, replaced_too = _bytes(answer.reasoning)
    told = "half surrogates replaced" if replaced or replaced_too else ""
    usage = answer.usage
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
        f"{answer.detail} {told}".strip() if told else answer.detail,
        time.time(),
        usage.reasoning_tokens,
        units(cost),
        reasoning or None,
        json.dumps(answer.logprobs) if answer.logprobs else None,
    )
    return (*values, checksum((key, *values[2:])))


def completion_of(answer: Row) -> Completion:
    """The answer in a row of ANSWER."""
    usage = Usage(answer[3], answer[4], answer[5], answer[10])
    reasoning, logprobs = answer[12], answer[13]
    return Completion(
        answer[1].decode(),
        answer[2],
        usage,
        answer[7],
        answer[6],
        answer[8],
        reasoning.decode() if reasoning else "",
        tuple((token, float(value)) for token, value in json.loads(logprobs)) if logprobs else (),
        dollars(answer[11]),
    )


def checksum(answer: Row) -> str:
    """The sum of a row of ANSWER, without its sum: sha256 over the values.

    The request is not among them, for the key is its sha256: looking an answer up need not read
    the request, which is the longest of all.
    """
    return SECOND + _digest(answer)


def _first_checksum(row: Row) -> str:
    """The sum that the first releases wrote, of a row of COLUMNS without its sum.

    It takes in the request, and later columns by name where they hold something.
    """
    later = zip(LATER, row[len(FIRST) :], strict=True)
    named = [part for item in later if item[1] is not None for part in item]
    return _digest((*row[: len(FIRST)], *named))


def _digest(values: Row) -> str:
    """Each value behind its length in bytes; spelled out, for every answer comes through here."""
    parts: list[bytes] = []
    for value in values:
        if value is None:
            parts.append(NOTHING)
            continue
        raw = value if type(value) is bytes else repr(value).encode()
        parts.append(len(raw).to_bytes(8, "big"))
        parts.append(raw)
    return hashlib.sha256(b"".join(parts)).hexdigest()


def answer_holds(answer: Row) -> bool | None:
    """Whether the checksum of a row of ANSWER holds; None if that takes the request to say."""
    if str(answer[-1]).startswith(SECOND):
        return bool(answer[-1] == checksum(answer[:-1]))
    return None


def intact(row: Row) -> bool:
    """Whether the checksum of a row of COLUMNS holds, and its key is that of its request."""
    if hashlib.sha256(str(row[1]).encode(errors="surrogateescape")).hexdigest() != row[0]:
        return False
    holds = answer_holds((row[0], *row[2:]))
    return bool(row[-1] == _first_checksum(row[:-1])) if holds is None else holds


def units(cost: Decimal | None) -> int | None:
    """US dollars as the whole number of 1e-12 dollars that the file holds, so that sums are exact.

    A price of so many dollars a million tokens is exact to six places; 9.2 million dollars fit.
    """
    if cost is None:
        return None
    return int(cost.scaleb(PLACES).to_integral_value(ROUND_HALF_EVEN))


def dollars(amount: int | None) -> Decimal | None:
    """What `units` was given."""
    return None if amount is None else Decimal(amount).scaleb(-PLACES).normalize()


def _bytes(text: str) -> tuple[bytes, bool]:
    try:
        return text.encode(), False
    except UnicodeEncodeError:
        return re.sub("[\ud800-\udfff]", "\N{REPLACEMENT CHARACTER}", text).encode(), True

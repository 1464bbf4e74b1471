"""The ledger: what was sent, what it brought and what it cost, summed as one likes.

The table `attempts` of an open store; knows nothing of answers and begins no transaction.
"""

from __future__ import annotations

import os
import socket
import sqlite3
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from decimal import Decimal
from pathlib import Path
from typing import Any, Literal, get_args

from fiatkit.errors import StoreLockedError, UnknownNameError
from fiatkit.reasoning import place
from fiatkit.reasoning.schema import dollars, units
from fiatkit.records import Usage

Group = Literal["run", "model", "day", "outcome"]
GROUPS: Mapping[Group, str] = {
    "run": "run",
    "model": "model",
    "day": "strftime('%Y-%m-%d', started, 'unixepoch')",
    "outcome": "outcome",
}
SUMS = """count(*), sum(prompt_tokens), sum(cached_tokens), sum(completion_tokens),
sum(reasoning_tokens), coalesce(sum(cost), 0),
count(*) FILTER (WHERE cost IS NULL AND outcome <> 'leased'
  AND (outcome = 'done' OR possibly_billed OR prompt_tokens IS NOT NULL)),
coalesce(sum(possibly_billed), 0)"""


@dataclass(frozen=True, slots=True)
class Spent:
    """Sums over attempts, whether they brought an answer or not.

    Attributes:
        calls: attempts, those under way included.
        prompt_tokens, cached_tokens, completion_tokens, reasoning_tokens: None if no attempt
            said; cached ones are among the prompt's, reasoning ones among the completion's.
        cost: US dollars, exact, of the attempts whose cost is known.
        unknown_cost: ended attempts that may have cost something nobody knows; a failure that
            cannot have been billed is not one.
        possibly_billed: attempts whose reply was lost.
        group: what these attempts have in common, by the names that were asked for.
    """

    calls: int
    prompt_tokens: int | None
    cached_tokens: int | None
    completion_tokens: int | None
    reasoning_tokens: int | None
    cost: Decimal
    unknown_cost: int
    possibly_billed: int
    group: Mapping[str, str] = field(default_factory=dict)


def begin(db: sqlite3.Connection, key: str, run: str, model: str, batch: str = "") -> int:
    """Enter an attempt that is about to be sent. Returns its number."""
    number = db.execute(
        "INSERT INTO attempts (key, pid, host, outcome, started, run, model, batch) "
        "VALUES (?, ?, ?, 'leased', ?, ?, ?, ?)",
        (key, os.getpid(), socket.gethostname(), time.time(), run, model, batch),
    ).lastrowid
    assert number is not None
    return number


def end(
    db: sqlite3.Connection,
    attempt: int,
    outcome: str,
    usage: Usage,
    cost: Decimal | None,
    *,
    possibly_billed: bool = False,
) -> None:
    """Close an attempt."""
    db.execute(
        "UPDATE attempts SET outcome = ?, possibly_billed = ?, prompt_tokens = ?, "
        "completion_tokens = ?, cached_tokens = ?, reasoning_tokens = ?, cost = ?, "
        "ended = max(started, ?) "
        "WHERE seq = ?",
        (
            outcome,
            int(possibly_billed),
            usage.prompt_tokens,
            usage.completion_tokens,
            usage.cached_tokens,
            usage.reasoning_tokens,
            units(cost),
            time.time(),
            attempt,
        ),
    )


def settle(db: sqlite3.Connection, path: Path, steal: bool) -> None:
    """Requests of a dead process that never came back may have been carried out and billed.

    On a local disk the writer's lock proves that their process is dead. Those in a batch are still
    at the provider's: its answer is fetched by the batch's id.

    Raises:
        StoreLockedError: another machine has some under way, and they are not to be stolen.
    """
    under_way = "outcome = 'leased' AND batch = ''"
    hosts = db.execute(f"SELECT DISTINCT host FROM attempts WHERE {under_way}")
    others = [host for (host,) in hosts if host != socket.gethostname()]
    if others and not steal and place.shared_file_system(path):
        raise StoreLockedError(
            f'The store "{path}" has requests of {", ".join(others)} under way.',
            "If nothing runs there any more: fiat store steal.",
        )
    db.execute(
        "UPDATE attempts SET outcome = 'ambiguous', possibly_billed = 1, ended = ? "
        f"WHERE {under_way}",
        (time.time(),),
    )


def sums(db: sqlite3.Connection, by: Sequence[Group], run: str | None = None) -> list[Spent]:
    """Sum the attempts, of one run or of all, for each value of the groups; days are UTC.

    Raises:
        UnknownNameError: no such group.
    """
    for name in by:
        if name not in GROUPS:
            raise UnknownNameError("group of the ledger", name, get_args(Group))
    names = [GROUPS[name] for name in by]
    where = "" if run is None else "WHERE run = ?"
    grouped = f"GROUP BY {', '.join(names)} ORDER BY {', '.join(names)}" if names else ""
    query = f"SELECT {', '.join([*names, SUMS])} FROM attempts {where} {grouped}"
    rows = db.execute(query, () if run is None else (run,))
    return [_spent(dict(zip(by, row, strict=False)), row[len(by) :]) for row in rows]


def _spent(group: Mapping[str, str], found: tuple[Any, ...]) -> Spent:
    calls, prompt, cached, completion, reasoning, cost, unknown, billed = found
    known = dollars(cost) or Decimal(0)
    return Spent(calls, prompt, cached, completion, reasoning, known, unknown, billed, group)

"""The ledger: what was sent, what it brought and what it cost, summed as one likes.

Reads the table `attempts` of an open store; knows nothing of answers.
"""

from __future__ import annotations

import sqlite3
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from decimal import Decimal
from typing import Any, Literal, get_args

from fiatkit.errors import UnknownNameError
from fiatkit.reasoning.schema import dollars

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


def ledger(db: sqlite3.Connection, by: Sequence[Group], run: str | None = None) -> list[Spent]:
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


def _spent(group: Mapping[str, str], sums: tuple[Any, ...]) -> Spent:
    calls, prompt, cached, completion, reasoning, cost, unknown, billed = sums
    known = dollars(cost) or Decimal(0)
    return Spent(calls, prompt, cached, completion, reasoning, known, unknown, billed, group)

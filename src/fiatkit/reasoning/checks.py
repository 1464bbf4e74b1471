"""What an open store holds, and whether it is intact. Reads only."""

from __future__ import annotations

import sqlite3
from collections.abc import Iterator
from typing import Any

from fiatkit.reasoning import schema
from fiatkit.reasoning.ledger import ledger
from fiatkit.reasoning.schema import SELECTED


def status(db: sqlite3.Connection) -> dict[str, Any]:
    """Counts of answers by kind and model, of attempts by outcome, tokens and cost."""

    def counts(query: str) -> dict[str, int]:
        return {str(name): int(count) for name, count in db.execute(query)}

    kinds = counts("SELECT finish, count(*) FROM completions GROUP BY finish")
    spent = ledger(db, ())[0]
    return {
        "completions": sum(kinds.values()),
        "by kind": kinds,
        "by model": counts(
            "SELECT json_extract(request, '$.model'), count(*) FROM completions GROUP BY 1"
        ),
        "attempts": counts("SELECT outcome, count(*) FROM attempts GROUP BY outcome"),
        "possibly billed": spent.possibly_billed,
        "rows in open batches": db.execute("SELECT count(*) FROM batch_rows").fetchone()[0],
        "tokens": {
            "prompt": spent.prompt_tokens,
            "cached": spent.cached_tokens,
            "completion": spent.completion_tokens,
            "reasoning": spent.reasoning_tokens,
        },
        "cost": f"${spent.cost:f}, and {spent.unknown_cost} attempts of unknown cost",
    }


def verify(db: sqlite3.Connection) -> Iterator[str]:
    """Check the file's structure, every checksum and every key. Yields what is wrong."""
    for (problem,) in db.execute("PRAGMA integrity_check(20)"):
        if problem != "ok":
            yield str(problem)
    for row in db.execute(f"SELECT {SELECTED} FROM completions"):
        if not schema.intact(row):
            yield f"{row[0]}: the checksum does not hold"

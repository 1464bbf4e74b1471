"""Whether a store is intact, before it is written to and at any time; what it holds. Reads only."""

from __future__ import annotations

import contextlib
import sqlite3
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from fiatkit.errors import StoreCorruptError
from fiatkit.reasoning import ledger, place, schema
from fiatkit.reasoning.connection import RECOVER, connected, reader
from fiatkit.reasoning.schema import SELECTED


def check_left(path: Path, left: str) -> None:
    """Refuse a file that has lost what its last writer is known to have put there.

    Args:
        path: the file.
        left: what that writer's lock says of it (see `place.lock`).

    Raises:
        StoreCorruptError: it has.
    """
    size = path.stat().st_size if path.exists() else None
    lost = ""
    if left and size == 0:
        lost = "it is empty, though answers were put there"
    elif (
        left == "open"
        and size
        and not Path(f"{path}-wal").exists()
        and not place.shared_file_system(path)
    ):
        lost = f'"{path.name}-wal", which held the newest answers, is gone'
    if lost:
        raise StoreCorruptError(f'The store "{path}" is damaged: {lost}.', RECOVER)


def check_before_writing(path: Path) -> None:
    """Refuse a file that is damaged, another program's or a newer release's.

    Where there is a -wal, it is read by a connection that cannot write: another one, on closing,
    would remove what it cannot read of it.

    Raises:
        StoreCorruptError: it is one.
    """
    logged = Path(f"{path}-wal").exists()
    with contextlib.closing((reader if logged else connected)(path)) as db:
        schema.version_of(db, path)
        problem = db.execute("PRAGMA quick_check(1)").fetchone()[0]
    if problem != "ok":
        raise StoreCorruptError(f'The store "{path}" is damaged: {problem}.', RECOVER)


def status(db: sqlite3.Connection) -> dict[str, Any]:
    """Counts of answers by kind and model, of attempts by outcome, tokens and cost."""

    def counts(query: str) -> dict[str, int]:
        return {str(name): int(count) for name, count in db.execute(query)}

    kinds = counts("SELECT finish, count(*) FROM completions GROUP BY finish")
    spent = ledger.sums(db, ())[0]
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

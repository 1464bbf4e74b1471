"""McNemar's test of paired right and wrong answers, and Holm's correction for several tests."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from fiatkit.metrics._measure import row_values
from fiatkit.metrics._scores import Rows, Seeds, sorted_lists


@dataclass(frozen=True, slots=True)
class McNemar:
    """Rows that only A has right and that only B has right, and the exact two-sided p-value.

    Where the test is not legal `p` is None and `reason` says why.
    """

    only_a: int | None
    only_b: int | None
    p: float | None
    reason: str = ""


def mcnemar(metric: str, a: Seeds, b: Seeds) -> McNemar:
    """Compare two recipes' right answers row by row, where rows are independent of one another.

    The exact binomial test on the rows that one recipe alone has right (McNemar 1947).

    Args:
        metric: a name of the room; its row values must be right (100) or wrong (0).
        a: recipe A's rows, one list a seed.
        b: recipe B's.
    """
    if _grouped(a[0]):
        return McNemar(None, None, None, "rows of one group are not independent of one another")
    if len(a) > 1 or len(b) > 1:
        return McNemar(None, None, None, "several seeds answer the same row")
    values = [row_values(metric, rows) for rows in sorted_lists([*a, *b])]
    known = [each for each in values if each is not None]
    if len(known) < 2 or not all(((v == 0) | (v == 100)).all() for v in known):
        return McNemar(None, None, None, "the metric is not right or wrong row by row")
    from scipy import special

    only_a, only_b = int((known[0] > known[1]).sum()), int((known[0] < known[1]).sum())
    tail = float(special.bdtr(min(only_a, only_b), only_a + only_b, 0.5))
    return McNemar(only_a, only_b, min(1.0, 2 * tail))


def _grouped(rows: Rows) -> bool:
    return len({row.example.group for row in rows}) < len(rows)


def holm(values: Sequence[float | None]) -> list[float | None]:
    """Holm's step-down adjustment of a family of p-values (Holm 1979); None stays None."""
    known = sorted((p, index) for index, p in enumerate(values) if p is not None)
    adjusted: list[float | None] = [None] * len(values)
    highest = 0.0
    for rank, (p, index) in enumerate(known):
        highest = max(highest, min(1.0, p * (len(known) - rank)))
        adjusted[index] = highest
    return adjusted

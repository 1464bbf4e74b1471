"""Scores with bootstrap intervals: whole groups are resampled, never single rows of one.

A score over several languages is their unweighted mean, each recomputed in every resample. A
resample in which a language is missing gives that language no score; it is left out of the mean
of that resample only, which happens with very small test sets alone.
"""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from fiatkit import registry
from fiatkit.errors import DataError
from fiatkit.records import Score, ScoredRow

LEVEL = 0.95


@dataclass(frozen=True, slots=True)
class Difference:
    """Score of A less score of B on the same rows, with a paired 95 % interval."""

    value: float
    low: float
    high: float
    n: int
    groups: int

    @property
    def distinguishable(self) -> bool:
        """Whether the interval excludes zero."""
        return self.low > 0 or self.high < 0


def label_of(metric: str) -> str:
    """The metric's name as people read it."""
    return str(registry.get("metrics", metric).LABEL)


def corpus(metric: str, rows: Sequence[ScoredRow], labels: Sequence[str] | None) -> float | None:
    """The metric over all rows, whatever their language; None if undefined."""
    _check(rows)
    return _number(_scores(metric, rows, np.ones((1, len(rows))), labels)[0])


def evaluate(
    metric: str,
    rows: Sequence[ScoredRow],
    labels: Sequence[str] | None,
    *,
    resamples: int = 1000,
    seed: int = 0,
) -> Score:
    """Score rows by a metric: per language, their mean, and a 95 % interval.

    Args:
        metric: a name of the room.
        rows: test rows with a recipe's predictions; failed ones count as wrong.
        labels: the task's label set, or None.
        resamples: bootstrap resamples of whole groups.
        seed: of the resampling.

    Raises:
        DataError: there are no rows, or two of one id.
    """
    _check(rows)
    languages = sorted({row.example.query.language for row in rows})
    weights, groups = _weights(rows, resamples, seed)
    one = np.ones((1, len(rows)))
    value = _number(_macro(metric, rows, one, labels)[0])
    spread = _macro(metric, rows, weights, labels)
    low, high = _interval(spread) if value is not None else (None, None)
    by_language = {
        name: corpus(metric, [r for r in rows if r.example.query.language == name], labels)
        for name in languages
        if name
    }
    return Score(
        metric,
        value,
        low,
        high,
        _number(_scores(metric, rows, one, labels)[0]),
        len(rows),
        groups,
        by_language,
        dict(Counter(row.prediction.status for row in rows)),
    )


def difference(
    metric: str,
    a: Sequence[Sequence[ScoredRow]],
    b: Sequence[Sequence[ScoredRow]],
    labels: Sequence[str] | None,
    *,
    resamples: int = 2000,
    seed: int = 0,
) -> Difference | None:
    """Paired difference of two recipes, A less B.

    Args:
        metric: a name of the room.
        a: recipe A's rows, one list a seed.
        b: recipe B's rows, one list a seed; all lists hold the same ids.
        labels: the task's label set, or None.
        resamples: bootstrap resamples: groups, and seeds as a second level.
        seed: of the resampling.

    Returns:
        The difference, or None where a score is undefined.

    Raises:
        DataError: the lists do not hold the same ids.
    """
    lists = [sorted(rows, key=lambda row: row.example.id) for rows in (*a, *b)]
    ids = [[row.example.id for row in rows] for rows in lists]
    if any(other != ids[0] for other in ids):
        raise DataError("Two recipes can be compared on the same test rows only.")
    for rows in lists:
        _check(rows)
    one = np.ones((1, len(lists[0])))
    weights, groups = _weights(lists[0], resamples, seed)
    points = [_macro(metric, rows, one, labels)[0] for rows in lists]
    spreads = [_macro(metric, rows, weights, labels) for rows in lists]
    rng = np.random.default_rng(seed + 1)
    first = _over_seeds(spreads[: len(a)], rng)
    second = _over_seeds(spreads[len(a) :], rng)
    value = float(np.mean(points[: len(a)]) - np.mean(points[len(a) :]))
    low, high = _interval(first - second)
    if math.isnan(value) or low is None or high is None:
        return None
    return Difference(value, low, high, len(lists[0]), groups)


def _over_seeds(spreads: Sequence[np.ndarray], rng: np.random.Generator) -> np.ndarray:
    """Mean over as many seeds, drawn with replacement in each resample."""
    table = np.stack(spreads, axis=1)
    drawn = rng.integers(len(spreads), size=table.shape)
    return np.asarray(np.take_along_axis(table, drawn, axis=1).mean(axis=1))


def _weights(rows: Sequence[ScoredRow], resamples: int, seed: int) -> tuple[np.ndarray, int]:
    """How often each row counts in each resample [resamples, n], and the number of groups."""
    names = sorted({row.example.group for row in rows})
    number = {name: index for index, name in enumerate(names)}
    of_row = np.array([number[row.example.group] for row in rows])
    rng = np.random.default_rng(seed)
    drawn = rng.multinomial(len(names), np.full(len(names), 1 / len(names)), size=resamples)
    return drawn[:, of_row].astype(float), len(names)


def _macro(
    metric: str, rows: Sequence[ScoredRow], weights: np.ndarray, labels: Sequence[str] | None
) -> np.ndarray:
    """Unweighted mean over languages, for each weighting; undefined languages make it NaN."""
    languages = np.array([row.example.query.language for row in rows], dtype=object)
    parts = []
    for name in sorted(set(languages)):
        chosen = np.flatnonzero(languages == name)
        part = _scores(metric, [rows[int(i)] for i in chosen], weights[:, chosen], labels)
        parts.append(np.where(weights[:, chosen].sum(axis=1) > 0, part, np.inf))
    table = np.stack(parts)
    present = ~np.isinf(table)
    total = np.where(present, table, 0).sum(axis=0)
    return np.asarray(total / np.maximum(present.sum(axis=0), 1))


def _scores(
    metric: str, rows: Sequence[ScoredRow], weights: np.ndarray, labels: Sequence[str] | None
) -> np.ndarray:
    """The metric over all rows for each weighting [resamples]."""
    module: Any = registry.get("metrics", metric)
    if hasattr(module, "per_row"):
        values = module.per_row(rows)
        total = weights.sum(axis=1)
        return np.asarray(weights @ values / np.maximum(total, 1e-12))
    return np.asarray(module.weighted(rows, weights, labels or []))


def _interval(spread: np.ndarray) -> tuple[float | None, float | None]:
    known = spread[np.isfinite(spread)]
    if len(known) < len(spread) / 2 or not len(known):
        return None, None
    low, high = np.quantile(known, [(1 - LEVEL) / 2, (1 + LEVEL) / 2])
    return float(low), float(high)


def _number(value: float) -> float | None:
    return None if math.isnan(value) else float(value)


def _check(rows: Sequence[ScoredRow]) -> None:
    if not rows:
        raise DataError("There are no rows to score.")
    if len({row.example.id for row in rows}) < len(rows):
        raise DataError("Two rows to score have the same id.")
    for row in rows:
        if row.example.id != row.prediction.query_id:
            raise DataError(
                f'The prediction of "{row.prediction.query_id}" stands beside the row '
                f'"{row.example.id}".'
            )
        values = (row.prediction.probabilities or {}).values()
        if any(not math.isfinite(value) for value in values):
            raise DataError(f'The row "{row.example.id}" has a probability that is no number.')


def spread(
    metric: str,
    seeds: Sequence[Sequence[ScoredRow]],
    labels: Sequence[str] | None,
    *,
    resamples: int = 1000,
    seed: int = 0,
) -> tuple[float | None, float | None]:
    """95 % interval of a recipe's mean over seeds: groups and seeds are resampled together."""
    lists = [sorted(rows, key=lambda row: row.example.id) for rows in seeds]
    weights, _ = _weights(lists[0], resamples, seed)
    spreads = [_macro(metric, rows, weights, labels) for rows in lists]
    return _interval(_over_seeds(spreads, np.random.default_rng(seed + 1)))

"""Scores with bootstrap intervals: whole groups are resampled, never single rows of one.

A score over several languages is their unweighted mean, each recomputed in every resample; a
language without a score leaves the mean without one. Where a benchmark says which languages its
mean is over, exactly these are averaged, and one without rows leaves it undefined. A resample that
lacks a language by chance, possible only where groups cross languages, takes the mean over those
that it has.
"""

from __future__ import annotations

import functools
import math
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from fiatkit import registry
from fiatkit.errors import DataError
from fiatkit.metrics._resampling import group_count, interval, resampled
from fiatkit.metrics._rows import check, check_same
from fiatkit.records import Score, ScoredRow

Seeds = Sequence[Sequence[ScoredRow]]


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


@functools.cache
def _module(metric: str) -> Any:
    return registry.get("metrics", metric)


def label_of(metric: str) -> str:
    """The metric's name as people read it."""
    return str(_module(metric).LABEL)


def corpus(metric: str, rows: Sequence[ScoredRow], labels: Sequence[str] | None) -> float | None:
    """The metric over all rows, whatever their language; None if undefined."""
    check(rows)
    return _number(_Measure(metric, rows, labels).overall())


def row_values(metric: str, rows: Sequence[ScoredRow]) -> np.ndarray | None:
    """Each row's own value, 0 to 100 [n]; None where the metric is no mean of row values."""
    module = _module(metric)
    return np.asarray(module.per_row(rows)) if hasattr(module, "per_row") else None


def evaluate(
    metric: str,
    rows: Sequence[ScoredRow],
    labels: Sequence[str] | None,
    *,
    averaged: Sequence[str] = (),
    resamples: int = 1000,
    seed: int = 0,
) -> Score:
    """Score rows by a metric: per language, their mean, and a 95 % interval.

    Args:
        metric: a name of the room.
        rows: test rows with a recipe's predictions; failed ones count as wrong.
        labels: the task's label set, or None.
        averaged: the languages whose mean is the score; without them, all that the rows have.
        resamples: bootstrap resamples of whole groups.
        seed: of the resampling.

    Raises:
        DataError: there are no rows, two of one id, or a probability that is no number.
    """
    check(rows)
    measure = _Measure(metric, rows, labels, averaged)
    value = _number(measure.macro()[0])
    low = high = None
    if value is not None:
        low, high = interval(measure.spread(resamples, seed))
    return Score(
        metric,
        value,
        low,
        high,
        _number(measure.overall()),
        len(rows),
        group_count(rows),
        measure.by_language(),
        dict(Counter(row.prediction.status for row in rows)),
        measure.detail(),
    )


def difference(
    metric: str,
    a: Seeds | Sequence[ScoredRow],
    b: Seeds | Sequence[ScoredRow],
    labels: Sequence[str] | None,
    *,
    averaged: Sequence[str] = (),
    paired_seeds: bool = False,
    resamples: int = 2000,
    seed: int = 0,
) -> Difference | None:
    """Paired difference of two recipes, A less B.

    Args:
        metric: a name of the room.
        a: recipe A's rows, or one list of rows a seed.
        b: recipe B's, likewise; all lists hold the same ids.
        labels: the task's label set, or None.
        averaged: the languages whose mean is the score, as in `evaluate`.
        paired_seeds: the lists of A and B belong to the same seeds in the same order (so each
            pair was tuned on the same rows): a resample draws the same seeds on both sides.
        resamples: bootstrap resamples: of groups, and of seeds as a second level.
        seed: of the resampling.

    Returns:
        The difference, or None where a score is undefined.

    Raises:
        DataError: the lists do not hold the same rows, or cannot be scored.
    """
    first, second = _seeds(a), _seeds(b)
    lists = [*first, *second]
    check_same(lists)
    if paired_seeds and len(first) != len(second):
        raise DataError(f"{len(first)} seeds cannot be paired with {len(second)}.")
    measures = [_Measure(metric, rows, labels, averaged) for rows in lists]
    points = np.array([measure.macro()[0] for measure in measures])
    value = float(points[: len(first)].mean() - points[len(first) :].mean())
    if math.isnan(value):
        return None
    spreads = np.stack([measure.spread(resamples, seed) for measure in measures], axis=1)
    ours, theirs = spreads[:, : len(first)], spreads[:, len(first) :]
    rng = np.random.default_rng((seed, 1))
    if paired_seeds:
        low, high = interval(_over_seeds(ours - theirs, rng))
    else:
        low, high = interval(_over_seeds(ours, rng) - _over_seeds(theirs, rng))
    if low is None or high is None:
        return None
    return Difference(value, low, high, len(lists[0]), group_count(lists[0]))


def spread(
    metric: str,
    seeds: Seeds,
    labels: Sequence[str] | None,
    *,
    averaged: Sequence[str] = (),
    resamples: int = 1000,
    seed: int = 0,
) -> tuple[float | None, float | None]:
    """95 % interval of a recipe's mean over seeds: groups and seeds are resampled together."""
    lists = _seeds(seeds)
    check_same(lists)
    measures = [_Measure(metric, rows, labels, averaged) for rows in lists]
    table = [measure.spread(resamples, seed) for measure in measures]
    return interval(_over_seeds(np.stack(table, axis=1), np.random.default_rng((seed, 1))))


def _seeds(given: Seeds | Sequence[ScoredRow]) -> list[list[ScoredRow]]:
    """One list a seed, each checked and sorted by id."""
    if not given:
        raise DataError("There are no rows to score.")
    flat = [item for item in given if isinstance(item, ScoredRow)]
    lists = [flat] if flat else [list(rows) for rows in given if not isinstance(rows, ScoredRow)]
    for rows in lists:
        check(rows)
        rows.sort(key=lambda row: row.example.id)
    return lists


def _over_seeds(table: np.ndarray, rng: np.random.Generator) -> np.ndarray:
    """Mean over as many seeds, drawn with replacement in each resample; [resamples, seeds]."""
    drawn = rng.integers(table.shape[1], size=table.shape)
    return np.asarray(np.take_along_axis(table, drawn, axis=1).mean(axis=1))


class _Measure:
    """A metric bound to rows: its score under any weighting of them, whole and by language."""

    def __init__(
        self,
        metric: str,
        rows: Sequence[ScoredRow],
        labels: Sequence[str] | None,
        averaged: Sequence[str] = (),
    ) -> None:
        self.rows = rows
        self._module = _module(metric)
        self._labels = tuple(labels or ())
        self._values: np.ndarray | None = row_values(metric, rows)
        if self._values is not None and not np.isfinite(self._values).all():
            raise DataError(f'The metric "{metric}" gave a row a value that is no number.')
        defined = getattr(self._module, "defined", None)
        self._defined = defined is None or bool(defined(rows, self._labels))
        places: dict[str, list[int]] = {}
        for index, row in enumerate(rows):
            places.setdefault(row.example.query.language, []).append(index)
        self._places = {name: np.array(places[name]) for name in sorted(places)}
        self._averaged = list(averaged) or list(self._places)
        self._absent = [name for name in self._averaged if name not in self._places]

    def overall(self) -> float:
        """The score over all rows, each counted once."""
        return float(self._score(np.ones((1, len(self.rows))), np.arange(len(self.rows)))[0])

    def by_language(self) -> dict[str, float | None]:
        """Each language's score; empty where the rows have no languages."""
        if list(self._places) == [""]:
            return {}
        return {
            name: _number(float(self._score(np.ones((1, len(found))), found)[0]))
            for name, found in self._places.items()
        }

    def macro(self, weights: np.ndarray | None = None) -> np.ndarray:
        """Unweighted mean over languages for each weighting; NaN where one is undefined."""
        if weights is None:
            weights = np.ones((1, len(self.rows)))
        if self._absent:
            return np.full(len(weights), np.nan)
        total = np.zeros(len(weights))
        present = np.zeros(len(weights))
        for found in (self._places[name] for name in self._averaged):
            part = weights if len(found) == len(self.rows) else weights[:, found]
            there = part.sum(axis=1) > 0
            total[there] += self._score(part[there], found)
            present += there
        return np.asarray(
            np.divide(total, present, where=present > 0, out=np.full(len(weights), np.nan))
        )

    def detail(self) -> dict[str, Any]:
        """What must be printed with the score: the metric's own, and whom the mean is over."""
        found = getattr(self._module, "detail", None)
        told: dict[str, Any] = dict(found(self.rows, self._labels)) if found else {}
        if self._averaged != list(self._places):
            told["averaged"] = self._averaged
        if self._absent:
            told["languages_missing"] = self._absent
        return told

    def spread(self, resamples: int, seed: int) -> np.ndarray:
        """The macro score in each resample [resamples]."""
        if not self._defined or self._absent:
            return np.full(resamples, np.nan)
        return np.concatenate([self.macro(w) for w in resampled(self.rows, resamples, seed)])

    def _score(self, weights: np.ndarray, places: np.ndarray) -> np.ndarray:
        """The metric on the rows at `places`, for each weighting of these."""
        if not self._defined:
            return np.full(len(weights), np.nan)
        if self._values is not None:
            return np.asarray(weights @ self._values[places] / weights.sum(axis=1))
        rows = [self.rows[int(index)] for index in places]
        return np.asarray(self._module.weighted(rows, weights, self._labels))


def _number(value: float) -> float | None:
    return None if math.isnan(value) else float(value)

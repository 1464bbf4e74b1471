"""A metric bound to a list of predictions: its score under any weighting of whole groups.

A score over several languages is their unweighted mean, each recomputed under each weighting; a
language without a score leaves the mean without one. Where a benchmark says which languages its
mean is over, exactly these are averaged, and one without rows leaves it undefined. A weighting
that lacks a language by chance, possible only where groups cross languages, takes the mean over
those that it has.
"""

from __future__ import annotations

import functools
import math
from collections.abc import Sequence
from typing import Any

import numpy as np

from fiatkit import registry
from fiatkit.errors import DataError
from fiatkit.metrics._resampling import Groups
from fiatkit.records import ScoredRow


@functools.cache
def module_of(metric: str) -> Any:
    """The metric's module."""
    return registry.get("metrics", metric)


def row_values(metric: str, rows: Sequence[ScoredRow]) -> np.ndarray | None:
    """Each row's own value, 0 to 100 [n]; None where the metric is no mean of row values."""
    module = module_of(metric)
    return np.asarray(module.per_row(rows)) if hasattr(module, "per_row") else None


class Measure:
    """A metric's score of rows, by language and their mean, for each weighting of their groups.

    Args:
        metric: a name of the room.
        rows: n rows, checked.
        groups: of these rows, in this order.
        labels: the task's label set, or None.
        averaged: the languages whose mean is the score; without them, all that the rows have.
        pooled: take all rows together, whatever their language.
    """

    def __init__(
        self,
        metric: str,
        rows: Sequence[ScoredRow],
        groups: Groups,
        labels: Sequence[str] | None,
        averaged: Sequence[str] = (),
        *,
        pooled: bool = False,
    ) -> None:
        self._metric, self._rows, self._groups = metric, rows, groups
        self._labels, self._pooled = tuple(labels or ()), pooled
        defined = getattr(module_of(metric), "defined", None)
        self._defined = defined is None or bool(defined(rows, self._labels))
        places: dict[str, list[int]] = {}
        for index, row in enumerate(rows):
            places.setdefault("" if pooled else row.example.query.language, []).append(index)
        self.languages = sorted(places)
        self._averaged = list(averaged) or self.languages
        self.absent = [name for name in self._averaged if name not in places]
        values = row_values(metric, rows)
        if values is not None and not np.isfinite(values).all():
            raise DataError(f'The metric "{metric}" gave a row a value that is no number.')
        self._parts = [_part(metric, self, np.array(places[n]), values) for n in self.languages]

    @property
    def averaged(self) -> list[str]:
        """The languages whose mean is the score."""
        return self._averaged

    def scores(self, weights: np.ndarray | None = None) -> tuple[np.ndarray, np.ndarray]:
        """The score of each language and their mean, for each weighting of the groups.

        Args:
            weights: [weightings, groups]; None for one in which each group counts once.

        Returns:
            [weightings, languages] and [weightings]; NaN where undefined or absent.
        """
        if weights is None:
            weights = np.ones((1, self._groups.count))
        by_language = np.full((len(weights), len(self.languages)), np.nan)
        there = np.zeros(by_language.shape, dtype=bool)
        for index, part in enumerate(self._parts):
            own = weights[:, part.groups]
            there[:, index] = own.any(axis=1)
            if self._defined and there[:, index].any():
                by_language[there[:, index], index] = part.score(own[there[:, index]])
        if self.absent or not self._defined:
            return by_language, np.full(len(weights), np.nan)
        chosen = [self.languages.index(name) for name in self._averaged]
        counted = there[:, chosen]
        total = np.where(counted, by_language[:, chosen], 0.0).sum(axis=1)
        count = counted.sum(axis=1)
        mean = np.divide(total, count, where=count > 0, out=np.full(len(weights), np.nan))
        return by_language, mean

    def contributions(self) -> np.ndarray | None:
        """What each group adds to the score [groups], whose sum is the score; None where the
        metric is no mean of row values, or the score is undefined."""
        if self.absent or not self._defined or not all(isinstance(p, _Mean) for p in self._parts):
            return None
        added = np.zeros(self._groups.count)
        for name in self._averaged:
            part = self._parts[self.languages.index(name)]
            added[part.groups] += part.sums / part.counts.sum() / len(self._averaged)
        return added


class _Mean:
    """A mean of row values in one language, kept as the sum and the count of each group."""

    def __init__(self, values: np.ndarray, of_row: np.ndarray) -> None:
        self.groups, place = np.unique(of_row, return_inverse=True)
        self.sums = np.bincount(place, weights=values)
        self.counts = np.bincount(place).astype(float)

    def score(self, weights: np.ndarray) -> np.ndarray:
        return np.asarray(weights @ self.sums / (weights @ self.counts))


class _Whole:
    """Any other score in one language: it needs all rows at once."""

    sums = counts = np.zeros(0)

    def __init__(self, measure: Measure, places: np.ndarray) -> None:
        self._module = module_of(measure._metric)
        self._rows = [measure._rows[int(index)] for index in places]
        self._labels = measure._labels
        self.groups, self._place = np.unique(measure._groups.of_row[places], return_inverse=True)

    def score(self, weights: np.ndarray) -> np.ndarray:
        found = self._module.weighted(self._rows, weights[:, self._place], self._labels)
        return np.asarray(found)


def _part(
    metric: str, measure: Measure, places: np.ndarray, values: np.ndarray | None
) -> _Mean | _Whole:
    if values is None:
        return _Whole(measure, places)
    return _Mean(values[places], measure._groups.of_row[places])


def number(value: float) -> float | None:
    """The value, or None where it is no number."""
    return None if math.isnan(value) else float(value)

"""Scores with bootstrap intervals, and paired differences: groups are resampled, never rows."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from fiatkit.errors import DataError
from fiatkit.metrics._interval import LEVEL, Estimate, estimate, tellable, widened
from fiatkit.metrics._measure import Measure, module_of, number
from fiatkit.metrics._resampling import Groups, groups_of, resampled
from fiatkit.metrics._rows import check, check_same
from fiatkit.records import Score, ScoredRow

RESAMPLES = 2000
Rows = Sequence[ScoredRow]
Seeds = Sequence[Rows]


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


@dataclass(frozen=True, slots=True, eq=False)
class Resampled:
    """Scores of several lists of predictions for the same rows, in the same resamples of groups.

    Attributes:
        points: [lists], each list's score.
        table: [resamples, lists], its score in each resample; NaN where undefined.
        languages: that the rows have, by name; only "" where they have none.
        language_groups: [languages], how many groups have rows in each.
        language_points: [lists, languages].
        language_table: [resamples, lists, languages].
        added: [groups, lists], what each group adds to a list's score; NaN where the metric is no
            mean of row values, or undefined.
        groups: of the rows.
        rows: how many there are.
    """

    points: np.ndarray
    table: np.ndarray
    languages: list[str]
    language_groups: list[int]
    language_points: np.ndarray
    language_table: np.ndarray
    added: np.ndarray
    groups: Groups
    rows: int

    def score(self, lists: Sequence[int]) -> Estimate:
        """The mean score of some lists, the seeds of one recipe."""
        points, table = self.points[list(lists)], self.table[:, list(lists)]
        return _of_score(points, table, self.groups, self.groups.count)

    def language(self, lists: Sequence[int], place: int) -> Estimate:
        """Their mean score in one language."""
        chosen = list(lists)
        points, table = self.language_points[chosen, place], self.language_table[:, chosen, place]
        return _of_score(points, table, self.groups, self.language_groups[place])

    def difference(self, a: Sequence[int], b: Sequence[int]) -> Estimate:
        """A's mean score less B's; seeds are paired in order, a single list with each."""
        points, table = self._paired(a, b)
        return _of_difference(points, table, self.groups, self.groups.count)

    def differences(self, a: Sequence[int], b: Sequence[int]) -> np.ndarray:
        """The difference in each resample [resamples], as widely spread as its interval is."""
        return widened(*self._paired(a, b), self.groups)

    def language_difference(self, a: Sequence[int], b: Sequence[int], place: int) -> Estimate:
        """The same in one language."""
        ours, theirs = list(a), list(b)
        points = self.language_points[ours, place] - self.language_points[theirs, place]
        table = self.language_table[:, ours, place] - self.language_table[:, theirs, place]
        return _of_difference(points, table, self.groups, self.language_groups[place])

    def tellable(self, a: Sequence[int], b: Sequence[int], comparisons: int = 1) -> float | None:
        """The smallest difference of A and B that these rows can tell (80 % power, 5 % over so many
        comparisons)."""
        return tellable(*self._paired(a, b), self.groups, comparisons)

    def _paired(self, a: Sequence[int], b: Sequence[int]) -> tuple[np.ndarray, np.ndarray]:
        ours, theirs = list(a), list(b)
        table = self.table[:, ours] - self.table[:, theirs]
        return self.points[ours] - self.points[theirs], table


def _of_score(points: np.ndarray, table: np.ndarray, groups: Groups, count: int) -> Estimate:
    """The interval of a score, within what scores can be (only kappa goes below zero).

    Where all groups are alike, as where each is wholly right, resamples say nothing of a group
    that is not; the interval is then that of so many groups without an exception
    (Clopper-Pearson), each exception as large as can be.
    """
    found = estimate(points, table, groups)
    if found.value is None or found.low is None or found.high is None:
        return found
    return _within(found, min(0.0, float(np.nanmin(table))), 100.0, count)


def _of_difference(points: np.ndarray, table: np.ndarray, groups: Groups, count: int) -> Estimate:
    """The interval of a difference of scores, within what differences can be.

    Where every group differs alike, as where two recipes answer alike, it is as for a score.
    """
    found = estimate(points, table, groups)
    if found.value is None or found.low is None or found.high is None:
        return found
    lowest = min(-100.0, float(np.nanmin(table)))
    return _within(found, lowest, -lowest, count)


def _within(found: Estimate, lowest: float, highest: float, count: int) -> Estimate:
    """The interval within what can be; of so many groups that are all alike, a wide one."""
    value, low, high = found.value, found.low, found.high
    assert value is not None and low is not None and high is not None
    if high - low < 1e-9:
        unseen = _unseen(count)
        low, high = value - unseen * (value - lowest), value + unseen * (highest - value)
    return Estimate(value, max(low, lowest), min(high, highest))


def _unseen(count: int) -> float:
    """The largest share of groups of a kind of which so many have none: Clopper and Pearson's."""
    return 1.0 - float(((1 - LEVEL) / 2) ** (1 / count))


def label_of(metric: str) -> str:
    """The metric's name as people read it."""
    return str(module_of(metric).LABEL)


def corpus(metric: str, rows: Rows, labels: Sequence[str] | None) -> float | None:
    """The metric over all rows, whatever their language; None if undefined."""
    check(rows)
    measure = Measure(metric, rows, groups_of(rows), labels, pooled=True)
    return number(float(measure.scores()[1][0]))


def ratio(above: Sequence[float], below: Sequence[float], groups: Sequence[str]) -> Estimate:
    """100 x the sum of `above` over the sum of `below`, such as a share of rows, with an interval.

    Args:
        above: each row's part of what is counted.
        below: each row's part of what it is counted among.
        groups: each row's group.

    Returns:
        The share; None where nothing is counted among.
    """
    names, of_row = np.unique(np.array(list(groups), dtype=object).astype(str), return_inverse=True)
    if not len(names) or not sum(below):
        return Estimate(None)
    counted, among = np.bincount(of_row, above), np.bincount(of_row, below)
    drawn = Groups(len(names), of_row, [np.arange(len(names))])

    def share(weights: np.ndarray) -> np.ndarray:
        total = weights @ among
        undefined = np.full(len(weights), np.nan)
        return np.asarray(100 * np.divide(weights @ counted, total, where=total > 0, out=undefined))

    table = np.concatenate([share(weights) for weights in resampled(drawn, RESAMPLES, 0)])
    points = share(np.ones((1, len(names))))
    return _of_score(points, table[:, None], drawn, drawn.count)


def evaluate(
    metric: str,
    rows: Rows,
    labels: Sequence[str] | None,
    *,
    averaged: Sequence[str] = (),
    resamples: int = RESAMPLES,
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
    groups = groups_of(rows)
    measure = Measure(metric, rows, groups, labels, averaged)
    by_language, points = measure.scores()
    found = Estimate(number(float(points[0])))
    if found.value is not None:
        blocks = [measure.scores(weights)[1] for weights in resampled(groups, resamples, seed)]
        found = _of_score(points, np.concatenate(blocks)[:, None], groups, groups.count)
    named = measure.languages != [""]
    return Score(
        metric,
        found.value,
        found.low,
        found.high,
        corpus(metric, rows, labels),
        len(rows),
        groups.count,
        dict(zip(measure.languages, map(number, by_language[0]), strict=True)) if named else {},
        dict(Counter(row.prediction.status for row in rows)),
        _detail(metric, measure, rows, labels),
    )


def _detail(
    metric: str, measure: Measure, rows: Rows, labels: Sequence[str] | None
) -> dict[str, Any]:
    """What must be printed with the score: the metric's own, and whom the mean is over."""
    own = getattr(module_of(metric), "detail", None)
    told: dict[str, Any] = dict(own(rows, tuple(labels or ()))) if own else {}
    if measure.averaged != measure.languages:
        told["averaged"] = measure.averaged
    if measure.absent:
        told["languages_missing"] = measure.absent
    return told


def resample(
    metric: str,
    lists: Seeds,
    labels: Sequence[str] | None,
    *,
    averaged: Sequence[str] = (),
    pooled: bool = False,
    resamples: int = RESAMPLES,
    seed: int = 0,
) -> Resampled:
    """Score lists of predictions for the same rows, on these and on resamples of their groups.

    Args:
        metric: a name of the room.
        lists: of predictions, such as one a cell; all hold the same ids.
        labels: the task's label set, or None.
        averaged: the languages whose mean is the score, as in `evaluate`.
        pooled: score all rows together, whatever their language.
        resamples: of whole groups.
        seed: of the resampling.

    Raises:
        DataError: the lists do not hold the same rows, or cannot be scored.
    """
    ordered = sorted_lists(lists)
    groups = groups_of(ordered[0], pooled=pooled)
    measures = [Measure(metric, rows, groups, labels, averaged, pooled=pooled) for rows in ordered]
    languages = measures[0].languages
    shape = resamples, len(measures)
    table, by_language = np.full(shape, np.nan), np.full((*shape, len(languages)), np.nan)
    begin = 0
    for weights in resampled(groups, resamples, seed):
        place = slice(begin, begin + len(weights))
        for index, measure in enumerate(measures):
            by_language[place, index], table[place, index] = measure.scores(weights)
        begin = place.stop
    first = [measure.scores() for measure in measures]
    added = [measure.contributions() for measure in measures]
    nothing = np.full(groups.count, np.nan)
    return Resampled(
        np.concatenate([mean for _, mean in first]),
        table,
        languages,
        [len(found) for found in _by_language(ordered[0], languages)],
        np.concatenate([scores for scores, _ in first]),
        by_language,
        np.stack([nothing if each is None else each for each in added], axis=1),
        groups,
        len(ordered[0]),
    )


def _by_language(rows: Rows, languages: Sequence[str]) -> list[set[str]]:
    """The groups of each language's rows; of all rows where they have none."""
    found: dict[str, set[str]] = {name: set() for name in languages}
    for row in rows:
        language = row.example.query.language
        found[language if language in found else ""].add(row.example.group)
    return list(found.values())


def difference(
    metric: str,
    a: Seeds | Rows,
    b: Seeds | Rows,
    labels: Sequence[str] | None,
    *,
    averaged: Sequence[str] = (),
    resamples: int = RESAMPLES,
    seed: int = 0,
) -> Difference | None:
    """Paired difference of two recipes, A less B; seeds are a second level.

    Args:
        metric: a name of the room.
        a: recipe A's rows, or one list of rows a seed.
        b: recipe B's, likewise, for the same seeds in the same order, so that each pair was tuned
            on the same rows; or a single list, as of a recipe without seeds.
        labels: the task's label set, or None.
        averaged: the languages whose mean is the score, as in `evaluate`.
        resamples: bootstrap resamples of groups.
        seed: of the resampling.

    Returns:
        The difference, or None where a score is undefined.

    Raises:
        DataError: the lists do not hold the same rows, or cannot be scored or paired.
    """
    first, second = paired_seeds(a, b)
    found = resample(
        metric, [*first, *second], labels, averaged=averaged, resamples=resamples, seed=seed
    )
    ours = range(len(first))
    theirs = range(len(first), len(first) + len(second))
    told = found.difference(ours, theirs)
    if told.value is None or told.low is None or told.high is None:
        return None
    return Difference(told.value, told.low, told.high, found.rows, found.groups.count)


def paired_seeds(a: Seeds | Rows, b: Seeds | Rows) -> tuple[list[Rows], list[Rows]]:
    """As many lists on either side: a single one stands beside each of the other's seeds.

    Raises:
        DataError: there are none, or numbers of seeds that cannot be paired.
    """
    first, second = _as_seeds(a), _as_seeds(b)
    most = max(len(first), len(second))
    if any(len(lists) not in (1, most) for lists in (first, second)):
        raise DataError(f"{len(first)} seeds cannot be paired with {len(second)}.")
    return first * (most // len(first)), second * (most // len(second))


def _as_seeds(given: Seeds | Rows) -> list[Rows]:
    if not given:
        raise DataError("There are no rows to score.")
    flat = [item for item in given if isinstance(item, ScoredRow)]
    return [flat] if flat else [rows for rows in given if not isinstance(rows, ScoredRow)]


def sorted_lists(lists: Seeds) -> list[list[ScoredRow]]:
    """The lists checked and each sorted by id. Raises DataError if they hold different rows."""
    ordered = [sorted(rows, key=lambda row: row.example.id) for rows in lists]
    for rows in ordered:
        check(rows)
    check_same(ordered)
    return ordered

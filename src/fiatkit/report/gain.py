"""The gain of the rationale in each language against the score without it (the paper's Fig. 3).

A language that scored low by bad luck seems to gain: gain and baseline share the same chance with
opposite signs, so their correlation is negative even where the rationale helps all alike. The
control takes the baseline from one half of the groups and the gain from the other, over many
random halves, so that they share no row. Its correlation is weakened by chance in either half but
leans to no side; its slope is corrected for that (the other half's baseline as an instrument).
"""

from __future__ import annotations

import warnings
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from fiatkit import metrics
from fiatkit.metrics import Estimate
from fiatkit.report.evidence import Key, Pair, evidence, name_of
from fiatkit.report.run import Run

WITH, WITHOUT = "fiat", "instruct"
LEAST_LANGUAGES = 4
LEAST_GROUPS = 4
SPLITS = 1000  # of the rows themselves
RESAMPLES, SPLITS_EACH = 500, 8  # for the interval


@dataclass(frozen=True, slots=True)
class GainPoint:
    """A language: its score without the rationale, and what the rationale adds."""

    language: str
    baseline: Estimate
    gain: Estimate


@dataclass(frozen=True, slots=True)
class Trend:
    """A straight line over the languages: points gained for each point of baseline, and Pearson's
    correlation; each with a 95 % interval over groups, for these languages."""

    slope: Estimate
    correlation: Estimate


@dataclass(frozen=True, slots=True)
class Gain:
    """Gains by language; `naive` as the paper does it, `controlled` by split halves."""

    with_rationale: str
    without: str
    points: list[GainPoint]
    naive: Trend
    controlled: Trend
    splits: int

    @property
    def words(self) -> str:
        """What may be said."""
        if self.controlled.slope.excludes_zero and (self.controlled.slope.value or 0.0) < 0:
            return "Languages that are weak without rationales gain more from them."
        if self.controlled.slope.excludes_zero:
            return "Languages that are strong without rationales gain more from them."
        if self.naive.slope.excludes_zero:
            return (
                "Weak languages seem to gain more, but with the control for chance this is not "
                "distinguishable."
            )
        return "Whether weak languages gain more is not distinguishable."


def gain(run: Run) -> tuple[Gain | None, str]:
    """FIAT's gain over `instruct` at their largest common size, or None and the reason."""
    found = evidence(run)
    keys = _keys(list(found.lines))
    pair = found.pair(*keys) if keys else None
    place = found.resampled(pair) if pair else None
    if keys is None or pair is None or place is None:
        return None, f"{WITH} and {WITHOUT} have no size and seed in common."
    table, ours, theirs = place
    enough = _enough(run)
    if len(enough) < LEAST_LANGUAGES:
        return None, (
            f"{len(enough)} languages have {LEAST_GROUPS} test groups or more; a trend over "
            f"languages needs {LEAST_LANGUAGES}."
        )
    chosen = [index for index, name in enumerate(table.languages) if name in enough]
    points = []
    for index in chosen:
        points.append(
            GainPoint(
                table.languages[index],
                table.language(theirs, index),
                table.language_difference(ours, theirs, index),
            )
        )
    base = table.language_table[:, theirs].mean(axis=1)[:, chosen]
    more = table.language_table[:, ours].mean(axis=1)[:, chosen] - base
    at = table.language_points[theirs].mean(axis=0)[chosen]
    added = table.language_points[ours].mean(axis=0)[chosen] - at
    if np.isnan([*at, *added]).any():
        return None, "A language has no score."
    naive = Trend(
        _interval(_slope(at[None], added[None]), _slope(base, more)),
        _within_one(_interval(_correlation(at[None], added[None]), _correlation(base, more))),
    )
    names = name_of(keys[0]), name_of(keys[1])
    return Gain(*names, points, naive, _controlled(run, pair, chosen), SPLITS), ""


def _keys(lines: Sequence[Key]) -> tuple[Key, Key] | None:
    sizes = {size for recipe, size in lines if recipe == WITH and size is not None}
    common = sizes & {size for recipe, size in lines if recipe == WITHOUT}
    return ((WITH, max(common)), (WITHOUT, max(common))) if common else None


def _enough(run: Run) -> set[str]:
    groups: dict[str, set[str]] = {}
    for row in run.rows:
        groups.setdefault(row.language, set()).add(row.group)
    return {name for name, found in groups.items() if name and len(found) >= LEAST_GROUPS}


def _controlled(run: Run, pair: Pair, chosen: Sequence[int]) -> Trend:
    """Slope and correlation of the gain in one half on the baseline in the other."""
    cells = [*pair.a, *pair.b]
    rows = [run.scored(cell) for cell in cells]

    def trends(splits: int, resamples: int) -> tuple[np.ndarray, np.ndarray]:
        """Slope and correlation of each draw, over its splits and both ways round."""
        found = metrics.halves(run.primary, rows, run.labels, splits=splits, resamples=resamples)
        base, more, base_2, more_2 = (
            part[..., chosen]
            for half in (found.first, found.second)
            for part in _baseline_and_gain(half, len(pair.a))
        )
        both = _covariance(base, more_2) + _covariance(base_2, more)
        slopes = _ratio(np.nanmean(both, axis=1), 2 * np.nanmean(_covariance(base, base_2), axis=1))
        correlations = (_correlation(base, more_2) + _correlation(base_2, more)) / 2
        return slopes, np.nanmean(correlations, axis=1)

    with np.errstate(invalid="ignore"), warnings.catch_warnings():
        warnings.simplefilter("ignore", RuntimeWarning)  # a mean of nothing is NaN
        ours, drawn = trends(SPLITS, 0), trends(SPLITS_EACH, RESAMPLES)
    return Trend(_interval(ours[0], drawn[0]), _within_one(_interval(ours[1], drawn[1])))


def _baseline_and_gain(half: np.ndarray, seeds: int) -> tuple[np.ndarray, np.ndarray]:
    base = half[..., seeds:, :].mean(axis=-2)
    return base, half[..., :seeds, :].mean(axis=-2) - base


def _slope(base: np.ndarray, gained: np.ndarray) -> np.ndarray:
    """Points gained for each point of baseline, over the languages (the last axis)."""
    return _ratio(_covariance(base, gained), _covariance(base, base))


def _correlation(base: np.ndarray, gained: np.ndarray) -> np.ndarray:
    scale = np.sqrt(_covariance(base, base) * _covariance(gained, gained))
    return _ratio(_covariance(base, gained), scale)


def _ratio(above: np.ndarray, below: np.ndarray) -> np.ndarray:
    undefined = np.full(above.shape, np.nan)
    return np.asarray(np.divide(above, below, where=below > 1e-12, out=undefined))


def _covariance(one: np.ndarray, other: np.ndarray) -> np.ndarray:
    one = one - one.mean(axis=-1, keepdims=True)
    other = other - other.mean(axis=-1, keepdims=True)
    return np.asarray((one * other).mean(axis=-1))


def _interval(value: np.ndarray, drawn: np.ndarray) -> Estimate:
    """A value with the spread of its resamples round it.

    Resamples hold chance twice and so lean to one side; their spread is used, not their place.
    """
    known = drawn[np.isfinite(drawn)]
    if not np.isfinite(value[0]) or len(known) <= len(drawn) / 2:
        return Estimate(float(value[0]) if np.isfinite(value[0]) else None)
    low, middle, high = np.quantile(known, [0.025, 0.5, 0.975])
    at = float(value[0])
    return Estimate(at, at + float(low - middle), at + float(high - middle))


def _within_one(found: Estimate) -> Estimate:
    """A correlation's interval without what no correlation can be."""
    if found.low is None or found.high is None:
        return found
    return Estimate(found.value, max(-1.0, found.low), min(1.0, found.high))

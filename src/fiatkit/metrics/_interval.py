"""From resamples of groups and several seeds to an interval, and to the least that can be told.

One seed: the bias-corrected and accelerated percentiles of the resamples (Efron 1987), taken at
the levels of Student's t and widened by sqrt(G / (G - 1)), as few groups need it (Hesterberg
2015); the acceleration is a sixth of the resamples' skewness. Several seeds: that interval of
their mean, stretched about the mean by what the seeds add to its variance, with Satterthwaite's
degrees of freedom. docs/decisions/0009-intervals-with-few-groups.md has what was measured.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np

from fiatkit.metrics._resampling import Groups

LEVEL = 0.95
POWER = 0.8


@dataclass(frozen=True, slots=True)
class Estimate:
    """A number with its 95 % interval; None where it is not defined, or not known."""

    value: float | None
    low: float | None = None
    high: float | None = None

    @property
    def excludes_zero(self) -> bool:
        """Whether there is an interval, and zero lies outside."""
        return self.low is not None and self.high is not None and (self.low > 0 or self.high < 0)


UNKNOWN = Estimate(None)


def estimate(points: np.ndarray, table: np.ndarray, groups: Groups) -> Estimate:
    """A mean over seeds with its 95 % interval.

    Args:
        points: [seeds], each seed's value on the rows themselves.
        table: [resamples, seeds], the same on resamples of the groups; NaN where undefined.
            Resamples in which a seed is undefined are left out; where these are the half or more,
            or where there is one group only (or one in each language), there is no interval.
        groups: the groups that were resampled.
    """
    value = float(points.mean())
    if math.isnan(value):
        return UNKNOWN
    means = table.mean(axis=1)
    known = means[np.isfinite(means)]
    if len(known) <= len(means) / 2 or groups.freedom < 1:
        return Estimate(value)
    low, high = _over_groups(value, known, groups)
    low, high = _stretched(value, low, high, _spread(points, known, groups), groups.freedom)
    return Estimate(value, low, high)


def widened(points: np.ndarray, table: np.ndarray, groups: Groups) -> np.ndarray:
    """The resampled means [resamples] spread about the mean as wide as `estimate`'s interval, for
    what is computed from several of them at once. Takes what `estimate` takes."""
    means = table.mean(axis=1)
    known = means[np.isfinite(means)]
    if groups.freedom < 1 or len(known) < 2:
        return np.asarray(means)
    factor = _factor(_spread(points, known, groups), groups)
    return np.asarray(points.mean() + factor * (means - points.mean()))


def _factor(spread: _Spread, groups: Groups) -> float:
    """How much wider than the plain percentiles the interval is."""
    from scipy import special

    level = (1 + LEVEL) / 2
    own = special.stdtrit(spread.freedom, level) / special.ndtri(level)
    share = spread.seeds / spread.groups if spread.groups > 0 else 0.0
    return float(own * math.sqrt(groups.count / groups.freedom * (1 + share)))


def tellable(
    points: np.ndarray, table: np.ndarray, groups: Groups, comparisons: int = 1
) -> float | None:
    """The smallest true difference that a two-sided test at 5 % finds with a power of 80 %.

    (t(1 - 0.025 / m) + t(0.8)) x the standard error of the paired difference, from the spread of
    its resamples and seeds; m is the number of comparisons corrected for (Bonferroni: the most
    that Holm asks). Takes what `estimate` takes. None where there is no spread to judge by.
    """
    from scipy import special

    means = table.mean(axis=1)
    known = means[np.isfinite(means)]
    if math.isnan(points.mean()) or len(known) <= len(means) / 2 or groups.freedom < 1:
        return None
    spread = _spread(points, known, groups)
    error, freedom = math.sqrt(spread.groups + spread.seeds), spread.freedom
    if error == 0:
        return None
    wide = special.stdtrit(freedom, 1 - (1 - LEVEL) / 2 / comparisons)
    return float((wide + special.stdtrit(freedom, POWER)) * error)


@dataclass(frozen=True, slots=True)
class _Spread:
    """The variance of a mean over seeds: by groups and by seeds, and its degrees of freedom."""

    groups: float
    seeds: float
    freedom: float


def _spread(points: np.ndarray, means: np.ndarray, groups: Groups) -> _Spread:
    by_groups = float(means.var()) * groups.count / groups.freedom
    seeds = len(points)
    by_seeds = float(points.var(ddof=1)) / seeds if seeds > 1 else 0.0
    freedom = float(groups.freedom)
    if by_seeds > 0:
        parts = by_groups**2 / groups.freedom + by_seeds**2 / (seeds - 1)
        freedom = (by_groups + by_seeds) ** 2 / parts
    return _Spread(by_groups, by_seeds, freedom)


def _over_groups(value: float, means: np.ndarray, groups: Groups) -> tuple[float, float]:
    """The interval of one number from its resamples, few groups allowed for."""
    from scipy import special

    deviation = float(means.std())
    if deviation <= 1e-9 * max(1.0, abs(value)):
        return min(value, float(means.min())), max(value, float(means.max()))
    wide = special.stdtrit(groups.freedom, (1 + LEVEL) / 2)
    wide *= math.sqrt(groups.count / groups.freedom)
    tie = 1e-9 * deviation
    below = float(((means < value - tie).mean() + (means <= value + tie).mean()) / 2)
    least = 1 / (2 * len(means))
    shift = float(special.ndtri(min(max(below, least), 1 - least)))
    skew = float(((means - means.mean()) ** 3).mean()) / deviation**3 / 6
    ends = shift + np.array([-wide, wide])
    levels = special.ndtr(shift + ends / np.maximum(1 - skew * ends, 1e-3))
    low, high = np.quantile(means, levels)
    return min(float(low), value), max(float(high), value)


def _stretched(
    value: float, low: float, high: float, spread: _Spread, freedom: int
) -> tuple[float, float]:
    """The interval with what the seeds add."""
    from scipy import special

    if spread.seeds == 0:
        return low, high
    wide = float(special.stdtrit(spread.freedom, (1 + LEVEL) / 2))
    if spread.groups == 0:
        half = wide * math.sqrt(spread.seeds)
        return value - half, value + half
    factor = math.sqrt(1 + spread.seeds / spread.groups)
    factor *= wide / float(special.stdtrit(freedom, (1 + LEVEL) / 2))
    return value - factor * (value - low), value + factor * (high - value)

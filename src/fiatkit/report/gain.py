"""The gain of the rationale in each language against the score without it (the paper's Fig. 3).

A language that scored low by bad luck seems to gain: gain and baseline share the same chance with
opposite signs, so their trend is negative even where the rationale helps all alike. The control
takes out the covariance that chance alone brings, as measured by resampling the test groups (the
method-of-moments estimator of errors-in-variables regression, Fuller 1987). It is what one gets by
taking the baseline from one half of the groups and the gain from the other, over all halves.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from fiatkit.metrics import Estimate, Resampled
from fiatkit.report.evidence import UNKNOWN, Key, evidence, name_of
from fiatkit.report.run import Run

WITH, WITHOUT = "fiat", "instruct"
LEAST_LANGUAGES = 4
LEAST_GROUPS = 4


@dataclass(frozen=True, slots=True)
class GainPoint:
    """A language: its score without the rationale, and what the rationale adds."""

    language: str
    baseline: Estimate
    gain: Estimate


@dataclass(frozen=True, slots=True)
class Trend:
    """A straight line over the languages: points gained for each point of baseline, and the
    correlation; each with a 95 % interval over test groups, for these languages and seeds.

    Without a value where the languages do not differ by more than chance.
    """

    slope: Estimate
    correlation: Estimate


@dataclass(frozen=True, slots=True)
class Gain:
    """Gains by language; the trend `naive`, as the paper has it, and `controlled` for chance."""

    with_rationale: str
    without: str
    points: list[GainPoint]
    naive: Trend
    controlled: Trend
    told: bool

    @property
    def words(self) -> str:
        """What may be said."""
        slope = self.controlled.correlation.value or self.controlled.slope.value or 0.0
        if self.told:
            kind = "weak" if slope < 0 else "strong"
            return f"Languages that are {kind} without rationales gain more from them."
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
    if keys is None or place is None:
        return None, f"{WITH} and {WITHOUT} have no size and seed in common."
    table, ours, theirs = place
    enough = _enough(run)
    if len(enough) < LEAST_LANGUAGES:
        return None, (
            f"{len(enough)} languages have {LEAST_GROUPS} test groups or more; a trend over "
            f"languages needs {LEAST_LANGUAGES}."
        )
    chosen = [index for index, name in enumerate(table.languages) if name in enough]
    if np.isnan(table.language_points[[*ours, *theirs]][:, chosen]).any():
        return None, "A language has no score."
    points = [
        GainPoint(
            table.languages[index],
            table.language(theirs, index),
            table.language_difference(ours, theirs, index),
        )
        for index in chosen
    ]
    trends = _trends(table, ours, theirs, chosen)
    return Gain(name_of(keys[0]), name_of(keys[1]), points, *trends), ""


def _keys(lines: Sequence[Key]) -> tuple[Key, Key] | None:
    sizes = {size for recipe, size in lines if recipe == WITH and size is not None}
    common = sizes & {size for recipe, size in lines if recipe == WITHOUT}
    return ((WITH, max(common)), (WITHOUT, max(common))) if common else None


def _enough(run: Run) -> set[str]:
    groups: dict[str, set[str]] = {}
    for row in run.rows:
        groups.setdefault(row.language, set()).add(row.group)
    return {name for name, found in groups.items() if name and len(found) >= LEAST_GROUPS}


def _trends(
    table: Resampled, ours: Sequence[int], theirs: Sequence[int], chosen: Sequence[int]
) -> tuple[Trend, Trend, bool]:
    """The naive trend, the controlled one, and whether the controlled one can be told from none."""
    at = table.language_points[list(theirs)].mean(axis=0)[chosen]
    added = table.language_points[list(ours)].mean(axis=0)[chosen] - at
    base = table.language_table[:, list(theirs)].mean(axis=1)[:, chosen]
    more = table.language_table[:, list(ours)].mean(axis=1)[:, chosen] - base
    whole = np.isfinite(base).all(axis=1) & np.isfinite(more).all(axis=1)
    if table.groups.freedom < 1 or whole.mean() <= 0.5:
        nothing = Trend(UNKNOWN, UNKNOWN)
        return nothing, nothing, False
    return trends(at, added, base[whole], more[whole], table.groups.count, table.groups.freedom)


def trends(
    at: np.ndarray,
    added: np.ndarray,
    base: np.ndarray,
    more: np.ndarray,
    groups: int,
    freedom: int,
) -> tuple[Trend, Trend, bool]:
    """The trend of gains over baselines, as it looks and controlled for chance.

    Args:
        at: [languages], baselines.
        added: [languages], gains.
        base: [resamples, languages], baselines on resamples of the groups.
        more: [resamples, languages], gains on the same.
        groups: that were resampled; `freedom` their degrees of freedom.

    Returns:
        The naive trend, the controlled one, and whether the latter can be told from none.
    """
    from scipy import special

    few = groups / freedom
    luck, luck_more = base - base.mean(axis=0), more - more.mean(axis=0)
    # Rows: covariance of baseline and gain, variance of baselines, variance of gains.
    seen = np.array([_cov(at, added), _cov(at, at), _cov(added, added)])
    drawn = np.stack([_cov(base, more), _cov(base, base), _cov(more, more)])
    chance = np.stack([_cov(luck, luck_more), _cov(luck, luck), _cov(luck_more, luck_more)])
    freed = seen - few * chance.mean(axis=1)
    # Resampled covariances hold each product of two chances three times, the rows' own once.
    spread = few * np.cov(drawn[:2]) - few**2 * np.cov(chance[:2])
    wide = float(special.stdtrit(freedom, 0.975))
    scale, scales = math.sqrt(seen[1] * seen[2]), np.sqrt(drawn[1] * drawn[2])
    naive = Trend(
        _around(_ratio(seen[:1], seen[1:2])[0], _ratio(drawn[0], drawn[1])),
        _within_one(_around(_ratio(seen[:1], np.array([scale]))[0], _ratio(drawn[0], scales))),
    )
    half = wide * math.sqrt(max(spread[0, 0], 0.0))
    told = bool(abs(freed[0]) > half)
    scale = math.sqrt(max(freed[1], 0.0) * max(freed[2], 0.0))
    correlation = UNKNOWN
    if scale > 0:
        ends = (freed[0] - half) / scale, freed[0] / scale, (freed[0] + half) / scale
        low, middle, high = (float(np.clip(end, -1, 1)) for end in ends)
        correlation = Estimate(middle, low, high)
    return naive, Trend(_fieller(freed, spread, wide), correlation), told


def _fieller(freed: np.ndarray, spread: np.ndarray, wide: float) -> Estimate:
    """The slope, a ratio, with Fieller's interval; nothing where the baselines' spread cannot be
    told from zero, since then any slope fits."""
    above, below = float(freed[0]), float(freed[1])
    a = below**2 - wide**2 * float(spread[1, 1])
    if below <= 0 or a <= 0:
        return UNKNOWN
    b = above * below - wide**2 * float(spread[0, 1])
    c = above**2 - wide**2 * float(spread[0, 0])
    root = math.sqrt(max(b * b - a * c, 0.0))
    return Estimate(above / below, (b - root) / a, (b + root) / a)


def _cov(one: np.ndarray, other: np.ndarray) -> np.ndarray:
    """Covariance over the languages, the last axis."""
    one = one - one.mean(axis=-1, keepdims=True)
    other = other - other.mean(axis=-1, keepdims=True)
    return np.asarray((one * other).mean(axis=-1))


def _ratio(above: np.ndarray, below: np.ndarray) -> np.ndarray:
    undefined = np.full(above.shape, np.nan)
    return np.asarray(np.divide(above, below, where=below > 1e-12, out=undefined))


def _around(value: float, drawn: np.ndarray) -> Estimate:
    """A value with the spread of its resamples round it: these hold chance twice and so lean to
    one side, so that their spread is used and not their place."""
    known = drawn[np.isfinite(drawn)]
    if not math.isfinite(value) or len(known) <= len(drawn) / 2:
        return Estimate(value if math.isfinite(value) else None)
    low, middle, high = np.quantile(known, [0.025, 0.5, 0.975])
    return Estimate(value, value + float(low - middle), value + float(high - middle))


def _within_one(found: Estimate) -> Estimate:
    """A correlation's interval without what no correlation can be."""
    if found.low is None or found.high is None:
        return found
    return Estimate(found.value, max(-1.0, found.low), min(1.0, found.high))

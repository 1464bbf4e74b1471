"""Score against training rows, for every recipe, and where the curves of two of them cross."""

from __future__ import annotations

import functools
import math
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from typing import Literal

import numpy as np

from fiatkit import metrics
from fiatkit.metrics import Estimate
from fiatkit.report.evidence import Evidence, Key, Pair, evidence, reference
from fiatkit.report.family import family
from fiatkit.report.run import Run

Outcome = Literal["crosses", "none in the range", "not distinguishable"]


@dataclass(frozen=True, slots=True)
class Point:
    """A recipe at one size: training rows, the distinct groups that they form (the mean over
    seeds), and its mean over seeds with an interval over groups and seeds."""

    rows: int
    groups: float | None
    seeds: int
    score: Estimate


@dataclass(frozen=True, slots=True)
class Curve:
    """A recipe at every size; one that is not tuned is `level`, the same at each."""

    recipe: str
    label: str
    is_floor: bool
    points: list[Point]
    level: Estimate | None


@dataclass(frozen=True, slots=True)
class Crossover:
    """From how many training rows on recipe `winner` is ahead of recipe `loser`.

    Attributes:
        a: the reference; `b` the other recipe.
        outcome: "crosses": at the smallest size one of the two is ahead by the corrected test, at
            the largest the other; "none in the range": one is, at every size; else "not
            distinguishable".
        ahead: whose score is higher at the largest size.
        rows: training rows at the crossing of the observed curves, interpolated on log rows, with
            its 95 % interval from the joint resamples. None where they do not cross; an end of
            the interval is None where it lies outside the range of sizes.
        groups: distinct training groups there.
        share: the share of resamples in which `ahead` overtakes within the range.
        told: the sizes at which either is ahead by the corrected test.
    """

    a: str
    b: str
    outcome: Outcome
    ahead: str | None
    rows: Estimate
    groups: float | None
    share: float | None
    told: list[int] = field(default_factory=list)

    @property
    def words(self) -> str:
        """What is known, in words; "ahead" means better by the corrected test."""
        other = self.b if self.ahead == self.a else self.a
        if self.outcome == "none in the range":
            return f"{self.ahead} is ahead of {other} at every size"
        if self.outcome == "not distinguishable" or self.rows.value is None:
            sizes = " and ".join(f"{size:,}" for size in self.told)
            apart = (
                f"distinguishable on {sizes} rows only" if sizes else "at no size distinguishable"
            )
            return f"{self.a} and {self.b}: {apart}; no crossing can be told"
        ends = [
            "below the range" if self.rows.low is None else f"{self.rows.low:,.0f}",
            "above the range" if self.rows.high is None else f"{self.rows.high:,.0f}",
        ]
        return (
            f"{self.ahead} overtakes {other} at about {self.rows.value:,.0f} rows "
            f"(95 % {ends[0]} to {ends[1]})"
        )


@dataclass(frozen=True, slots=True)
class Curves:
    """All curves of a run, and the crossings of the reference with every other recipe."""

    metric_label: str
    sizes: list[int]
    curves: list[Curve]
    crossovers: list[Crossover]


@functools.lru_cache(maxsize=2)
def curves(run: Run) -> Curves:
    """Every recipe's score at every size; crossings with FIAT, or with what stands for it."""
    found = evidence(run)
    names = list(dict.fromkeys(recipe for recipe, _ in found.lines))
    chosen = reference(found)
    others = [n for n in names if n != chosen and not _is_floor(found, n)]
    return Curves(
        metrics.label_of(run.primary),
        sorted({size for _, size in found.lines if size is not None}),
        [_curve(found, name) for name in names],
        [c for name in others if chosen and (c := crossover(run, chosen, name)) is not None],
    )


def crossover(run: Run, a: str, b: str) -> Crossover | None:
    """Where two recipes' curves cross; None where they share fewer than two sizes."""
    found = evidence(run)
    pairs = [(size, pair) for size, pair in _shared(found, a, b) if found.resampled(pair)]
    if len(pairs) < 2:
        return None
    sizes = [size for size, _ in pairs]
    each = [found.difference(pair) for _, pair in pairs]
    values = np.array([math.nan if d.value is None else d.value for d in each])
    if np.isnan(values).any():
        return Crossover(a, b, "not distinguishable", None, Estimate(None), None, None)
    table = np.stack([_differences(found, pair) for _, pair in pairs], axis=1)
    sign = 1.0 if values[-1] >= 0 else -1.0
    logs = np.log(sizes)
    where = float(overtakes(logs, sign * values[None])[0])
    drawn = overtakes(logs, sign * table[np.isfinite(table).all(axis=1)])
    rows, share = _rows(where, drawn)
    sides = _sides(run, a, b, sizes)
    return Crossover(
        a,
        b,
        _outcome(sides),
        a if values[-1] > 0 else b if values[-1] < 0 else None,
        rows,
        _groups(found, a, sizes, rows.value),
        share,
        [size for size, side in zip(sizes, sides, strict=True) if side],
    )


def overtakes(logs: Sequence[float] | np.ndarray, differences: np.ndarray) -> np.ndarray:
    """Where differences turn positive for the last time and stay so, between sizes on a line.

    Args:
        logs: [sizes], log training rows, rising.
        differences: [any, sizes].

    Returns:
        [any], log rows; -inf where all are positive, inf where the last is not.
    """
    found = np.full(len(differences), -np.inf)
    for left in range(len(logs) - 1):
        before, after = differences[:, left], differences[:, left + 1]
        rises = (before <= 0) & (after > 0)
        step = before[rises] / (before[rises] - after[rises])
        found[rises] = logs[left] + step * (logs[left + 1] - logs[left])
    found[differences[:, -1] <= 0] = np.inf
    return found


def _rows(where: float, drawn: np.ndarray) -> tuple[Estimate, float | None]:
    """The crossing with its interval in rows, and the share of resamples that have one."""
    share = float(np.isfinite(drawn).mean()) if len(drawn) else None
    if not math.isfinite(where):
        return Estimate(None), share
    low, high = np.quantile(drawn, [0.025, 0.975], method="nearest")
    ends = [float(np.exp(end)) if np.isfinite(end) else None for end in (low, high)]
    return Estimate(math.exp(where), *ends), share


def _sides(run: Run, a: str, b: str, sizes: Sequence[int]) -> list[int]:
    """Who is better at each size by the corrected tests: 1 for A, -1 for B, 0 for nobody."""
    usual = family(run)
    tested = usual if usual.reference == a else family(run, a)
    places = {"A better": 1, "B better": -1}
    found = [tested.of(b, size) for size in sizes]
    return [0 if one is None else places.get(one.verdict, 0) for one in found]


def _outcome(sides: Sequence[int]) -> Outcome:
    """What is told from who is ahead at each size: 1, -1, or 0 for nobody."""
    if all(sides) and len(set(sides)) == 1:
        return "none in the range"
    if sides[0] * sides[-1] < 0:
        return "crosses"
    return "not distinguishable"


def _shared(found: Evidence, a: str, b: str) -> Iterator[tuple[int, Pair]]:
    sizes = {size for recipe, size in found.lines if recipe in (a, b) and size is not None}
    for size in sorted(sizes):
        ours = (a, size) if (a, size) in found.lines else (a, None)
        theirs = (b, size) if (b, size) in found.lines else (b, None)
        pair = found.pair(ours, theirs)
        if pair is not None:
            yield size, pair


def _differences(found: Evidence, pair: Pair) -> np.ndarray:
    place = found.resampled(pair)
    assert place is not None
    table, ours, theirs = place
    return table.differences(ours, theirs)


def _groups(found: Evidence, recipe: str, sizes: Sequence[int], rows: float | None) -> float | None:
    """Distinct groups at a number of training rows, between those that are known."""
    known = [(s, g) for s in sizes if (g := _train_groups(found, (recipe, s))) is not None]
    if rows is None or not known:
        return None
    at = np.interp(math.log(rows), np.log([s for s, _ in known]), np.log([g for _, g in known]))
    return float(np.exp(at))


def _train_groups(found: Evidence, key: Key) -> float | None:
    counts = [c.record.train_groups for c in found.lines.get(key, [])]
    known = [count for count in counts if count is not None]
    return sum(known) / len(known) if known else None


def _curve(found: Evidence, recipe: str) -> Curve:
    keys = sorted((key for key in found.lines if key[0] == recipe), key=lambda key: key[1] or 0)
    first = found.lines[keys[0]][0].record
    return Curve(
        recipe,
        first.label,
        first.is_floor,
        [
            Point(key[1], _train_groups(found, key), len(found.lines[key]), found.score(key))
            for key in keys
            if key[1] is not None
        ],
        found.score((recipe, None)) if (recipe, None) in found.lines else None,
    )


def _is_floor(found: Evidence, recipe: str) -> bool:
    return any(c[0].record.is_floor for (name, _), c in found.lines.items() if name == recipe)

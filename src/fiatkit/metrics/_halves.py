"""Scores on two random halves of the groups, so that what is measured twice can be told from luck.

A quantity measured on one half shares no row with what is measured on the other: chance in the
one is no part of the other.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import numpy as np

from fiatkit.metrics._measure import Measure
from fiatkit.metrics._resampling import Groups, groups_of, resampled
from fiatkit.metrics._scores import Seeds, sorted_lists


@dataclass(frozen=True, slots=True, eq=False)
class Halves:
    """Scores by language of several lists of predictions on both halves of many splits.

    Attributes:
        languages: by name.
        first: [draws, splits, lists, languages], on the first halves; NaN where undefined.
        second: the same on the second halves.
    """

    languages: list[str]
    first: np.ndarray
    second: np.ndarray


def halves(
    metric: str,
    lists: Seeds,
    labels: Sequence[str] | None,
    *,
    splits: int,
    resamples: int = 0,
    seed: int = 0,
) -> Halves:
    """Split the groups at random in two, many times, and score each part by language.

    Args:
        metric: a name of the room.
        lists: of predictions for the same rows.
        labels: the task's label set, or None.
        splits: how many, of the rows themselves or of each resample.
        resamples: so many times the groups are drawn with replacement first, for an interval; a
            group drawn twice is two. 0: one draw, the groups themselves.
        seed: of the splits.
    """
    ordered = sorted_lists(lists)
    groups = groups_of(ordered[0])
    measures = [Measure(metric, rows, groups, labels) for rows in ordered]
    rng = np.random.default_rng((seed, 2))
    sides: tuple[list[np.ndarray], list[np.ndarray]] = [], []
    for draw in _draws(groups, resamples, seed):
        half = rng.binomial(draw, 0.5, size=(splits, groups.count)).astype(float)
        for weights, found in zip((half, draw - half), sides, strict=True):
            found.append(np.stack([m.scores(weights)[0] for m in measures], axis=1))
    return Halves(measures[0].languages, np.stack(sides[0]), np.stack(sides[1]))


def _draws(groups: Groups, resamples: int, seed: int) -> Iterator[np.ndarray]:
    if not resamples:
        yield np.ones(groups.count, dtype=int)
    for block in resampled(groups, resamples, seed):
        yield from block.astype(int)

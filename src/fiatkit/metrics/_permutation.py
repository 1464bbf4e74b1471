"""Paired permutation test: whole groups are swapped between two recipes, for any metric.

Under the null hypothesis the two recipes are exchangeable on each group, so that swapping their
answers to a group changes nothing but the sign of what it adds. The test is about these tuned
models: seeds are averaged, and swapped together. What seeds add is in the interval.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from fiatkit.metrics._measure import Measure
from fiatkit.metrics._resampling import Groups, all_swaps, groups_of, swaps
from fiatkit.metrics._scores import Rows, Seeds, paired_seeds, sorted_lists

PERMUTATIONS = 9999
WHOLE_PERMUTATIONS = 1999  # of metrics that need all rows at once
EXACT_GROUPS = 13  # 8,192 ways to swap are all tried


@dataclass(frozen=True, slots=True)
class Permutation:
    """A two-sided p-value. `exact`: all `permutations` ways to swap groups were tried; else
    so many random ones were, and p is (b + 1) / (m + 1)."""

    p: float
    exact: bool
    permutations: int


def permutation_test(
    metric: str,
    a: Seeds | Rows,
    b: Seeds | Rows,
    labels: Sequence[str] | None,
    *,
    averaged: Sequence[str] = (),
    permutations: int | None = None,
    seed: int = 0,
) -> Permutation | None:
    """Test whether two recipes have the same score on the same rows.

    Args:
        metric: a name of the room.
        a: recipe A's rows, or one list of rows a seed.
        b: recipe B's, for the same seeds in the same order, or a single list.
        labels: the task's label set, or None.
        averaged: the languages whose mean is the score.
        permutations: random ones, where groups are too many to try all ways.
        seed: of the random swaps.

    Returns:
        The test, or None where a score is undefined.

    Raises:
        DataError: the lists do not hold the same rows, or cannot be scored or paired.
    """
    first, second = paired_seeds(a, b)
    ordered = sorted_lists([*first, *second])
    groups = groups_of(ordered[0])
    measures = [Measure(metric, rows, groups, labels, averaged) for rows in ordered]
    if any(np.isnan(measure.scores()[1]).any() for measure in measures):
        return None
    added = [each for measure in measures if (each := measure.contributions()) is not None]
    seeds = len(first)
    if len(added) == len(measures):
        difference = np.mean(added[:seeds], axis=0) - np.mean(added[seeds:], axis=0)
        return by_signs([difference], permutations or PERMUTATIONS, seed)[0]
    both = list(zip(ordered[:seeds], ordered[seeds:], strict=True))
    return _whole(metric, both, groups, labels, averaged, permutations or WHOLE_PERMUTATIONS, seed)


def by_signs(
    added: Sequence[np.ndarray], permutations: int = PERMUTATIONS, seed: int = 0
) -> list[Permutation]:
    """Tests of several differences that are sums over the same groups, by the same random swaps.

    To swap a group is to change the sign of what it adds. Groups that add nothing are left aside,
    so that few others are tried in all ways.

    Args:
        added: for each test, what each group adds to the difference [groups].
        permutations: random ones, where groups are too many to try all ways.
        seed: of the random swaps.
    """
    found: dict[int, Permutation] = {}
    many: list[int] = []
    for index, each in enumerate(added):
        moved = each[np.abs(each) > 1e-12]
        if len(moved) <= EXACT_GROUPS:
            sums = moved.sum() - 2 * (all_swaps(len(moved)) @ moved)
            found[index] = Permutation(_share(sums, moved.sum()), True, len(sums))
        else:
            many.append(index)
    if many:
        table = np.stack([added[index] for index in many], axis=1)
        total, beyond = table.sum(axis=0), np.zeros(len(many))
        for swapped in swaps(len(table), permutations, seed):
            sums = total - 2 * (swapped.astype(float) @ table)
            beyond += _as_far(sums, total).sum(axis=0)
        for index, count in zip(many, beyond, strict=True):
            p = float((count + 1) / (permutations + 1))
            found[index] = Permutation(p, False, permutations)
    return [found[index] for index in range(len(added))]


def _whole(
    metric: str,
    pairs: Sequence[tuple[Rows, Rows]],
    groups: Groups,
    labels: Sequence[str] | None,
    averaged: Sequence[str],
    permutations: int,
    seed: int,
) -> Permutation:
    """The test of a metric that needs all rows at once: it is recomputed after each swap.

    The rows of both recipes are one list; a weight of 0 or 1 tells whose answer is taken.
    """
    doubled = Groups(
        2 * groups.count, np.concatenate([groups.of_row, groups.of_row + groups.count]), []
    )
    measures = [Measure(metric, [*a, *b], doubled, labels, averaged) for a, b in pairs]

    def differences(swapped: np.ndarray) -> np.ndarray:
        ours = np.concatenate([~swapped, swapped], axis=1).astype(float)
        each = [m.scores(ours)[1] - m.scores(1 - ours)[1] for m in measures]
        return np.asarray(sum(each))

    observed = float(differences(np.zeros((1, groups.count), dtype=bool))[0])
    if groups.count <= EXACT_GROUPS:
        every = all_swaps(groups.count)
        return Permutation(_share(differences(every), observed), True, len(every))
    blocks = swaps(groups.count, permutations, seed, len(doubled.of_row))
    beyond = sum(float(_as_far(differences(swapped), observed).sum()) for swapped in blocks)
    return Permutation((beyond + 1) / (permutations + 1), False, permutations)


def _share(sums: np.ndarray, observed: float) -> float:
    return float(_as_far(sums, observed).mean())


def _as_far(sums: np.ndarray, observed: float | np.ndarray) -> np.ndarray:
    """Which sums are as far from zero as the one observed; undefined ones are."""
    bound = np.abs(observed) - 1e-9 * np.maximum(1.0, np.abs(observed))
    return np.asarray(~(np.abs(sums) < bound))

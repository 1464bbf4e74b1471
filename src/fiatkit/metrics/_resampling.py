"""Whole groups drawn, or swapped, at random; knows no metric.

For the bootstrap, groups are drawn with replacement. Where no group crosses languages, each
language keeps its number of groups (stratified); else all groups are drawn together, and a
resample may by chance lack a language. For the permutation test, each group is swapped between
two recipes or not.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import numpy as np

from fiatkit.records import ScoredRow

BLOCK = 4_000_000  # weights held at a time, so that memory does not grow with the resamples


@dataclass(frozen=True, slots=True, eq=False)
class Groups:
    """The groups of a list of rows.

    Attributes:
        count: how many there are.
        of_row: [rows], the number of each row's group.
        strata: the groups of each language, or all as one if a group crosses languages.
    """

    count: int
    of_row: np.ndarray
    strata: list[np.ndarray]

    @property
    def freedom(self) -> int:
        """Degrees of freedom: one is lost in each stratum."""
        return self.count - len(self.strata)


def groups_of(rows: Sequence[ScoredRow], *, pooled: bool = False) -> Groups:
    """Number the groups of rows by name, whatever the rows' order; `pooled`: in one stratum."""
    names = sorted({row.example.group for row in rows})
    number = {name: index for index, name in enumerate(names)}
    of_row = np.array([number[row.example.group] for row in rows])
    strata = [np.arange(len(names))] if pooled else _strata(rows, number)
    return Groups(len(names), of_row, strata)


def _strata(rows: Sequence[ScoredRow], number: dict[str, int]) -> list[np.ndarray]:
    languages: dict[str, set[str]] = {}
    for row in rows:
        languages.setdefault(row.example.group, set()).add(row.example.query.language)
    if any(len(found) > 1 for found in languages.values()):
        return [np.arange(len(number))]
    members: dict[str, list[int]] = {}
    for group, found in languages.items():
        members.setdefault(next(iter(found)), []).append(number[group])
    return [np.array(sorted(members[name])) for name in sorted(members)]


def resampled(groups: Groups, resamples: int, seed: int) -> Iterator[np.ndarray]:
    """Yield blocks of weights [some resamples, groups]: how often each group was drawn.

    The draws depend on the groups, the languages and the seed alone, not on the block size or on
    the order of the rows.
    """
    strata = groups.strata
    streams = [np.random.default_rng(s) for s in np.random.SeedSequence(seed).spawn(len(strata))]
    for size in _blocks(resamples, len(groups.of_row)):
        drawn = np.zeros((size, groups.count))
        for members, stream in zip(strata, streams, strict=True):
            share = np.full(len(members), 1 / len(members))
            drawn[:, members] = stream.multinomial(len(members), share, size=size)
        yield drawn


def swaps(groups: int, permutations: int, seed: int, rows: int = 0) -> Iterator[np.ndarray]:
    """Yield blocks [some permutations, groups] of whether a group is swapped, at random.

    `rows`, where it is more than the groups, bounds the blocks by it.
    """
    rng = np.random.default_rng(seed)
    for size in _blocks(permutations, max(groups, rows)):
        drawn = rng.integers(256, size=(size, -(-groups // 8)), dtype=np.uint8)
        yield np.unpackbits(drawn, axis=1, count=groups).astype(bool)


def all_swaps(groups: int) -> np.ndarray:
    """Every way to swap groups or not [2 ** groups, groups]; the first swaps none."""
    return np.asarray((np.arange(2**groups)[:, None] >> np.arange(groups)) % 2 == 1)


def _blocks(total: int, width: int) -> Iterator[int]:
    step = max(1, BLOCK // max(width, 1))
    for start in range(0, total, step):
        yield min(step, total - start)

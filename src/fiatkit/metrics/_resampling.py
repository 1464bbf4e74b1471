"""Bootstrap resamples of whole groups, as weights of rows; knows no metric.

Groups are drawn with replacement. Where no group crosses languages, each language keeps its
number of groups (stratified); else all groups are drawn together, and a resample may by chance
lack a language.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence

import numpy as np

from fiatkit.records import ScoredRow

LEVEL = 0.95
BLOCK = 4_000_000  # weights held at a time, so that memory does not grow with the resamples


def group_count(rows: Sequence[ScoredRow]) -> int:
    """How many distinct groups the rows form."""
    return len({row.example.group for row in rows})


def resampled(rows: Sequence[ScoredRow], resamples: int, seed: int) -> Iterator[np.ndarray]:
    """Yield blocks of weights [some resamples, n]: how often each row counts in each resample.

    The draws depend on the groups, the languages and the seed alone, not on the block size or on
    the order of the rows.
    """
    names = sorted({row.example.group for row in rows})
    number = {name: index for index, name in enumerate(names)}
    of_row = np.array([number[row.example.group] for row in rows])
    strata = _strata(rows, number)
    streams = [np.random.default_rng(s) for s in np.random.SeedSequence(seed).spawn(len(strata))]
    step = max(1, BLOCK // max(len(rows), 1))
    for start in range(0, resamples, step):
        size = min(step, resamples - start)
        drawn = np.zeros((size, len(names)))
        for members, stream in zip(strata, streams, strict=True):
            share = np.full(len(members), 1 / len(members))
            drawn[:, members] = stream.multinomial(len(members), share, size=size)
        yield drawn[:, of_row]


def _strata(rows: Sequence[ScoredRow], number: dict[str, int]) -> list[np.ndarray]:
    """The groups of each language, or all groups as one stratum if a group crosses languages."""
    languages: dict[str, set[str]] = {}
    for row in rows:
        languages.setdefault(row.example.group, set()).add(row.example.query.language)
    if any(len(found) > 1 for found in languages.values()):
        return [np.arange(len(number))]
    members: dict[str, list[int]] = {}
    for group, found in languages.items():
        members.setdefault(next(iter(found)), []).append(number[group])
    return [np.array(sorted(members[name])) for name in sorted(members)]


def interval(spread: np.ndarray) -> tuple[float | None, float | None]:
    """Percentile interval of resampled scores.

    Resamples in which the score is undefined are left out; where these are the half or more,
    there is no interval.
    """
    known = spread[np.isfinite(spread)]
    if len(known) <= len(spread) / 2:
        return None, None
    low, high = np.quantile(known, [(1 - LEVEL) / 2, (1 + LEVEL) / 2])
    return float(low), float(high)

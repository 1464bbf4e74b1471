"""The comparisons that a report shows, as one family: each recipe against one of them.

Paired on the same test rows and seeds, by whole groups; p-values by permutation, corrected for
their number. docs/statistics.md says what each number means.
"""

from __future__ import annotations

import functools
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Literal

from fiatkit import metrics
from fiatkit.metrics import Estimate, McNemar, Permutation
from fiatkit.report.evidence import Evidence, Key, Pair, evidence, name_of, reference
from fiatkit.report.run import Run
from fiatkit.report.summary import summarise

LEVEL = 0.05
Verdict = Literal["A better", "B better", "not distinguishable", "undefined"]


@dataclass(frozen=True, slots=True)
class Comparison:
    """Recipe A (the reference) against recipe B on the same test rows.

    Attributes:
        a: A's name, `a_size` its training rows (None: it is not tuned).
        b: B's name, `b_size` its training rows.
        seeds: how many seeds are compared, the same on both sides.
        difference: A's score less B's, with a 95 % interval over groups and seeds.
        test: the paired permutation test over groups; None where a score is undefined.
        p_holm: its p-value, corrected for the number of comparisons of the family.
        mcnemar: McNemar's exact test; its `reason` says why where there is none.
        tellable: the smallest true difference that these test rows and seeds find in 8 of 10
            such comparisons, corrected for the whole family (Bonferroni, the most that Holm asks);
            None where nothing can be told, as where it would be more than 100 points, or where
            fewer than 5 groups differ.
        verdict: who is better. Only where `p_holm` is at most 0.05 and the interval excludes
            zero is one of them.
    """

    a: str
    a_size: int | None
    b: str
    b_size: int | None
    seeds: int
    difference: Estimate
    test: Permutation | None
    p_holm: float | None
    mcnemar: McNemar
    tellable: float | None
    verdict: Verdict

    @property
    def names(self) -> tuple[str, str]:
        """Both with their training rows, in words."""
        return name_of((self.a, self.a_size)), name_of((self.b, self.b_size))

    @property
    def size(self) -> int | None:
        """The training rows of the one that is tuned, or of both."""
        return self.b_size if self.a_size is None else self.a_size

    @property
    def distinguishable(self) -> bool:
        """Whether one of the two is better: by p, corrected, and by the interval."""
        return self.verdict in ("A better", "B better")

    @property
    def finding(self) -> str:
        """The verdict in a few words, for a cell of a table."""
        better = {"A better": self.a, "B better": self.b}.get(self.verdict)
        return f"{better} is better" if better else self.verdict

    @property
    def words(self) -> str:
        """The verdict in words."""
        ours, theirs = self.names
        if self.verdict == "A better":
            return f"{ours} is better than {theirs}"
        if self.verdict == "B better":
            return f"{theirs} is better than {ours}"
        return f"{ours} and {theirs}: {self.verdict}"


@dataclass(frozen=True, slots=True)
class Family:
    """All comparisons with the reference; `rows` and `groups` of the test set they were made on.

    `least_p` is the smallest corrected p-value that the first of so many comparisons on so many
    groups can have; where it is more than 0.05 nothing can be told, whatever the scores.
    `leading` is the best recipe against the next where the reference is neither: chosen by their
    scores, and so corrected for all `pairs` of recipes at the largest size.
    """

    reference: str | None
    metric: str
    metric_label: str
    level: float
    rows: int
    groups: int
    least_p: float | None
    comparisons: list[Comparison]
    leading: Comparison | None = None
    pairs: int = 0

    def of(self, recipe: str, size: int | None = None) -> Comparison | None:
        """The comparison with a recipe at a size; default: at the largest."""
        found = [c for c in self.comparisons if c.b == recipe and size in (None, c.size)]
        return max(found, key=lambda c: c.size or 0, default=None)


@functools.lru_cache(maxsize=2)
def leading(run: Run) -> tuple[Comparison | None, int]:
    """The best recipe against the next, where neither is what the family compares with, and the
    number of pairs of recipes at that size.

    The two are chosen by their scores: p is corrected for all pairs among which they are
    (Bonferroni).
    """
    summary, found = summarise(run), evidence(run)
    lead, usual = summary.lead, reference(found)
    if lead is None or lead.next is None or usual in (lead.best.recipe, lead.next.recipe):
        return None, 0
    a, b = ((line.recipe, line.size) for line in (lead.best, lead.next))
    pair = found.pair(a, b)
    if pair is None or found.resampled(pair) is None:
        return None, 0
    scored = sum(line.score is not None for line in summary.largest)
    pairs = scored * (scored - 1) // 2
    (test,) = _tests(found, [pair])
    p = None if test is None else min(1.0, pairs * test.p)
    return _comparison(found, a, b, pair, test, p, _tellable(found, pair, pairs)), pairs


@functools.lru_cache(maxsize=4)
def family(run: Run, against: str | None = None) -> Family:
    """Compare every recipe with FIAT (or `against`) at the same size; floors are left out."""
    found = evidence(run)
    chosen = against or reference(found)
    pairs = list(_pairs(found, chosen)) if chosen else []
    sound = [p for p in pairs if found.resampled(p[2]) is not None]
    tests = _tests(found, [pair for _, _, pair in sound])
    adjusted = metrics.holm([test.p if test else None for test in tests])
    groups = len({row.group for row in run.rows})
    least = _least_p(len(sound), groups) if sound else None
    lead, among = leading(run) if against is None else (None, 0)
    return Family(
        reference=chosen,
        metric=run.primary,
        metric_label=metrics.label_of(run.primary),
        level=LEVEL,
        rows=len(run.rows),
        groups=groups,
        least_p=least,
        comparisons=[
            _comparison(found, a, b, pair, test, p, _tellable(found, pair, len(sound)))
            for (a, b, pair), test, p in zip(sound, tests, adjusted, strict=True)
        ],
        leading=lead,
        pairs=among,
    )


def _least_p(comparisons: int, groups: int) -> float:
    """The smallest p, corrected, that so many groups allow."""
    return min(1.0, comparisons * max(2.0 ** (1 - groups), 1e-4))


def _tellable(found: Evidence, pair: Pair, comparisons: int) -> float | None:
    groups = len({row.group for row in found.run.rows})
    hopeless = _least_p(comparisons, groups) > LEVEL
    return None if hopeless else found.tellable(pair, comparisons)


def _tests(found: Evidence, pairs: Sequence[Pair]) -> list[Permutation | None]:
    """The permutation test of each pair: together from what each group adds, where that is known,
    else one by one."""
    added = [found.added(pair) for pair in pairs]
    known = iter(metrics.by_signs([each for each in added if each is not None]))
    return [
        next(known) if each is not None else _test(found, pair)
        for each, pair in zip(added, pairs, strict=True)
    ]


def _test(found: Evidence, pair: Pair) -> Permutation | None:
    run = found.run
    ours, theirs = found.rows(pair.a), found.rows(pair.b)
    return metrics.permutation_test(
        run.primary, ours, theirs, run.labels, averaged=run.info.task.averaged
    )


def _pairs(found: Evidence, chosen: str) -> Iterator[tuple[Key, Key, Pair]]:
    """The reference at each of its sizes beside every other recipe at that size, or at its only
    one; largest size first."""
    keys = sorted(found.lines, key=lambda key: -(key[1] or 0))
    for ours in (key for key in keys if key[0] == chosen):
        for theirs in found.lines:
            recipe, size = theirs
            if recipe == chosen or found.lines[theirs][0].record.is_floor:
                continue
            if size not in (None, ours[1]) and ours[1] is not None:
                continue
            pair = found.pair(ours, theirs)
            if pair is not None:
                yield ours, theirs, pair


def _comparison(
    found: Evidence,
    a: Key,
    b: Key,
    pair: Pair,
    test: Permutation | None,
    p: float | None,
    tellable: float | None,
) -> Comparison:
    difference = found.difference(pair)
    return Comparison(
        a=a[0],
        a_size=a[1],
        b=b[0],
        b_size=b[1],
        seeds=max(len(pair.a), len(pair.b)),
        difference=difference,
        test=test,
        p_holm=p,
        mcnemar=metrics.mcnemar(found.run.primary, found.rows(pair.a), found.rows(pair.b)),
        tellable=tellable,
        verdict=_verdict(difference, p),
    )


def _verdict(difference: Estimate, p: float | None) -> Verdict:
    if difference.value is None or p is None:
        return "undefined"
    if p > LEVEL or not difference.excludes_zero:
        return "not distinguishable"
    return "A better" if difference.value > 0 else "B better"

"""The rationales examined: how often the large model is right, what recipes that read it make of
that, how often they overrule it and are right to, and whether length tells anything."""

from __future__ import annotations

import functools
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from fiatkit import metrics
from fiatkit.metrics import Estimate
from fiatkit.report.evidence import Evidence, evidence
from fiatkit.report.readings import RIGHT, large_values, values_of
from fiatkit.report.run import CellResult, Run

SHOWN = ("fiat", "instruct")
READS = "fiat"
PARTS = 4


@dataclass(frozen=True, slots=True)
class Part:
    """Test rows whose rationale names the right answer, a partly right one, a wrong one, or none:
    their share, and each recipe's score on them (all languages together)."""

    name: str
    rows: int
    groups: int
    share: Estimate
    scores: dict[str, Estimate]


@dataclass(frozen=True, slots=True)
class Overruling:
    """How often a recipe answers otherwise than the rationale it read, and who is right then.

    Attributes:
        answers: pairs of two readable answers, over all seeds.
        overruled: the share of these in which the recipe's answer is another.
        right: of the overruled, the share in which the recipe is right.
        wrong: of the overruled, the share in which the large model was.
    """

    recipe: str
    answers: int
    overruled: Estimate
    right: Estimate
    wrong: Estimate


@dataclass(frozen=True, slots=True)
class LengthPart:
    """Rationales of a quarter of the lengths: how often the large model is right, and the reading
    recipe."""

    shortest: int
    longest: int
    rows: int
    large_right: Estimate
    recipe_right: Estimate


@dataclass(frozen=True, slots=True)
class Rationales:
    """What the test rows' rationales were worth.

    Attributes:
        rows: rows that have one.
        failed: of these, those that failed.
        unread: rationales that are whole, but name no answer that can be read.
        words: mean words of one; `tokens` mean tokens, where they are known.
        large_right: how often the large model's answer is right.
        parts: scores where it is and is not.
        overruling: of the recipe that reads rationales; None where it was not run.
        unit: what `lengths` counts, words or tokens.
        lengths: right answers by length of the rationale.
    """

    rows: int
    failed: int
    unread: int
    words: float
    tokens: float | None
    large_right: Estimate
    recipes: list[str]
    parts: list[Part]
    overruling: Overruling | None
    unit: str
    lengths: list[LengthPart]


@functools.lru_cache(maxsize=2)
def rationales(run: Run) -> Rationales | None:
    """Look at the rationales of a run; None if no recipe needed any."""
    known = {row.id: row.rationale for row in run.rows if row.rationale is not None}
    if not known:
        return None
    found = evidence(run)
    large = large_values(run)
    answered = {i for i, rationale in known.items() if rationale.answer is not None}
    group = {row.id: row.group for row in run.rows}
    ids = list(known)
    cells = {recipe: _largest(found, recipe) for recipe in SHOWN}
    cells = {recipe: some for recipe, some in cells.items() if some}
    counts = [known[i].tokens for i in ids]
    tokens = [count for count in counts if count is not None]
    return Rationales(
        rows=len(known),
        failed=sum(r.status != "ok" for r in known.values()),
        unread=sum(r.status == "ok" and r.answer is None for r in known.values()),
        words=sum(len(r.text.split()) for r in known.values()) / len(known),
        tokens=sum(tokens) / len(tokens) if len(tokens) == len(ids) else None,
        large_right=_share([large[i] >= RIGHT for i in ids], [group[i] for i in ids]),
        recipes=list(cells),
        parts=[
            _part(run, name, chosen, ids, group, cells)
            for name, chosen in _sets(large, answered).items()
            if chosen
        ],
        overruling=_overruling(run, cells[READS], large, group) if READS in cells else None,
        unit="tokens" if len(tokens) == len(ids) else "words",
        lengths=_lengths(run, cells.get(READS, []), large, group),
    )


def _largest(found: Evidence, recipe: str) -> list[CellResult]:
    """A recipe's cells at its largest size, by seed; none where one cannot be scored."""
    keys = [key for key in found.lines if key[0] == recipe]
    cells = found.lines[max(keys, key=lambda key: key[1] or 0)] if keys else []
    return [] if any(cell.name in found.problems for cell in cells) else cells


def _sets(large: dict[str, float], answered: set[str]) -> dict[str, set[str]]:
    return {
        "the right answer": {i for i, value in large.items() if value >= RIGHT},
        "a partly right answer": {i for i, value in large.items() if 0 < value < RIGHT},
        "a wrong answer": {i for i, value in large.items() if value <= 0 and i in answered},
        "no answer that can be read": set(large) - answered,
    }


def _part(
    run: Run,
    name: str,
    chosen: set[str],
    ids: Sequence[str],
    group: dict[str, str],
    cells: dict[str, list[CellResult]],
) -> Part:
    scores = {}
    for recipe, some in cells.items():
        lists = [[row for row in run.scored(cell) if row.example.id in chosen] for cell in some]
        table = metrics.resample(run.primary, lists, run.labels, pooled=True)
        scores[recipe] = table.score(range(len(lists)))
    return Part(
        name,
        len(chosen),
        len({group[i] for i in chosen}),
        _share([i in chosen for i in ids], [group[i] for i in ids]),
        scores,
    )


def _share(hits: Sequence[bool], groups: Sequence[str]) -> Estimate:
    return metrics.ratio([float(hit) for hit in hits], [1.0] * len(hits), groups)


def _overruling(
    run: Run, cells: Sequence[CellResult], large: dict[str, float], group: dict[str, str]
) -> Overruling:
    said = {row.id: row.rationale.answer for row in run.rows if row.rationale}
    both, others, right, wrong, groups = [], [], [], [], []
    for cell in cells:
        values = dict(zip((row.id for row in run.rows), values_of(run, cell), strict=True))
        for i, answer in said.items():
            given = cell.predictions[i]
            readable = answer is not None and given.status == "ok" and given.answer is not None
            other = readable and given.answer != answer
            both.append(float(readable))
            others.append(float(other))
            right.append(float(other and values[i] >= RIGHT))
            wrong.append(float(other and large[i] >= RIGHT))
            groups.append(group[i])
    return Overruling(
        cells[0].recipe,
        int(sum(both)),
        metrics.ratio(others, both, groups),
        metrics.ratio(right, others, groups),
        metrics.ratio(wrong, others, groups),
    )


def _lengths(
    run: Run, cells: Sequence[CellResult], large: dict[str, float], group: dict[str, str]
) -> list[LengthPart]:
    """Quarters by length; fewer where many rationales are of one length."""
    known = [(row.id, row.rationale) for row in run.rows if row.rationale is not None]
    counted = all(rationale.tokens is not None for _, rationale in known)
    lengths = np.array([r.tokens if counted else len(r.text.split()) for _, r in known])
    cuts = np.unique(np.quantile(lengths, np.arange(1, PARTS) / PARTS, method="nearest"))
    place = np.searchsorted(cuts, lengths, side="left")
    right = _right(run, cells)
    found = []
    for number in np.unique(place):
        ids = [known[index][0] for index in np.flatnonzero(place == number)]
        groups = [group[i] for i in ids]
        found.append(
            LengthPart(
                int(lengths[place == number].min()),
                int(lengths[place == number].max()),
                len(ids),
                _share([large[i] >= RIGHT for i in ids], groups),
                metrics.ratio([right[i] for i in ids], [1.0] * len(ids), groups)
                if cells
                else Estimate(None),
            )
        )
    return found


def _right(run: Run, cells: Sequence[CellResult]) -> dict[str, float]:
    """The share of seeds that have each row right."""
    found = dict.fromkeys((row.id for row in run.rows), 0.0)
    for cell in cells:
        for row, value in zip(run.rows, values_of(run, cell), strict=True):
            found[row.id] += (value >= RIGHT) / len(cells)
    return found

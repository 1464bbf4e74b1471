"""From cells to lines: one a recipe and size, with interval, paired differences and price."""

from __future__ import annotations

import functools
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from fiatkit import metrics
from fiatkit.metrics import Difference
from fiatkit.report.evidence import UNKNOWN, evidence
from fiatkit.report.run import CellResult, Run

RIVALS = ("instruct", "icl", "icl_constrained")
Cells = Mapping[tuple[str, int | None], Sequence[CellResult]]


@dataclass(frozen=True, slots=True)
class Line:
    """One recipe at one size: means over its seeds; `failed` and `fallbacks`, the answers given
    without a rationale, sum over them.

    Calls, tokens and seconds are those of one seed, as if nothing had come from the store; they
    are None for an outside system, whose cost nobody knows.
    `train_groups` is the mean over the seeds, rounded.
    `constant` holds, for each seed at which every row got the same answer, this answer.
    """

    recipe: str
    label: str
    is_floor: bool
    size: int | None
    train_groups: int | None
    seeds: int
    score: float | None
    low: float | None
    high: float | None
    others: dict[str, float | None]
    languages: dict[str, float | None]
    differences: dict[str, Difference | None]
    calls: int | None
    prompt_tokens: int | None
    completion_tokens: int | None
    seconds: float | None
    failed: dict[str, int]
    constant: tuple[str, ...] = ()
    fallbacks: int = 0
    is_outside: bool = False

    @property
    def name(self) -> str:
        """The recipe and its training rows."""
        return self.recipe if self.size is None else f"{self.recipe} on {self.size} rows"


@dataclass(frozen=True, slots=True)
class Lead:
    """The best recipe at the largest size, the next one, and their paired difference."""

    best: Line
    next: Line | None
    difference: Difference | None


@dataclass(frozen=True, slots=True)
class Summary:
    """All lines of a run, floors first, and what its metric is called.

    `not_run` says of recipes that were asked for why they have no line. `finished` and `planned`
    count the run's own cells, without those of outside systems.
    """

    title: str
    metric: str
    metric_label: str
    metric_detail: dict[str, Any]
    other_labels: dict[str, str]
    test_rows: int
    test_groups: int
    languages: list[str]
    lines: list[Line]
    lead: Lead | None
    rivals: list[str]
    finished: int
    planned: int
    not_run: dict[str, str]

    @property
    def largest(self) -> list[Line]:
        """The recipes' lines at the largest size, and those that are not tuned."""
        recipes = [line for line in self.lines if not line.is_floor]
        size = max((line.size for line in recipes if line.size is not None), default=None)
        return [line for line in recipes if line.size in (None, size)]


@functools.lru_cache(maxsize=2)
def summarise(run: Run) -> Summary:
    """Compute every line; the same run is summarised once.

    Differences are paired on the same test rows, clustered by group.
    """
    found: dict[tuple[str, int | None], list[CellResult]] = {}
    for cell in run.cells:
        found.setdefault((cell.recipe, cell.record.size), []).append(cell)
    for cells in found.values():
        cells.sort(key=lambda cell: cell.record.seed or 0)
    lines = [_line(run, cells, found) for cells in found.values()]
    lines.sort(key=lambda line: (not line.is_floor, line.size or 0))
    details = [c.record.scores[run.primary].detail for c in run.cells if _has(c, run.primary)]
    summary = Summary(
        title=run.info.title,
        metric=run.primary,
        metric_label=metrics.label_of(run.primary),
        metric_detail=dict(details[0]) if details else {},
        other_labels={m: metrics.label_of(m) for m in run.info.task.metrics if m != run.primary},
        test_rows=len(run.rows),
        test_groups=len({row.group for row in run.rows}),
        languages=sorted({row.language for row in run.rows if row.language}),
        lines=lines,
        lead=None,
        rivals=[name for name in RIVALS if any(line.recipe == name for line in lines)],
        finished=sum(not cell.record.is_outside for cell in run.cells),
        planned=run.planned,
        not_run={one.recipe: one.reason for one in run.info.not_run},
    )
    lead = _lead(run, summary.largest, found)
    return Summary(**{name: getattr(summary, name) for name in Summary.__slots__} | {"lead": lead})


def _has(cell: CellResult, metric: str) -> bool:
    return metric in cell.record.scores


def _lead(run: Run, lines: Sequence[Line], everything: Cells) -> Lead | None:
    ranked = sorted(
        (line for line in lines if line.score is not None), key=lambda line: -(line.score or 0.0)
    )
    if not ranked:
        return None
    best = ranked[0]
    if len(ranked) == 1:
        return Lead(best, None, None)
    second = ranked[1]
    ours = everything[best.recipe, best.size]
    theirs = everything[second.recipe, second.size]
    return Lead(best, second, _difference(run, ours, theirs))


def _line(run: Run, cells: Sequence[CellResult], everything: Cells) -> Line:
    records = [cell.record for cell in cells]
    first = records[0]
    scores = [record.scores[run.primary] for record in records if run.primary in record.scores]
    whole = len(scores) == len(cells)
    failed: Counter[str] = Counter()
    for record in records:
        failed.update({status: n for status, n in record.counts.items() if status != "ok"})
    score = _mean([s.value for s in scores]) if whole else None
    own = evidence(run).score(_key(cells)) if score is not None else UNKNOWN
    names = scores[0].languages if whole else {}
    return Line(
        recipe=first.recipe,
        label=first.label,
        is_floor=first.is_floor,
        size=first.size,
        train_groups=_total([r.train_groups for r in records]),
        seeds=len(cells),
        score=score,
        low=own.low,
        high=own.high,
        others={
            name: _mean([r.scores[name].value if name in r.scores else None for r in records])
            for name in run.info.task.metrics
            if name != run.primary
        },
        languages={name: _mean([s.languages.get(name) for s in scores]) for name in names},
        differences={
            rival: _difference(run, cells, _rival(rival, cells[0], everything)) for rival in RIVALS
        },
        calls=None if first.is_outside else _total([r.usage.calls for r in records]),
        prompt_tokens=_total([r.usage.prompt_tokens for r in records]),
        completion_tokens=_total([r.usage.completion_tokens for r in records]),
        seconds=None
        if first.is_outside
        else sum(sum(r.seconds.values()) for r in records) / len(records),
        failed=dict(failed),
        constant=tuple(answer for cell in cells if (answer := _only_answer(run, cell)) is not None),
        fallbacks=sum(
            cell.predictions[row.id].fallback != "" for cell in cells for row in run.rows
        ),
        is_outside=first.is_outside,
    )


def _only_answer(run: Run, cell: CellResult) -> str | None:
    """The answer of all rows that got one, though not all of them have one target."""
    answers = {p.answer for p in cell.predictions.values() if p.answer is not None}
    targets = {row.target for row in run.rows}
    return answers.pop() if len(answers) == 1 and len(targets) > 1 else None


def _rival(name: str, cell: CellResult, everything: Cells) -> Sequence[CellResult]:
    """The cells to compare with: of the same size, or of the rival's only one."""
    record = cell.record
    if record.is_floor or record.recipe == name:
        return []
    if record.recipe.startswith("icl") and name.startswith("icl"):
        return []
    of_rival = {size: cells for (recipe, size), cells in everything.items() if recipe == name}
    if record.size in of_rival:
        return of_rival[record.size]
    if record.size is None and len(of_rival) == 1:
        return next(iter(of_rival.values()))
    return of_rival.get(None, [])


def _difference(
    run: Run, cells: Sequence[CellResult], rivals: Sequence[CellResult]
) -> Difference | None:
    if not rivals:
        return None
    found = evidence(run)
    pair = found.pair(_key(cells), _key(rivals))
    told = UNKNOWN if pair is None else found.difference(pair)
    if told.value is None or told.low is None or told.high is None:
        return None
    groups = len({row.group for row in run.rows})
    return Difference(told.value, told.low, told.high, len(run.rows), groups)


def _key(cells: Sequence[CellResult]) -> tuple[str, int | None]:
    return cells[0].recipe, cells[0].record.size


def _mean(values: Sequence[float | None]) -> float | None:
    known = [value for value in values if value is not None]
    return sum(known) / len(known) if values and len(known) == len(values) else None


def _total(counts: Sequence[int | None]) -> int | None:
    known = [count for count in counts if count is not None]
    return round(sum(known) / len(known)) if known and len(known) == len(counts) else None

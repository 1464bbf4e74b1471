"""From cells to lines: one a recipe and size, with interval, paired differences and price."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from fiatkit import metrics
from fiatkit.metrics import Difference
from fiatkit.report.run import CellResult, Run

RIVALS = ("instruct", "icl")


@dataclass(frozen=True, slots=True)
class Line:
    """One recipe at one size, over its seeds."""

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
    calls: int
    prompt_tokens: int | None
    completion_tokens: int | None
    seconds: float
    failed: dict[str, int]


@dataclass(frozen=True, slots=True)
class Summary:
    """All lines of a run, floors first, and what its metric is called."""

    title: str
    metric: str
    metric_label: str
    other_labels: dict[str, str]
    test_rows: int
    test_groups: int
    languages: list[str]
    lines: list[Line]
    finished: int
    planned: int


def summarise(run: Run) -> Summary:
    """Compute every line. Differences are paired on the same test rows, clustered by group."""
    found: dict[tuple[str, int | None], list[CellResult]] = {}
    for cell in run.cells:
        found.setdefault((cell.recipe, cell.size), []).append(cell)
    lines = [_line(run, cells, found) for cells in found.values()]
    lines.sort(key=lambda line: (not line.is_floor, line.size or 0))
    return Summary(
        run.info["title"],
        run.primary,
        metrics.label_of(run.primary),
        {name: metrics.label_of(name) for name in run.metrics if name != run.primary},
        len(run.rows),
        len({row["group"] for row in run.rows}),
        sorted({row["language"] for row in run.rows if row["language"]}),
        lines,
        len(run.cells),
        run.planned,
    )


def _line(
    run: Run,
    cells: Sequence[CellResult],
    everything: dict[tuple[str, int | None], list[CellResult]],
) -> Line:
    first = cells[0]
    scores = [cell.scores[run.primary] for cell in cells]
    usage = [cell.record["usage"] for cell in cells]
    failed: dict[str, int] = {}
    for cell in cells:
        for status, count in cell.record["counts"].items():
            if status != "ok":
                failed[status] = failed.get(status, 0) + count
    score = _mean([s.value for s in scores])
    low, high = _interval(run, cells, score)
    return Line(
        recipe=first.recipe,
        label=first.label,
        is_floor=first.is_floor,
        size=first.size,
        train_groups=first.record.get("train_groups"),
        seeds=len(cells),
        score=score,
        low=low,
        high=high,
        others={
            name: _mean([cell.scores[name].value for cell in cells])
            for name in run.metrics
            if name != run.primary
        },
        languages={
            name: _mean([score.languages.get(name) for score in scores])
            for name in scores[0].languages
        },
        differences={
            rival: _difference(run, cells, _rival(rival, first, everything)) for rival in RIVALS
        },
        calls=round(sum(u["calls"] for u in usage) / len(cells)),
        prompt_tokens=_total(usage, "prompt_tokens"),
        completion_tokens=_total(usage, "completion_tokens"),
        seconds=sum(sum(c.record["seconds"].values()) for c in cells) / len(cells),
        failed=failed,
    )


def _interval(
    run: Run, cells: Sequence[CellResult], score: float | None
) -> tuple[float | None, float | None]:
    """One seed: the cell's own interval. Several: groups and seeds resampled together."""
    own = cells[0].scores[run.primary]
    if len(cells) == 1 or score is None:
        return own.low, own.high
    return metrics.spread(run.primary, [run.scored(cell) for cell in cells], run.labels)


def _rival(
    name: str,
    first: CellResult,
    everything: dict[tuple[str, int | None], list[CellResult]],
) -> list[CellResult]:
    """The cells to compare with: the same size, or the untuned recipe's only ones."""
    if first.is_floor or first.recipe == name:
        return []
    if first.recipe == "icl_constrained" and name == "icl":
        return []
    return everything.get((name, first.size)) or everything.get((name, None)) or []


def _difference(
    run: Run, cells: Sequence[CellResult], rivals: Sequence[CellResult]
) -> Difference | None:
    if not rivals:
        return None
    ours = [run.scored(cell) for cell in cells]
    theirs = [run.scored(cell) for cell in rivals]
    return metrics.difference(run.primary, ours, theirs, run.labels)


def _mean(values: Sequence[float | None]) -> float | None:
    known = [value for value in values if value is not None]
    return sum(known) / len(known) if values and len(known) == len(values) else None


def _total(usage: Sequence[dict[str, int | None]], key: str) -> int | None:
    known = [u[key] for u in usage]
    numbers = [value for value in known if value is not None]
    return round(sum(numbers) / len(numbers)) if len(numbers) == len(known) else None

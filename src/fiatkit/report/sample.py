"""A stated sample of the test rows, each with the marks by which a reader can look for it."""

from __future__ import annotations

import random
from collections.abc import Sequence
from dataclasses import dataclass, field

import numpy as np

from fiatkit.report.readings import RIGHT, large_values, values_of
from fiatkit.report.run import CellResult, Run, TestRow

SHOWN = 200
LEAST = 8
SEED = 0
WRONG, PARTLY, FULLY, FAILED = 0, 1, 2, 3
WORDS = ("wrong", "partly right", "right", "failed")
LETTERS = ("w", "p", "r", "wf")  # a failed row counts as wrong
LARGE = "L"


@dataclass(frozen=True, slots=True)
class Choice:
    """One entry of a filter: what it is called, the marks that a row needs, how many rows have
    them among all test rows."""

    name: str
    needs: str
    total: int


@dataclass(frozen=True, slots=True)
class Answer:
    """One answer to a row, and every recipe that gave it; `wrote` is the text of a failed one."""

    text: str
    mark: int
    value: float
    wrote: str
    recipes: list[str]


@dataclass(frozen=True, slots=True)
class Shown:
    """One test row to read, its answers with the right ones first, and its marks."""

    row: TestRow
    large: int | None
    answers: list[Answer]
    marks: str


@dataclass(frozen=True, slots=True)
class Sample:
    """Rows to read out of `total`, and the filters over them."""

    rows: list[Shown]
    total: int
    seed: int = SEED
    least: int = LEAST
    kinds: list[Choice] = field(default_factory=list)
    recipes: list[tuple[str, list[Choice]]] = field(default_factory=list)
    languages: list[Choice] = field(default_factory=list)
    statuses: list[Choice] = field(default_factory=list)


def last_cells(run: Run) -> list[CellResult]:
    """One cell a recipe: the largest size, the first seed; floors left out."""
    found: dict[str, CellResult] = {}
    for cell in run.cells:
        before = found.get(cell.recipe)
        if not cell.record.is_floor and (before is None or _order(cell) > _order(before)):
            found[cell.recipe] = cell
    return list(found.values())


def _order(cell: CellResult) -> tuple[int, int]:
    return cell.record.size or 0, -(cell.record.seed or 0)


def draw_rows(run: Run, shown: int = SHOWN) -> Sample:
    """At least `LEAST` rows of each kind, the others at random; the same run gives the same rows.

    Marks are kept as a byte for each row and recipe, so that a million rows are no burden.
    """
    cells = last_cells(run)
    values = {cell.recipe: values_of(run, cell) for cell in cells}
    marks = {cell.recipe: _marks(run, cell, values[cell.recipe]) for cell in cells}
    large = _large_marks(run)
    kinds = _kinds(marks, large)
    chosen = _chosen([mask for _, _, mask in kinds], len(run.rows), shown)
    statuses = _statuses(run, cells)
    codes = {row_language: f"l{i}" for i, row_language in enumerate(_languages(run))}
    told = {status: f"s{i}" for i, status in enumerate(statuses)}
    rows = []
    for index in chosen:
        row = run.rows[index]
        words = [
            *(w for i, c in enumerate(cells) for w in _words(str(i), marks[c.recipe][index])),
            *(_words(LARGE, large[index]) if large is not None else []),
            *([codes[row.language]] if row.language in codes else []),
            *(told[status] for status in _of_row(row, cells) if status in told),
        ]
        answers = _answers(row, cells, {name: v[index] for name, v in values.items()})
        mark = None if large is None or row.rationale is None else int(large[index])
        rows.append(Shown(row, mark, answers, " ".join(words)))
    return Sample(
        rows,
        len(run.rows),
        kinds=[Choice(name, needs, int(mask.sum())) for name, needs, mask in kinds],
        recipes=[
            (cell.recipe, _choices(cell.recipe, str(i), marks[cell.recipe]))
            for i, cell in enumerate(cells)
        ],
        languages=[Choice(name, codes[name], n) for name, n in _languages(run).items()],
        statuses=[Choice(name, told[name], n) for name, n in statuses.items()],
    )


def _mark(value: float) -> int:
    return FULLY if value >= RIGHT else PARTLY if value > 0 else WRONG


def _words(place: str, mark: int) -> list[str]:
    return [place + letter for letter in LETTERS[mark]]


def _marks(run: Run, cell: CellResult, values: Sequence[float]) -> np.ndarray:
    return np.fromiter(
        (
            _mark(value) if cell.predictions[row.id].status == "ok" else FAILED
            for row, value in zip(run.rows, values, strict=True)
        ),
        np.int8,
        len(run.rows),
    )


def _large_marks(run: Run) -> np.ndarray | None:
    """Whether each rationale names the right answer; None if no recipe needed rationales."""
    values = large_values(run)
    if not values:
        return None
    marks = (
        _mark(values[row.id]) if row.rationale and row.rationale.answer is not None else FAILED
        for row in run.rows
    )
    return np.fromiter(marks, np.int8, len(run.rows))


def _kinds(
    marks: dict[str, np.ndarray], large: np.ndarray | None
) -> list[tuple[str, str, np.ndarray]]:
    """Ways in which rows went, that some row went: name, needed marks, which rows."""
    place = {name: str(index) for index, name in enumerate(marks)}
    right = {name: found == FULLY for name, found in marks.items()}
    wrong = {name: _is_wrong(found) for name, found in marks.items()}
    found: list[tuple[str, str, np.ndarray]] = []
    if "fiat" in marks and "instruct" in marks:
        for first, second in (("fiat", "instruct"), ("instruct", "fiat")):
            names = [{"fiat": "FIAT"}.get(name, name) for name in (first, second)]
            found.append(
                (
                    f"{names[0]} right, {names[1]} wrong",
                    f"{place[first]}r {place[second]}w",
                    right[first] & wrong[second],
                )
            )
    if "fiat" in marks and large is not None:
        fiat = place["fiat"]
        found += [
            (
                "large model wrong, FIAT right",
                f"{LARGE}w {fiat}r",
                _is_wrong(large) & right["fiat"],
            ),
            (
                "large model right, FIAT wrong",
                f"{LARGE}r {fiat}w",
                (large == FULLY) & wrong["fiat"],
            ),
        ]
    if marks:
        for name, letter, masks in (("right", "r", right), ("wrong", "w", wrong)):
            needs = " ".join(f"{index}{letter}" for index in place.values())
            found.append((f"every recipe {name}", needs, np.all(list(masks.values()), axis=0)))
    return [kind for kind in found if kind[2].any()]


def _is_wrong(marks: np.ndarray) -> np.ndarray:
    return np.isin(marks, (WRONG, FAILED))


def _chosen(masks: Sequence[np.ndarray], total: int, shown: int) -> list[int]:
    """Row numbers in random order."""
    rng = random.Random(SEED)
    if total <= shown:
        return rng.sample(range(total), total)
    chosen: dict[int, None] = {}
    for mask in masks:
        places = np.flatnonzero(mask)
        have = sum(1 for index in chosen if mask[index])
        missing = min(len(places), LEAST) - have
        if missing > 0:
            fresh = [int(i) for i in places if int(i) not in chosen]
            chosen.update(dict.fromkeys(rng.sample(fresh, min(missing, len(fresh)))))
    wanted = max(shown - len(chosen), 0)
    pool = rng.sample(range(total), min(total, shown + len(chosen)))
    chosen.update(dict.fromkeys([i for i in pool if i not in chosen][:wanted]))
    rows = list(chosen)
    rng.shuffle(rows)
    return rows


def _choices(recipe: str, place: str, marks: np.ndarray) -> list[Choice]:
    masks = {FULLY: marks == FULLY, PARTLY: marks == PARTLY}
    masks |= {WRONG: _is_wrong(marks), FAILED: marks == FAILED}
    return [
        Choice(f"{recipe} {WORDS[mark]}", place + LETTERS[mark][-1], int(mask.sum()))
        for mark, mask in masks.items()
        if mask.any()
    ]


def _languages(run: Run) -> dict[str, int]:
    counts: dict[str, int] = {}
    for row in run.rows:
        if row.language:
            counts[row.language] = counts.get(row.language, 0) + 1
    return dict(sorted(counts.items()))


def _of_row(row: TestRow, cells: Sequence[CellResult]) -> set[str]:
    """What went wrong with a row, and where."""
    found = {cell.predictions[row.id].status for cell in cells}
    found |= {cell.predictions[row.id].fallback for cell in cells}
    if row.rationale is not None:
        found.add(row.rationale.status)
    return found - {"ok", ""}


def _statuses(run: Run, cells: Sequence[CellResult]) -> dict[str, int]:
    counts: dict[str, int] = {}
    for row in run.rows:
        for status in _of_row(row, cells):
            counts[status] = counts.get(status, 0) + 1
    return dict(sorted(counts.items()))


def _answers(row: TestRow, cells: Sequence[CellResult], values: dict[str, float]) -> list[Answer]:
    """The distinct answers, the best first, each with its recipes in the run's order."""
    found: dict[tuple[str, bool, str], Answer] = {}
    for cell in cells:
        given = cell.predictions[row.id]
        failed = given.status != "ok" or given.answer is None
        text = given.status if failed else str(given.answer)
        value = 0.0 if failed else values[cell.recipe]
        key = (text, failed, given.text if failed else "")
        if key not in found:
            mark = FAILED if failed else _mark(value)
            found[key] = Answer(text, mark, value, given.text if failed else "", [])
        found[key].recipes.append(cell.recipe)
    return sorted(found.values(), key=lambda one: (-one.value, one.mark == FAILED))

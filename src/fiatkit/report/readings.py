"""Rows worth reading, and what the rationales were worth."""

from __future__ import annotations

import random
from collections.abc import Sequence
from dataclasses import dataclass

from fiatkit import metrics
from fiatkit.records import Prediction, ScoredRow
from fiatkit.report.run import CellResult, Run, TestRow

SHOWN = 60
LEAST = 4
RIGHT = 100 - 1e-9
KINDS = (
    "FIAT right, instruct wrong",
    "FIAT wrong, instruct right",
    "FIAT right, its rationale wrong",
    "FIAT wrong, its rationale right",
    "both wrong",
    "both right",
    "some wrong",
    "all right",
)


@dataclass(frozen=True, slots=True)
class Answer:
    """One recipe's answer to a row: its text, its value (0 to 100), what it wrote if it failed."""

    recipe: str
    text: str
    value: float
    failed: bool
    wrote: str

    @property
    def mark(self) -> str:
        """Right, partly right or wrong."""
        return "right" if self.value >= RIGHT else "partly" if self.value > 0 else "wrong"


@dataclass(frozen=True, slots=True)
class Shown:
    """One test row to read."""

    row: TestRow
    answers: list[Answer]


@dataclass(frozen=True, slots=True)
class Kind:
    """Rows that went the same way: some to read, of how many."""

    name: str
    rows: list[Shown]
    total: int


@dataclass(frozen=True, slots=True)
class Part:
    """Test rows whose rationale names the right answer, a wrong one, or none."""

    name: str
    rows: int
    share: float
    scores: dict[str, float | None]


@dataclass(frozen=True, slots=True)
class RationaleFacts:
    """How good the rationales are, and each recipe's score where they are and are not."""

    total: int
    failed: int
    words: float
    recipes: list[str]
    parts: list[Part]


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


def _values(run: Run, rows: Sequence[ScoredRow]) -> list[float]:
    """Each row's value: of the primary metric where rows have one, else whether it is right."""
    name = "accuracy" if run.labels else run.primary
    values = metrics.row_values(name, rows)
    if values is None:
        values = metrics.row_values("exact_match", rows)
    assert values is not None
    return [float(value) for value in values]


def values_of(run: Run, cell: CellResult) -> list[float]:
    """Each row's value in a cell, 0 to 100, in the order of the test rows."""
    return _values(run, run.scored(cell))


def large_values(run: Run) -> dict[str, float]:
    """The value of the answer that each rationale names."""
    rows = [
        ScoredRow(
            example,
            Prediction(row.id, row.rationale.answer, row.rationale.status)
            if row.rationale.answer is not None
            else Prediction(row.id, None, "failed:no_answer"),
        )
        for example, row in zip(run.examples, run.rows, strict=True)
        if row.rationale is not None
    ]
    return dict(zip((r.example.id for r in rows), _values(run, rows), strict=True)) if rows else {}


def rationale_facts(run: Run) -> RationaleFacts | None:
    """How often the large model was right, and what each recipe scored when it was and was not.

    None if no recipe needed rationales.
    """
    known = [row.rationale for row in run.rows if row.rationale is not None]
    if not known:
        return None
    values = large_values(run)
    answered = {row.id for row in run.rows if row.rationale and row.rationale.answer is not None}
    sets = {
        "the right answer": {i for i, value in values.items() if value >= RIGHT},
        "a partly right answer": {i for i, value in values.items() if 0 < value < RIGHT},
        "a wrong answer": {i for i, value in values.items() if value <= 0 and i in answered},
        "no answer that can be read": set(values) - answered,
    }
    cells = [cell for cell in last_cells(run) if cell.recipe in ("fiat", "instruct")]
    scored = {cell.recipe: run.scored(cell) for cell in cells}
    parts = [
        Part(
            name,
            len(ids),
            len(ids) / len(known),
            {
                recipe: metrics.corpus(run.primary, chosen, run.labels)
                for recipe, rows in scored.items()
                if (chosen := [row for row in rows if row.example.id in ids])
            },
        )
        for name, ids in sets.items()
        if ids
    ]
    return RationaleFacts(
        total=len(known),
        failed=sum(1 for rationale in known if rationale.status != "ok"),
        words=sum(len(rationale.text.split()) for rationale in known) / len(known),
        recipes=list(scored),
        parts=parts,
    )


def choose_rows(run: Run, shown: int = SHOWN) -> list[Kind]:
    """A seeded sample of rows, at least some of each way in which they went."""
    cells = last_cells(run)
    values = {cell.recipe: _values(run, run.scored(cell)) for cell in cells}
    large = large_values(run)
    kinds: dict[str, list[Shown]] = {}
    for index, row in enumerate(run.rows):
        answers = [_answer(cell, row, values[cell.recipe][index]) for cell in cells]
        kinds.setdefault(_kind(answers, large.get(row.id)), []).append(Shown(row, answers))
    found = []
    for name in KINDS:
        rows = kinds.get(name, [])
        random.Random(0).shuffle(rows)
        if rows:
            found.append(Kind(name, rows[: max(LEAST, shown // len(kinds))], len(rows)))
    return found


def _answer(cell: CellResult, row: TestRow, value: float) -> Answer:
    found = cell.predictions[row.id]
    if found.status == "ok" and found.answer is not None:
        return Answer(cell.recipe, found.answer, value, False, "")
    return Answer(cell.recipe, found.status, 0.0, True, found.text)


def _kind(answers: Sequence[Answer], large: float | None) -> str:
    right = {answer.recipe: answer.mark == "right" for answer in answers}
    if "fiat" not in right:
        return "all right" if all(right.values()) else "some wrong"
    fiat = right["fiat"]
    if right.get("instruct", fiat) != fiat:
        return "FIAT right, instruct wrong" if fiat else "FIAT wrong, instruct right"
    if large is not None and (large >= RIGHT) != fiat:
        return "FIAT right, its rationale wrong" if fiat else "FIAT wrong, its rationale right"
    if "instruct" not in right:
        return "all right" if all(right.values()) else "some wrong"
    return "both right" if fiat else "both wrong"

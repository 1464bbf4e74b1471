"""What each answer is worth, the small models' and the large one's, row by row."""

from __future__ import annotations

from collections.abc import Sequence

from fiatkit import metrics
from fiatkit.records import Prediction, ScoredRow
from fiatkit.report.run import CellResult, Run

RIGHT = 100 - 1e-9


def row_values(run: Run, rows: Sequence[ScoredRow]) -> list[float]:
    """Each row's value, 0 to 100: of the primary metric where rows have one, else whether the
    answer is right."""
    name = "accuracy" if run.labels else run.primary
    values = metrics.row_values(name, rows)
    if values is None:
        values = metrics.row_values("exact_match", rows)
    assert values is not None
    return [float(value) for value in values]


def values_of(run: Run, cell: CellResult) -> list[float]:
    """Each row's value in a cell, in the order of the test rows."""
    return row_values(run, run.scored(cell))


def large_values(run: Run) -> dict[str, float]:
    """The value of the answer that each rationale names, by row id."""
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
    found = row_values(run, rows) if rows else []
    return dict(zip((row.example.id for row in rows), found, strict=True))

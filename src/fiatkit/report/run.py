"""Read a run folder into records, finished or not."""

from __future__ import annotations

import json
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any

from fiatkit.errors import UsageError
from fiatkit.files import read_jsonl
from fiatkit.records import Example, Prediction, Query, Score, ScoredRow


@dataclass(frozen=True, slots=True)
class CellResult:
    """A finished cell: its record, and a prediction for each test row id."""

    recipe: str
    label: str
    is_floor: bool
    size: int | None
    seed: int | None
    scores: dict[str, Score]
    record: dict[str, Any]
    predictions: dict[str, Prediction]


@dataclass(frozen=True)
class Run:
    """A run folder. `planned` counts the cells that the run is made of."""

    folder: Path
    info: dict[str, Any]
    rows: list[dict[str, Any]]
    cells: list[CellResult]

    @property
    def planned(self) -> int:
        """How many cells the run has when it is finished."""
        return len(self.info["cells"])

    @property
    def primary(self) -> str:
        """The metric that decides."""
        return str(self.info["task"]["primary"])

    @property
    def metrics(self) -> list[str]:
        """All metrics of the task."""
        return [str(name) for name in self.info["task"]["metrics"]]

    @property
    def labels(self) -> list[str] | None:
        """The label set, or None for free text."""
        return self.info["task"]["labels"] or None

    @cached_property
    def examples(self) -> list[Example]:
        """The test rows as examples."""
        return [
            Example(
                Query(row["id"], row["fields"], row["language"]),
                row["target"],
                tuple(row["references"]),
                row["group"],
            )
            for row in self.rows
        ]

    def scored(self, cell: CellResult) -> list[ScoredRow]:
        """The test rows beside a cell's predictions."""
        return [ScoredRow(e, cell.predictions[e.id]) for e in self.examples]


def load_run(folder: Path) -> Run:
    """Read a run folder.

    Raises:
        UsageError: it is none, or nothing in it is finished yet.
    """
    path = folder / "run.json"
    if not path.is_file():
        raise UsageError(
            f'"{folder}" is no run folder: it has no run.json.',
            "`fiat compare` makes one.",
        )
    info = json.loads(path.read_text(encoding="utf-8"))
    cells = [_cell(folder / "cells" / planned["folder"]) for planned in info["cells"]]
    rows_file = folder / "test.jsonl"
    rows = list(read_jsonl(rows_file)) if rows_file.is_file() else []
    finished = [cell for cell in cells if cell is not None] if rows else []
    if not finished:
        raise UsageError(f'Nothing in "{folder}" is finished yet.', "Run `fiat compare` again.")
    return Run(folder, info, rows, finished)


def _cell(folder: Path) -> CellResult | None:
    path = folder / "cell.json"
    if not path.is_file():
        return None
    record = json.loads(path.read_text(encoding="utf-8"))
    predictions = {
        row["id"]: Prediction(
            row["id"], row["answer"], row["status"], row["probabilities"], row["text"]
        )
        for row in read_jsonl(folder / "predictions.jsonl")
    }
    return CellResult(
        record["recipe"],
        record["label"],
        record["kind"] == "floor",
        record["size"],
        record["seed"],
        {name: Score(**values) for name, values in record["scores"].items()},
        record,
        predictions,
    )

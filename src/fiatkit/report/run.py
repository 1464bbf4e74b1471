"""Read a run folder into typed records, finished or not."""

from __future__ import annotations

import json
import math
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, replace
from functools import cached_property
from pathlib import Path
from typing import Any, TypeVar

from pydantic import BaseModel, ConfigDict, ValidationError, field_validator

from fiatkit.errors import UsageError
from fiatkit.experiment.outside import FOLDER as OUTSIDE
from fiatkit.experiment.outside import Measure, read_outside
from fiatkit.files import read_jsonl
from fiatkit.records import Example, Prediction, Query, Score, ScoredRow
from fiatkit.report.text import one_line


class _Stored(BaseModel):
    """A record of a run folder; keys of later releases are left aside."""

    model_config = ConfigDict(extra="ignore", frozen=True)


class TaskInfo(_Stored):
    """What the report needs of the task."""

    name: str
    description: str = ""
    primary: str
    metrics: list[str]
    labels: list[str] | None = None
    averaged: list[str] = []


class DataInfo(_Stored):
    """How many rows the run was made of, and what was noticed about them."""

    train: int
    dev: int
    test: int
    test_groups: int
    held_out: int
    notes: list[str] = []


class PlannedCell(_Stored):
    """A cell that the run is made of, finished or not."""

    folder: str


class NotRun(_Stored):
    """A recipe that was asked for and has no cells."""

    recipe: str
    label: str = ""
    reason: str


class RunInfo(_Stored):
    """run.json."""

    version: int = 1
    title: str
    task: TaskInfo
    config: dict[str, Any]
    fingerprints: dict[str, str] = {}
    cells: list[PlannedCell] | None = None
    not_run: list[NotRun] = []
    data: DataInfo
    models: dict[str, dict[str, Any] | None]
    fiatkit: str
    started: str


class StoredRationale(_Stored):
    """The rationale of a test row."""

    text: str
    answer: str | None
    status: str
    tokens: int | None = None


class TestRow(_Stored):
    """One test row with its rationale, where a recipe needed one."""

    __test__ = False  # not a test class, whatever pytest thinks of its name

    id: str
    language: str = ""
    group: str
    fields: dict[str, str]
    target: str
    references: list[str] = []
    rationale: StoredRationale | None = None


class CellUsage(_Stored):
    """Calls and tokens of the large model behind a cell, or behind its test rows alone."""

    calls: int
    prompt_tokens: int | None = None
    completion_tokens: int | None = None
    cached_tokens: int | None = None
    follow_up_calls: int = 0
    seconds: float | None = None


class TokenCount(_Stored):
    """What the small model's tokenizer makes of the fields of a language's test rows."""

    rows: int
    characters: int
    words: int
    tokens: int


class CellRecord(_Stored):
    """cell.json."""

    recipe: str
    label: str
    kind: str
    size: int | None
    train_groups: int | None = None
    seed: int | None
    scores: dict[str, Score]
    counts: dict[str, int] = {}
    usage: CellUsage
    test_usage: CellUsage | None = None
    tokens: dict[str, TokenCount] = {}
    seconds: dict[str, float] = {}
    notes: list[str] = []

    @field_validator("scores")
    @classmethod
    def _undefined_is_none(cls, value: dict[str, Score]) -> dict[str, Score]:
        return {name: _finite(score) for name, score in value.items()}

    @property
    def is_floor(self) -> bool:
        """Whether this is a floor line rather than a recipe."""
        return self.kind == "floor"

    @property
    def is_outside(self) -> bool:
        """Whether another system made the predictions."""
        return self.kind == "outside"


def _finite(score: Score) -> Score:
    """The score with None in place of what is no number: undefined, never zero."""

    def known(value: float | None) -> float | None:
        return value if value is not None and math.isfinite(value) else None

    whole = known(score.value)
    return replace(
        score,
        value=whole,
        low=None if whole is None else known(score.low),
        high=None if whole is None else known(score.high),
        languages={name: known(value) for name, value in score.languages.items()},
    )


class StoredPrediction(_Stored):
    """A line of predictions.jsonl."""

    id: str
    answer: str | None
    status: str
    probabilities: dict[str, float] | None = None
    text: str = ""
    fallback: str = ""
    cut: int = 0
    rationale_cut: int = 0


@dataclass(frozen=True, slots=True)
class CellResult:
    """A finished cell: its record, and a prediction for each test row id."""

    record: CellRecord
    predictions: dict[str, Prediction]

    @property
    def recipe(self) -> str:
        """The recipe's name."""
        return self.record.recipe

    @property
    def name(self) -> str:
        """Recipe, training rows and seed in words."""
        record = self.record
        size = "" if record.size is None else f", {record.size} rows"
        return f"{record.recipe}{size}" + ("" if record.seed is None else f", seed {record.seed}")


@dataclass(frozen=True, eq=False)
class Run:
    """A run folder. `planned` counts the cells that the run is made of, without those of outside
    systems."""

    folder: Path
    info: RunInfo
    rows: list[TestRow]
    cells: list[CellResult]
    planned: int

    @property
    def primary(self) -> str:
        """The metric that decides."""
        return self.info.task.primary

    @property
    def labels(self) -> list[str] | None:
        """The label set, or None for free text."""
        return self.info.task.labels or None

    @cached_property
    def examples(self) -> list[Example]:
        """The test rows as examples."""
        return [
            Example(
                Query(row.id, row.fields, row.language),
                row.target,
                tuple(row.references),
                row.group,
            )
            for row in self.rows
        ]

    def scored(self, cell: CellResult) -> list[ScoredRow]:
        """The test rows beside a cell's predictions."""
        return [ScoredRow(e, cell.predictions[e.id]) for e in self.examples]


M = TypeVar("M", bound=_Stored)


def load_run(folder: Path, joined: Mapping[str, Path] | None = None) -> Run:
    """Read a run folder.

    Args:
        folder: the run folder.
        joined: files of predictions of outside systems, by the name of their line, which are shown
            beside those that the run folder holds.

    Raises:
        DataError: such a file does not answer exactly the test rows.
        UsageError: it is none, it is damaged, or nothing in it is finished yet.
    """
    path = folder / "run.json"
    if not path.is_file():
        raise UsageError(
            f'"{folder}" is no run folder: it has no run.json.', "`fiat compare` makes one."
        )
    info = _one(RunInfo, path)
    if info.version > 1:
        raise UsageError(f'"{path}" was written by a newer release (version {info.version}).')
    if info.cells is None:
        folders = sorted(found.parent for found in folder.glob("cells/*/cell.json"))
    else:
        folders = [folder / "cells" / cell.folder for cell in info.cells]
    planned = len(folders)
    finished = [place for place in folders if (place / "cell.json").is_file()]
    rows_file = folder / "test.jsonl"
    if not finished or not rows_file.is_file():
        raise UsageError(f'Nothing in "{folder}" is finished yet.', "Run `fiat compare` again.")
    rows = list(_lines(TestRow, rows_file))
    ids = {row.id for row in rows}
    finished += sorted(found.parent for found in folder.glob(f"{OUTSIDE}/*/cell.json"))
    run = Run(folder, info, rows, [_cell(place, ids) for place in finished], planned)
    for name, file in (joined or {}).items():
        run = _with_outside(run, name, file)
    return run


def _with_outside(run: Run, name: str, file: Path) -> Run:
    """The run with one more line, which takes the place of another of this name."""
    task = run.info.task
    found = read_outside(name, file, run.examples, Measure(task.metrics, run.labels, task.averaged))
    cell = CellResult(
        CellRecord.model_validate(found.record), {p.query_id: p for p in found.predictions}
    )
    return replace(run, cells=[*(c for c in run.cells if c.recipe != name), cell])


def _cell(folder: Path, ids: set[str]) -> CellResult:
    record = _one(CellRecord, folder / "cell.json")
    path = folder / "predictions.jsonl"
    predictions = {
        row.id: Prediction(
            row.id,
            row.answer,
            row.status,
            row.probabilities,
            row.text,
            row.fallback,
            row.cut,
            row.rationale_cut,
        )
        for row in _lines(StoredPrediction, path)
    }
    missing = sorted(ids - set(predictions))
    if missing:
        raise _damaged(path, f'no prediction for {len(missing)} test rows, such as "{missing[0]}"')
    return CellResult(record, predictions)


def _one(model: type[M], path: Path) -> M:
    try:
        return model.model_validate_json(path.read_bytes())
    except (OSError, ValidationError) as error:
        raise _damaged(path, _reason(error)) from None


def _lines(model: type[M], path: Path) -> Iterator[M]:
    try:
        for value in read_jsonl(path):
            yield model.model_validate(value)
    except (OSError, UnicodeDecodeError, json.JSONDecodeError, ValidationError) as error:
        raise _damaged(path, _reason(error)) from None


def _reason(error: Exception) -> str:
    if isinstance(error, ValidationError):
        first = error.errors()[0]
        where = ".".join(str(part) for part in first["loc"])
        return f"{where}: {first['msg']}" if where else str(first["msg"])
    return str(error)


def _damaged(path: Path, reason: str) -> UsageError:
    return UsageError(
        f'"{path}" is damaged: {one_line(reason)}.',
        f'Delete "{path.parent}" and run `fiat compare` again: nothing is paid for twice.',
    )

"""Systems that fiatkit does not run join a comparison: their predictions of its test rows come in,
a cell goes out, whose cost and training rows are unknown."""

from __future__ import annotations

import hashlib
import json
import re
import shutil
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from fiatkit.errors import UsageError
from fiatkit.experiment.folder import write_predictions
from fiatkit.experiment.plan import FLOORS, Plan
from fiatkit.experiment.predictions import predictions_for
from fiatkit.experiment.scores import score_by
from fiatkit.files import write_json
from fiatkit.recipes import NAMED
from fiatkit.records import Example, Prediction, Score

FOLDER = "outside"
_NAME = re.compile(r"[\w][\w.-]{0,59}")


@dataclass(frozen=True, slots=True)
class Measure:
    """How a task is scored: its metrics, its label set, and the languages that are averaged."""

    metrics: Sequence[str]
    labels: Sequence[str] | None
    averaged: Sequence[str]


@dataclass(frozen=True, slots=True)
class Outside:
    """An outside system's predictions, one for each test row and in their order, and its record."""

    predictions: list[Prediction]
    record: dict[str, Any]


def check_name(name: str) -> None:
    """Raises UsageError if an outside system cannot be called so."""
    if not _NAME.fullmatch(name):
        raise UsageError(
            f'An outside system cannot be called "{name}".',
            "Use letters, digits, dots, dashes and underscores, at most 60 of them.",
        )
    if name in NAMED or name in FLOORS:
        raise UsageError(
            f'"{name}" is a recipe; an outside system needs another name.',
            f'Call it "other_{name}", for example.',
        )


def read_outside(name: str, path: Path, examples: Sequence[Example], measure: Measure) -> Outside:
    """Read and score what an outside system predicted for the test rows.

    Raises:
        UsageError: the name cannot be used.
        DataError: the file cannot be read, or does not answer exactly the test rows.
    """
    check_name(name)
    found = predictions_for(path, [e.id for e in examples], "the test rows")
    scores = score_by(measure.metrics, measure.labels, measure.averaged, examples, found)
    return Outside(found, _record(name, path, scores, found))


def _record(
    name: str, path: Path, scores: Mapping[str, Score], found: Sequence[Prediction]
) -> dict[str, Any]:
    digest = _sha256(path)
    return {
        "recipe": name,
        "label": f"Outside system: {path.name}",
        "kind": "outside",
        "size": None,
        "seed": None,
        "scores": {metric: asdict(score) for metric, score in scores.items()},
        "counts": dict(Counter(prediction.status for prediction in found)),
        "usage": {"calls": 0},
        "notes": [f"predictions of {path.name}, sha256 {digest}"],
        "sha256": digest,
    }


def problems(plan: Plan) -> Iterator[UsageError]:
    """What is wrong with the outside systems of a run."""
    for name, path in plan.config.outside.items():
        try:
            check_name(name)
            predictions_for(path, [e.id for e in plan.data.test], "the test rows")
        except UsageError as error:
            yield error


def join(plan: Plan) -> None:
    """Write a cell for each outside system of a run, and remove those that it no longer names.

    One whose file has not changed is left as it is.
    """
    place = plan.out / FOLDER
    for old in place.glob("*"):
        if old.name not in plan.config.outside:
            shutil.rmtree(old)
    task = plan.task
    measure = Measure(task.metrics, task.choices, task.averaged)
    for name, path in plan.config.outside.items():
        record = place / name / "cell.json"
        if record.is_file() and json.loads(record.read_text("utf-8"))["sha256"] == _sha256(path):
            continue
        found = read_outside(name, path, plan.data.test, measure)
        record.unlink(missing_ok=True)
        write_predictions(place / name / "predictions.jsonl", found.predictions)
        write_json(record, found.record)


def _sha256(path: Path) -> str:
    return hashlib.sha256(path.read_bytes()).hexdigest()

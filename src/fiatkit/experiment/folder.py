"""The run folder: its files and their layout."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import asdict
from pathlib import Path
from typing import Any

from fiatkit.errors import UsageError
from fiatkit.experiment.plan import Cell, Plan
from fiatkit.files import write_json, write_jsonl
from fiatkit.recipes import named
from fiatkit.records import Example, Prediction, Rationale, Score

VERSION = 1
PLAIN = "small.plain"


def check_same(plan: Plan) -> str | None:
    """When the experiment in the folder was started, or None if there is none.

    Raises:
        UsageError: the folder holds another experiment's results; says what changed.
    """
    path = plan.out / "run.json"
    if not path.is_file():
        return None
    before = json.loads(path.read_text(encoding="utf-8"))
    now = _fingerprints(plan)
    then = before["fingerprints"]
    if not then.get(PLAIN) and not _has_plain_cells(plan):
        then[PLAIN] = now[PLAIN]  # none was named before, and no cell is of another
    changed = sorted(name for name in now if then.get(name, "") != now[name])
    if changed:
        raise UsageError(
            f'The run folder "{plan.out}" holds results of another experiment '
            f"(changed: {', '.join(changed)}).",
            "Choose another folder with --out; the rationale store is shared by all runs.",
        )
    return str(before["started"])


def _has_plain_cells(plan: Plan) -> bool:
    """Whether a finished cell is of a recipe that tunes the plain base. Such cells of a release
    that knew no plain base were tuned from the small model."""
    files = (plan.out / "cells").glob("*/cell.json")
    records = [json.loads(file.read_text(encoding="utf-8")) for file in files]
    return any(r["kind"] == "recipe" and named(r["recipe"]).base == "plain" for r in records)


def _fingerprints(plan: Plan) -> dict[str, str]:
    return {
        "config": plan.config.fingerprint(),
        "task": plan.task.fingerprint,
        "data": plan.data.fingerprint,
        PLAIN: plan.config.small.plain or "",
    }


def start(plan: Plan, models: Mapping[str, Any], started: str, version: str) -> None:
    """Write run.json, after checking that the folder holds no other experiment's cells."""
    started = check_same(plan) or started
    task = plan.task
    write_json(
        plan.out / "run.json",
        {
            "version": VERSION,
            "title": plan.config.title or task.name,
            "task": {
                "name": task.name,
                "description": task.description,
                "primary": task.metrics[0],
                "metrics": list(task.metrics),
                "labels": list(task.choices or []),
                "averaged": list(task.averaged),
            },
            "config": plan.config.model_dump(mode="json"),
            "fingerprints": _fingerprints(plan),
            "cells": [{"folder": c.folder, **asdict(c)} for c in plan.cells],
            "not_run": [
                {"recipe": name, "label": named(name).label, "reason": why}
                for name, why in plan.not_run.items()
            ],
            "data": {
                "train": len(plan.data.train),
                "dev": len(plan.data.dev),
                "test": len(plan.data.test),
                "test_groups": distinct_groups(plan.data.test),
                "held_out": plan.data.held_out,
                "notes": list(plan.notes),
            },
            "models": dict(models),
            "fiatkit": version,
            "started": started,
        },
    )


def distinct_groups(rows: Sequence[Example]) -> int:
    """How many distinct groups the rows form."""
    return len({row.group for row in rows})


def write_test_rows(plan: Plan, rationales: Mapping[str, Rationale]) -> None:
    """Write test.jsonl: each test row with its rationale, for the report.

    One that is there stays where no rationale of a test row was needed now.
    """
    if (plan.out / "test.jsonl").is_file() and not any(e.id in rationales for e in plan.data.test):
        return
    write_jsonl(plan.out / "test.jsonl", (_test_row(e, rationales) for e in plan.data.test))


def _test_row(example: Example, rationales: Mapping[str, Rationale]) -> dict[str, Any]:
    rationale = rationales.get(example.id)
    return {
        "id": example.id,
        "language": example.query.language,
        "group": example.group,
        "fields": dict(example.query.fields),
        "target": example.target,
        "references": list(example.references),
        "rationale": None
        if rationale is None
        else {
            "text": rationale.text,
            "answer": rationale.answer,
            "status": rationale.status,
            "tokens": rationale.usage.completion_tokens,
        },
    }


def write_cell(
    plan: Plan,
    cell: Cell,
    predictions: Sequence[Prediction],
    scores: Mapping[str, Score],
    record: Mapping[str, Any],
) -> None:
    """Write a finished cell: its predictions first, cell.json last."""
    folder = plan.out / "cells" / cell.folder
    write_predictions(folder / "predictions.jsonl", predictions)
    write_json(
        folder / "cell.json",
        {
            "recipe": cell.recipe,
            "kind": "floor" if cell.is_floor else "recipe",
            "size": cell.size,
            "seed": cell.seed,
            "left_out": dict(plan.left_out.get(cell.rows, {})),
            "scores": {name: asdict(score) for name, score in scores.items()},
            **record,
        },
    )


def write_predictions(path: Path, predictions: Sequence[Prediction]) -> None:
    """Write one prediction a line."""
    write_jsonl(
        path,
        (
            {
                "id": p.query_id,
                "answer": p.answer,
                "status": p.status,
                "probabilities": None if p.probabilities is None else dict(p.probabilities),
                "text": p.text,
                "fallback": p.fallback,
                "cut": p.cut,
                "rationale_cut": p.rationale_cut,
                **({"rationale": p.rationale} if p.rationale else {}),
            }
            for p in predictions
        ),
    )

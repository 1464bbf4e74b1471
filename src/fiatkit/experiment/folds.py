"""A comparison, with or without folds. With folds, each is a comparison of its own in a run folder
of its own; then the folds' cells are pooled, so that every row is tested once.

The pooled cells are scored on all rows together and clustered by group, like any cell.
"""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from fiatkit.errors import BudgetError
from fiatkit.experiment import folder, outside
from fiatkit.experiment.plan import Cell, Plan
from fiatkit.experiment.progress import Progress, Silent
from fiatkit.experiment.runner import begin, fill, finish_cell
from fiatkit.files import locked, read_jsonl, write_jsonl
from fiatkit.records import Prediction


def compare(plan: Plan, progress: Progress | None = None) -> None:
    """Run all cells of `plan` that its run folder does not hold yet.

    Raises:
        ProviderError: the large model cannot be used; what was paid for is in the store.
        BudgetError: all is done, but more rationales failed than `max_failed` allows.
    """
    progress = progress or Silent()
    folder.check_same(plan)
    outside.join(plan)
    if not plan.data.folds:
        fill(plan, progress)
        return
    problem: BudgetError | None = None
    with locked(plan.out, "run folder"):
        begin(plan)
        for number, part in enumerate(plan.parts, 1):
            progress.say(f"Fold {number} of {len(plan.parts)}")
            try:
                fill(part, progress)
            except BudgetError as error:
                problem = error
        _pool(plan, progress)
    if problem is not None:
        raise problem


def _pool(plan: Plan, progress: Progress) -> None:
    """Join the folds' test rows and predictions, and score them together."""
    rows = (row for part in plan.parts for row in read_jsonl(part.out / "test.jsonl"))
    write_jsonl(plan.out / "test.jsonl", rows)
    for cell in plan.cells:
        if not plan.finished(cell):
            progress.begins(plan, cell)
            places = [part.out / "cells" / cell.folder for part in plan.parts]
            predictions = [p for place in places for p in _predictions(place)]
            records = [json.loads((place / "cell.json").read_text("utf-8")) for place in places]
            finish_cell(plan, cell, predictions, _record(plan, cell, records))
            progress.finished(plan, cell)


def _predictions(place: Path) -> list[Prediction]:
    return [
        Prediction(
            v["id"],
            v["answer"],
            v["status"],
            v["probabilities"],
            v["text"],
            v.get("fallback", ""),
            v.get("cut", 0),
            v.get("rationale_cut", 0),
        )
        for v in read_jsonl(place / "predictions.jsonl")
    ]


def _record(plan: Plan, cell: Cell, records: Sequence[dict[str, Any]]) -> dict[str, Any]:
    """The folds' records as one. Times of tuning and answering add up; a row's rationale serves
    all folds, so that its calls, tokens and seconds are counted once."""
    calls = sum(record["usage"]["calls"] for record in records)
    share = min(1.0, len(plan.data.test) / calls) if calls else 0.0
    seconds = {
        name: sum(record["seconds"][name] for record in records) for name in records[0]["seconds"]
    }
    notes = [
        f"fold {number}: {note}"
        for number, record in enumerate(records, 1)
        for note in record["notes"]
    ]
    return {
        "label": records[0]["label"],
        "train_groups": records[0]["train_groups"],
        "usage": _usage([record["usage"] for record in records], share),
        "test_usage": _usage([record.get("test_usage", record["usage"]) for record in records]),
        "tokens": _tokens(records),
        "seconds": seconds | {"rationales": share * seconds["rationales"]},
        "notes": notes,
    }


def _tokens(records: Sequence[dict[str, Any]]) -> dict[str, dict[str, int]]:
    """The folds' counts by language, added up: each has test rows of its own."""
    found: dict[str, Counter[str]] = {}
    for record in records:
        for language, counts in record.get("tokens", {}).items():
            found.setdefault(language, Counter()).update(counts)
    return {language: dict(counts) for language, counts in found.items()}


def _usage(usages: Sequence[dict[str, Any]], share: float = 1.0) -> dict[str, Any]:
    """A share of all the folds' calls, tokens and seconds; None where a fold's are not known."""
    totals: dict[str, Any] = {}
    for key in usages[0]:
        known = [usage[key] for usage in usages if usage[key] is not None]
        total = share * sum(known) if len(known) == len(usages) else None
        totals[key] = total if total is None or key == "seconds" else round(total)
    return totals

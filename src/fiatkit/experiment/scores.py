"""What is known of a model when it is kept: its scores with intervals, and who wrote for it."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import asdict
from typing import Any

from fiatkit import metrics
from fiatkit.experiment.plan import Plan
from fiatkit.models import catalogue, create_chat_model
from fiatkit.recipes.predictor import Predictor
from fiatkit.records import Example, Prediction, Rationale, Score, ScoredRow
from fiatkit.tasks import Task


def score(
    task: Task, examples: Sequence[Example], predictions: Sequence[Prediction]
) -> dict[str, Score]:
    """All metrics of the task; those that a recipe's predictions do not allow have no value."""
    return score_by(task.metrics, task.choices, task.averaged, examples, predictions)


def score_by(
    names: Sequence[str],
    labels: Sequence[str] | None,
    averaged: Sequence[str],
    examples: Sequence[Example],
    predictions: Sequence[Prediction],
) -> dict[str, Score]:
    """The same, where what a task says of its metrics is known and the task is not."""
    rows = [ScoredRow(e, p) for e, p in zip(examples, predictions, strict=True)]
    return {name: metrics.evaluate(name, rows, labels, averaged=averaged) for name in names}


def to_keep(
    plan: Plan,
    predictor: Predictor,
    rationales: Mapping[str, Rationale],
    test: Sequence[Prediction] | None = None,
) -> dict[str, Any]:
    """What an artefact tells beside its preparation: `scores` by split, and who wrote its
    rationales as the `large` model.

    Args:
        plan: the run.
        predictor: the tuned model; it answers the dev rows.
        rationales: of the dev rows, where the recipe uses them.
        test: its answers to the test rows, where it was asked.
    """
    scores = {}
    if dev := plan.data.dev:
        scores["dev"] = score(plan.task, dev, predictor.predict([e.query for e in dev], rationales))
    if test is not None:
        scores["test"] = score(plan.task, plan.data.test, test)
    told = {s: {name: asdict(found) for name, found in by.items()} for s, by in scores.items()}
    large = None
    if writer := predictor.recipe.writer:
        large = large_identity(plan.config.writer_values(writer))
    return {"scores": told, "large": large}


def large_identity(values: Mapping[str, Any]) -> dict[str, str]:
    """Who a `large:` block names, as loaded: provider, endpoint, model, revision; its licence."""
    named = str(values.get("model", ""))
    known = catalogue.ENTRIES.get(named)
    identity = asdict(create_chat_model(dict(values)).identity)
    return {**identity, "licence": known.licence if known else "unknown"}

"""Stacking: multinomial logistic regression over what the small and the large model say of a row.

Its inputs are the log-probabilities that the tuned small model of the `instruct` cell of the same
size and seed gives the labels, and the answer in the large model's text, one-hot, with a column for
none: large models at an endpoint do not give the probabilities of all labels. It is fitted on the
dev rows alone, on which the small model was not tuned (they chose its best epoch). Neither a
training row, whose probabilities the small model has learnt by heart, nor a test row is among them.
"""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

from fiatkit.config import RunConfig
from fiatkit.experiment.classifiers import Answered, chosen, predict_majority
from fiatkit.experiment.plan import Cell, Plan
from fiatkit.experiment.predictions import read_predictions
from fiatkit.recipes import named
from fiatkit.records import Example, Prediction, Query, Rationale

if TYPE_CHECKING:
    import numpy as np

BELOW = "instruct"
LEAST = 1e-9  # probability, so that its logarithm is finite


def why_not(config: RunConfig) -> str:
    """It stands on the cells of `instruct`."""
    if not any(named(name).name == BELOW for name in config.recipes):
        return f"it stacks on {BELOW}, which is not among the recipes"
    return ""


def answer(plan: Plan, cell: Cell, rationales: Mapping[str, Rationale]) -> Answered:
    """Fit on the dev rows and answer the test rows, once the `instruct` cell is finished."""
    from fiatkit.experiment.single import load_fitted

    below = plan.out / "cells" / Cell(BELOW, cell.size, cell.seed).folder
    dev, queries = plan.data.dev, [e.query for e in plan.data.test]
    small = load_fitted(below / "adapter").predictor.predict([e.query for e in dev], {})
    tested = read_predictions(below / "predictions.jsonl")
    labels = plan.task.choices or []
    predictions, notes = stack(
        dev,
        _inputs([e.query for e in dev], {p.query_id: p for p in small}, rationales, labels),
        queries,
        _inputs(queries, tested, rationales, labels),
        labels,
    )
    seconds = json.loads((below / "cell.json").read_text(encoding="utf-8"))["seconds"]
    return Answered(
        predictions,
        {name: seconds[name] for name in ("tuning", "prediction")},
        notes,
        fitting=[rationales[e.id] for e in dev],
        serving=[rationales[query.id] for query in queries],
    )


def stack(
    dev: Sequence[Example],
    known: np.ndarray[Any, Any],
    queries: Sequence[Query],
    asked: np.ndarray[Any, Any],
    labels: Sequence[str],
) -> tuple[list[Prediction], list[str]]:
    """Fit on the dev rows' inputs and answer others.

    Args:
        dev: the rows to fit on.
        known: their inputs, a row each.
        queries: what to answer.
        asked: their inputs.
        labels: the task's label set.

    Returns:
        The predictions, and what is worth knowing.
    """
    from sklearn.linear_model import LogisticRegression

    targets = [example.target for example in dev]
    notes = [f"fitted on the {len(dev)} dev rows; the small model's best epoch was chosen by them"]
    if unseen := [label for label in labels if label not in targets]:
        notes.append(f"no dev row has the label {', '.join(unseen)}: it is never answered")
    if len(set(targets)) < 2:
        return predict_majority(dev, queries, labels), notes
    model = LogisticRegression(max_iter=1000).fit(known, targets)
    columns = [str(label) for label in model.classes_]
    return chosen(queries, columns, model.predict_proba(asked), labels), notes


def _inputs(
    queries: Sequence[Query],
    small: Mapping[str, Prediction],
    large: Mapping[str, Rationale],
    labels: Sequence[str],
) -> np.ndarray[Any, Any]:
    """A row a query: the small model's log-probability of each label (all alike where it could not
    read the row), then the large model's answer one-hot, its last column for none."""
    import numpy as np

    rows = []
    for query in queries:
        shares = small[query.id].probabilities or {}
        even = 1 / len(labels)
        said = large[query.id].answer
        logs = [
            np.log(max(shares.get(label, LEAST if shares else even), LEAST)) for label in labels
        ]
        rows.append([*logs, *(float(said == label) for label in labels), float(said not in labels)])
    return np.array(rows)

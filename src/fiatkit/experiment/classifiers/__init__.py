"""Rivals that are no language models: label tasks only, trained on the rows of their cell.

A classifier is a file of this room with two functions: `why_not` says why a run cannot have it, and
`answer` trains it and answers the test rows.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass, field

from fiatkit.records import Example, Prediction, Query, Rationale

ROOM = "experiment.classifiers"


@dataclass(frozen=True, slots=True)
class Answered:
    """A classifier's answers to the test rows, in their order.

    Attributes:
        predictions: one a test row.
        notes: what is worth knowing of how it was trained.
        fitting: texts of the large model that it was trained on; `serving`: those it answered from.
        seconds: what `tuning` took, of models that it stands on too, and `prediction`.
    """

    predictions: list[Prediction]
    seconds: dict[str, float]
    notes: list[str] = field(default_factory=list)
    fitting: list[Rationale] = field(default_factory=list)
    serving: list[Rationale] = field(default_factory=list)


def predict_majority(
    train: Sequence[Example], queries: Sequence[Query], labels: Sequence[str]
) -> list[Prediction]:
    """Answer every query with the most frequent target of `train`."""
    counts = Counter(example.target for example in train)
    order = {label: -index for index, label in enumerate(labels)}
    best = max(counts, key=lambda label: (counts[label], order.get(label, 0)))
    shares = {label: counts[label] / len(train) for label in labels}
    return [Prediction(query.id, best, "ok", shares, text=best) for query in queries]


def text_of(query: Query) -> str:
    """What a classifier reads of a query: its fields, a line each."""
    return "\n".join(query.fields.values())


def chosen(
    queries: Sequence[Query],
    known: Sequence[str],
    shares: Sequence[Sequence[float]],
    labels: Sequence[str],
) -> list[Prediction]:
    """Predictions from class probabilities.

    Args:
        queries: what was answered.
        known: the labels of the columns.
        shares: a row a query, a column a known label.
        labels: the task's label set; a label that is not known has probability 0.
    """
    found = []
    for query, row in zip(queries, shares, strict=True):
        of = dict.fromkeys(labels, 0.0) | {k: float(s) for k, s in zip(known, row, strict=True)}
        best = max(known, key=lambda label: of[label])
        found.append(Prediction(query.id, best, "ok", of, text=best))
    return found

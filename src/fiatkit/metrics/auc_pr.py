"""Area under the precision-recall curve: average precision, equal scores entering together.

As scikit-learn's average_precision_score; our definition, since no official code exists. The
positive class is the label "true" where there is one, else the first label. Undefined without
positives, and for recipes that give no probabilities. A failed row counts with probability 0 if
positive and 1 if negative.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np

from fiatkit.errors import DataError
from fiatkit.records import ScoredRow

LABEL = "AUC-PR"
ANSWERS = ("label",)


def positive_label(labels: Sequence[str]) -> str:
    """Which label counts as positive. Raises DataError without a label set."""
    if not labels:
        raise DataError("AUC-PR needs a task with a label set.")
    return "true" if "true" in labels else labels[0]


def defined(rows: Sequence[ScoredRow], labels: Sequence[str]) -> bool:
    """Whether the recipe gives probabilities: some row has them, and no good row lacks them."""
    positive_label(labels)
    given = [r.prediction.probabilities is not None for r in rows if r.prediction.status == "ok"]
    return bool(given) and all(given)


def detail(rows: Sequence[ScoredRow], labels: Sequence[str]) -> dict[str, Any]:
    """The positive label and its share, without which the area says little."""
    label = positive_label(labels)
    share = sum(r.example.target == label for r in rows) / len(rows)
    return {"positive": label, "positive_share": share}


def weighted(
    rows: Sequence[ScoredRow],
    weights: np.ndarray,
    labels: Sequence[str],
    positive: str | None = None,
) -> np.ndarray:
    """Average precision for each weighting of the rows.

    Args:
        rows: n rows.
        weights: [resamples, n], how often each row counts.
        labels: the task's label set.
        positive: the positive label; None for the convention.

    Returns:
        [resamples], 0 to 100; NaN where there is no positive.
    """
    label = positive_label(labels) if positive is None else positive
    truth = np.array([r.example.target == label for r in rows])
    scores = np.array([probability(row, label) for row in rows])
    return np.asarray(100 * average_precision(truth, scores, weights))


def average_precision(truth: np.ndarray, scores: np.ndarray, weights: np.ndarray) -> np.ndarray:
    """Sum over distinct thresholds of the recall gained times the precision there.

    Args:
        truth: [n], whether each row is positive.
        scores: [n], higher for what is taken first.
        weights: [resamples, n].

    Returns:
        [resamples], 0 to 1; NaN where no positive has weight.
    """
    order = np.argsort(-scores, kind="stable")
    scores, truth, weights = scores[order], truth[order], weights[:, order]
    ends = np.append(np.flatnonzero(np.diff(scores)), len(scores) - 1)
    hits = np.cumsum(weights * truth, axis=1)[:, ends]
    taken = np.cumsum(weights, axis=1)[:, ends]
    precision = np.divide(hits, taken, where=taken > 0, out=np.zeros_like(hits))
    gained = np.diff(hits, axis=1, prepend=0)
    positives = hits[:, -1]
    total = (gained * precision).sum(axis=1)
    undefined = np.full(len(weights), np.nan)
    return np.asarray(np.divide(total, positives, where=positives > 0, out=undefined))


def probability(row: ScoredRow, label: str) -> float:
    """The probability of the positive label; the worst one for a row that failed."""
    given = row.prediction.probabilities
    if row.prediction.status != "ok" or given is None:
        return float(row.example.target != label)
    if label not in given:
        raise DataError(f'The row "{row.example.id}" has no probability of the label "{label}".')
    return float(given[label])

"""Area under the precision-recall curve: average precision, equal scores entering together.

As scikit-learn's average_precision_score. The positive class is the label "true" where there is
one, else the first label. Undefined without positives, and for recipes that give no
probabilities. A failed row counts with probability 0 if positive and 1 if negative.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from fiatkit.records import ScoredRow

LABEL = "AUC-PR"


def positive_label(labels: Sequence[str]) -> str:
    """Which label counts as positive."""
    return "true" if "true" in labels else labels[0]


def weighted(rows: Sequence[ScoredRow], weights: np.ndarray, labels: Sequence[str]) -> np.ndarray:
    """Average precision for each weighting of the rows.

    Args:
        rows: n rows.
        weights: [resamples, n], how often each row counts.
        labels: the task's label set.

    Returns:
        [resamples], 0 to 100; NaN where there is no positive or no row has probabilities.
    """
    label = positive_label(labels)
    truth = np.array([r.example.target == label for r in rows])
    if all(r.prediction.probabilities is None for r in rows):
        return np.full(len(weights), np.nan)
    scores = np.array(
        [
            float(not truth[i])
            if r.prediction.probabilities is None
            else r.prediction.probabilities[label]
            for i, r in enumerate(rows)
        ]
    )
    order = np.argsort(-scores, kind="stable")
    scores, truth, weights = scores[order], truth[order], weights[:, order]
    ends = np.append(np.flatnonzero(np.diff(scores)), len(scores) - 1)
    hits = np.cumsum(weights * truth, axis=1)[:, ends]
    taken = np.cumsum(weights, axis=1)[:, ends]
    precision = np.divide(hits, taken, where=taken > 0, out=np.zeros_like(hits))
    gained = np.diff(hits, axis=1, prepend=0)
    positives = hits[:, -1]
    total = (gained * precision).sum(axis=1)
    area = np.divide(total, positives, where=positives > 0, out=np.full(len(weights), np.nan))
    return np.asarray(100 * area)

"""Area under the ROC curve: how often a positive row is ranked above a negative one; ties half.

As scikit-learn's roc_auc_score. With two labels the positive class is `auc_pr`'s; with more, the
unweighted mean of each label against the rest, over the labels that occur. A failed row has the
worst probability.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np

from fiatkit.metrics import auc_pr
from fiatkit.records import ScoredRow

LABEL = "AUC-ROC"
ANSWERS = ("label",)


def defined(rows: Sequence[ScoredRow], labels: Sequence[str]) -> bool:
    """Whether the recipe gives probabilities: some row has them, and no good row lacks them."""
    return auc_pr.defined(rows, labels)


def detail(rows: Sequence[ScoredRow], labels: Sequence[str]) -> dict[str, Any]:
    """With two labels, the positive one and its share."""
    return auc_pr.detail(rows, labels) if len(labels) == 2 else {}


def weighted(rows: Sequence[ScoredRow], weights: np.ndarray, labels: Sequence[str]) -> np.ndarray:
    """Area for each weighting of the rows.

    Args:
        rows: n rows.
        weights: [resamples, n], how often each row counts.
        labels: the task's label set.

    Returns:
        [resamples], 0 to 100; NaN where no label has both positives and negatives.
    """
    wanted = [auc_pr.positive_label(labels)] if len(labels) == 2 else list(labels)
    areas = np.stack([_area(rows, weights, label) for label in wanted])
    there = np.isfinite(areas)
    count = there.sum(axis=0)
    undefined = np.full(len(weights), np.nan)
    total = np.where(there, areas, 0.0).sum(axis=0)
    return np.asarray(100 * np.divide(total, count, where=count > 0, out=undefined))


def _area(rows: Sequence[ScoredRow], weights: np.ndarray, label: str) -> np.ndarray:
    """One label against the rest, 0 to 1 [resamples]; NaN where a side is empty."""
    truth = np.array([r.example.target == label for r in rows])
    scores = np.array([auc_pr.probability(row, label) for row in rows])
    order = np.argsort(scores, kind="stable")
    scores, truth, weights = scores[order], truth[order], weights[:, order]
    starts = np.append(0, np.flatnonzero(np.diff(scores)) + 1)
    positive = np.add.reduceat(weights * truth, starts, axis=1)
    negative = np.add.reduceat(weights * ~truth, starts, axis=1)
    below = np.cumsum(negative, axis=1) - negative
    won = (positive * (below + negative / 2)).sum(axis=1)
    pairs = positive.sum(axis=1) * negative.sum(axis=1)
    undefined = np.full(len(weights), np.nan)
    return np.asarray(np.divide(won, pairs, where=pairs > 0, out=undefined))

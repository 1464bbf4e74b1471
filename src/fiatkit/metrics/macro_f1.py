"""Macro F1: the unweighted mean of each label's F1, over the labels that occur in the targets.

As scikit-learn's f1_score(average="macro") with those labels. A failed row is a false negative of
its target and no false positive of any label; an answer outside the label set likewise.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from fiatkit.metrics._rows import f1_by_label
from fiatkit.records import ScoredRow

LABEL = "Macro F1"
ANSWERS = ("label",)


def weighted(rows: Sequence[ScoredRow], weights: np.ndarray, labels: Sequence[str]) -> np.ndarray:
    """Macro F1 for each weighting of the rows.

    Args:
        rows: n rows.
        weights: [resamples, n], how often each row counts.
        labels: not needed: those that occur in the targets with some weight count.

    Returns:
        [resamples], 0 to 100.
    """
    f1, wanted = f1_by_label(rows, weights)
    counted = (wanted > 0).sum(axis=1)
    undefined = np.full(len(weights), np.nan)
    mean = np.divide(f1.sum(axis=1), counted, where=counted > 0, out=undefined)
    return np.asarray(100 * mean)

"""Unweighted mean of each label's F1, where a row may have several labels or none.

As scikit-learn's f1_score(average="macro") on the matrix of rows by labels, over the labels that
occur in the targets. Answers are written as for `multilabel_f1`.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from fiatkit.metrics.multilabel_f1 import label_sets
from fiatkit.records import ScoredRow

LABEL = "Macro F1 (several labels)"
ANSWERS = ("labels",)


def weighted(rows: Sequence[ScoredRow], weights: np.ndarray, labels: Sequence[str]) -> np.ndarray:
    """Macro F1 for each weighting of the rows.

    Args:
        rows: n rows.
        weights: [resamples, n], how often each row counts.
        labels: not needed: those that occur in the targets with some weight count.

    Returns:
        [resamples], 0 to 100; NaN where no target names a label.
    """
    sets = label_sets(rows)
    names = sorted(set().union(*(wanted for wanted, _ in sets)))
    if not names:
        return np.full(len(weights), np.nan)
    is_target = np.array([[name in wanted for name in names] for wanted, _ in sets])
    is_answer = np.array([[name in given for name in names] for _, given in sets])
    hits = weights @ (is_target & is_answer)
    wanted, given = weights @ is_target, weights @ is_answer
    f1 = np.divide(2 * hits, wanted + given, where=wanted > 0, out=np.zeros_like(hits))
    counted = (wanted > 0).sum(axis=1)
    undefined = np.full(len(weights), np.nan)
    return np.asarray(100 * np.divide(f1.sum(axis=1), counted, where=counted > 0, out=undefined))

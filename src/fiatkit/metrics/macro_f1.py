"""Macro F1: the unweighted mean of each label's F1, over the labels that occur in the targets.

As scikit-learn's f1_score(average="macro") with those labels. A failed row is a false negative of
its target.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from fiatkit.records import ScoredRow

LABEL = "Macro F1"


def weighted(rows: Sequence[ScoredRow], weights: np.ndarray, labels: Sequence[str]) -> np.ndarray:
    """Macro F1 for each weighting of the rows.

    Args:
        rows: n rows.
        weights: [resamples, n], how often each row counts.
        labels: not needed: those that occur in the targets count.

    Returns:
        [resamples], 0 to 100.
    """
    targets = np.array([r.example.target for r in rows], dtype=object)
    answers = np.array([r.prediction.answer or "" for r in rows], dtype=object)
    scores, present = [], []
    none = np.zeros(len(weights))
    for label in sorted(set(targets)):
        is_target, is_answer = targets == label, answers == label
        hits = weights @ (is_target & is_answer)
        wanted, given = weights @ is_target, weights @ is_answer
        scores.append(np.divide(2 * hits, wanted + given, where=wanted > 0, out=none.copy()))
        present.append(wanted > 0)
    counted = np.sum(present, axis=0)
    total = np.sum(scores, axis=0)
    score = np.divide(total, counted, where=counted > 0, out=np.full(len(weights), np.nan))
    return np.asarray(100 * score)

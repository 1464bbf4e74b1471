"""Macro F1: the unweighted mean of each label's F1, over the labels that occur in the targets.

As scikit-learn's f1_score(average="macro") with those labels. A failed row is a false negative of
its target and no false positive of any label; an answer outside the label set likewise.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from fiatkit.metrics._rows import answer_of
from fiatkit.records import ScoredRow

LABEL = "Macro F1"


def weighted(rows: Sequence[ScoredRow], weights: np.ndarray, labels: Sequence[str]) -> np.ndarray:
    """Macro F1 for each weighting of the rows.

    Args:
        rows: n rows.
        weights: [resamples, n], how often each row counts.
        labels: not needed: those that occur in the targets with some weight count.

    Returns:
        [resamples], 0 to 100.
    """
    names = sorted({row.example.target for row in rows})
    number = {name: index for index, name in enumerate(names)}
    target = np.array([number[row.example.target] for row in rows])
    answers = [answer_of(row) for row in rows]
    answer = np.array([-1 if a is None else number.get(a, -1) for a in answers])
    is_target = target[:, None] == np.arange(len(names))
    is_answer = answer[:, None] == np.arange(len(names))
    hits = weights @ (is_target & is_answer)
    wanted, given = weights @ is_target, weights @ is_answer
    f1 = np.divide(2 * hits, wanted + given, where=wanted > 0, out=np.zeros_like(hits))
    counted = (wanted > 0).sum(axis=1)
    undefined = np.full(len(weights), np.nan)
    mean = np.divide(f1.sum(axis=1), counted, where=counted > 0, out=undefined)
    return np.asarray(100 * mean)

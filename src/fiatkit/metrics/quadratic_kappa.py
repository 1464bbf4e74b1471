"""Quadratic weighted kappa of ordered labels, as scikit-learn's cohen_kappa_score does it.

The labels' order is the task's. 100 is perfect agreement, 0 is chance, below is worse. A failed
row, or an answer outside the set, counts as the label farthest from its target.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from fiatkit.errors import DataError
from fiatkit.metrics._rows import answer_of
from fiatkit.records import ScoredRow

LABEL = "Quadratic weighted kappa"
ANSWERS = ("label",)


def weighted(rows: Sequence[ScoredRow], weights: np.ndarray, labels: Sequence[str]) -> np.ndarray:
    """Kappa for each weighting of the rows.

    Args:
        rows: n rows.
        weights: [resamples, n], how often each row counts.
        labels: the task's label set, in order.

    Returns:
        [resamples], at most 100; NaN where targets and answers are all one label.

    Raises:
        DataError: the task has no label set.
    """
    if not labels:
        raise DataError("Quadratic weighted kappa needs a task with a label set, in order.")
    place = {name: index for index, name in enumerate(labels)}
    target = np.array([place[row.example.target] for row in rows])
    farthest = np.where(target * 2 >= len(labels) - 1, 0, len(labels) - 1)
    answer = np.array(
        [place.get(answer_of(row) or "", far) for row, far in zip(rows, farthest, strict=True)]
    )
    steps = np.arange(len(labels))
    seen = weights @ (target - answer) ** 2
    targets = weights @ (target[:, None] == steps)
    answers = weights @ (answer[:, None] == steps)
    by_chance = np.einsum("ri,ij,rj->r", targets, (steps[:, None] - steps) ** 2, answers)
    by_chance = by_chance / np.maximum(weights.sum(axis=1), 1)
    undefined = np.full(len(weights), np.nan)
    return np.asarray(100 * (1 - np.divide(seen, by_chance, where=by_chance > 0, out=undefined)))

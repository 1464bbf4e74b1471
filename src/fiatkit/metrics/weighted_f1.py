"""Weighted F1: each label's F1, weighted by how often the label occurs in the targets.

As scikit-learn's f1_score(average="weighted"), which AfriSenti's scorer uses (there on 0 to 1). A
failed row is a false negative of its target and no false positive of any label.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from fiatkit.metrics._rows import f1_by_label
from fiatkit.records import ScoredRow

LABEL = "Weighted F1"
ANSWERS = ("label",)


def weighted(rows: Sequence[ScoredRow], weights: np.ndarray, labels: Sequence[str]) -> np.ndarray:
    """Weighted F1 for each weighting of the rows.

    Args:
        rows: n rows.
        weights: [resamples, n], how often each row counts.
        labels: not needed.

    Returns:
        [resamples], 0 to 100; NaN where no row has weight.
    """
    f1, wanted = f1_by_label(rows, weights)
    total = wanted.sum(axis=1)
    undefined = np.full(len(weights), np.nan)
    return np.asarray(
        100 * np.divide((f1 * wanted).sum(axis=1), total, where=total > 0, out=undefined)
    )

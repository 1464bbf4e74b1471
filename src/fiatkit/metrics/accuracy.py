"""Accuracy: 100 x the share of rows whose answer is the target. A failed row is wrong."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from fiatkit.metrics._rows import answer_of
from fiatkit.records import ScoredRow

LABEL = "Accuracy"


def per_row(rows: Sequence[ScoredRow]) -> np.ndarray:
    """100 for a right answer, 0 for any other; shape [n]."""
    return np.array([100.0 * (answer_of(r) == r.example.target) for r in rows])

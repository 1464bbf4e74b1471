"""Exact match of XTREME-UP's question answering: normalised answer equals normalised target.

Definition: google-research/xtreme-up, evaluation/metrics.py. One target a row.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from fiatkit.metrics._rows import answer_of
from fiatkit.metrics.qa_f1 import normalise
from fiatkit.records import ScoredRow

LABEL = "Exact match (XTREME-UP QA)"
ANSWERS = ("text",)


def exact_match(target: str, prediction: str) -> float:
    """100 if both are equal after normalising, else 0."""
    return 100.0 * (normalise(target) == normalise(prediction))


def per_row(rows: Sequence[ScoredRow]) -> np.ndarray:
    """Exact match of each row; a failed row scores 0; shape [n]."""
    pairs = ((r.example.target, answer_of(r)) for r in rows)
    return np.array([0.0 if b is None else exact_match(a, b) for a, b in pairs])

"""Exact match with any of the accepted answers, as SQuAD 1.1, TyDiQA-GoldP and XOR-QA do.

The normaliser is that of `qa_f1`. The best reference here need not be the one of `squad_f1`.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from fiatkit.metrics._rows import best_of_references
from fiatkit.metrics.exact_match import exact_match
from fiatkit.records import ScoredRow

LABEL = "Exact match (SQuAD 1.1, any reference)"
ANSWERS = ("text",)


def per_row(rows: Sequence[ScoredRow]) -> np.ndarray:
    """Exact match of each row; a failed row scores 0; shape [n]."""
    return np.array([best_of_references(row, exact_match) for row in rows])

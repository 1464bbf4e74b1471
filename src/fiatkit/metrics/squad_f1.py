"""Token F1 against the best of all accepted answers, as SQuAD 1.1, TyDiQA-GoldP and XOR-QA do.

Normaliser and F1 are those of `qa_f1`; the maximum is taken over the references. The name TyDiQA-
GoldP belongs to the mean over all its languages but English, which a task says by `averaged`.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from fiatkit.metrics._rows import best_of_references
from fiatkit.metrics.qa_f1 import f1
from fiatkit.records import ScoredRow

LABEL = "F1 (SQuAD 1.1, best of all references)"
ANSWERS = ("text",)


def per_row(rows: Sequence[ScoredRow]) -> np.ndarray:
    """Best F1 of each row; a failed row scores 0; shape [n]."""
    return np.array([best_of_references(row, f1) for row in rows])

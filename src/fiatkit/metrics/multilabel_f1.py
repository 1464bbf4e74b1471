"""F1 of tasks where a row may have several labels or none: all labels' decisions counted at once.

As scikit-learn's f1_score(average="micro") on the matrix of rows by labels. Answers are labels
joined by `; `, or `none`; a label outside the set is a false positive. A failed row names none.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from fiatkit.metrics._rows import answer_of
from fiatkit.records import ScoredRow

LABEL = "Micro F1 (several labels)"
ANSWERS = ("labels",)


def label_sets(rows: Sequence[ScoredRow]) -> list[tuple[set[str], set[str]]]:
    """The labels of each row's target and of its answer."""
    return [(parts(r.example.target), parts(answer_of(r) or "")) for r in rows]


def parts(text: str) -> set[str]:
    """The labels of an answer."""
    found = {piece.strip() for piece in text.split(";")} - {""}
    return set() if found == {"none"} else found


def weighted(rows: Sequence[ScoredRow], weights: np.ndarray, labels: Sequence[str]) -> np.ndarray:
    """Micro F1 for each weighting of the rows.

    Args:
        rows: n rows.
        weights: [resamples, n], how often each row counts.
        labels: not needed.

    Returns:
        [resamples], 0 to 100; NaN where neither targets nor answers name a label.
    """
    sets = label_sets(rows)
    hits = weights @ np.array([float(len(wanted & given)) for wanted, given in sets])
    total = weights @ np.array([float(len(wanted) + len(given)) for wanted, given in sets])
    undefined = np.full(len(weights), np.nan)
    return np.asarray(100 * np.divide(2 * hits, total, where=total > 0, out=undefined))

"""Span F1 of XTREME-UP's named-entity recognition, over all labels of a language at once.

Definition: google-research/xtreme-up, evaluation/metrics.py. Answers are written `LABEL: entity`,
joined by ` $$ `. Pieces without exactly one colon count on neither side; a match is exact, by
label and entity, each gold item used once; positions play no part. What looks odd (an entity with
a colon never counts, a set without any entity scores 0) is the definition.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence

import numpy as np

from fiatkit.metrics._rows import answer_of
from fiatkit.records import ScoredRow

LABEL = "Span F1 (XTREME-UP NER)"
ANSWERS = ("entities",)
DELIMITER = " $$ "
EPSILON = 1e-13


def spans(text: str) -> Counter[tuple[str, str]]:
    """The (label, entity) pairs of an answer."""
    pieces = (piece.strip().split(":") for piece in text.split(DELIMITER))
    return Counter((p[0].strip(), p[1].strip()) for p in pieces if len(p) == 2)


def counts(target: str, prediction: str) -> tuple[int, int, int]:
    """True positives, false positives and false negatives of one row."""
    wanted, given = spans(target), spans(prediction)
    hits = sum((wanted & given).values())
    return hits, sum(given.values()) - hits, sum(wanted.values()) - hits


def weighted(rows: Sequence[ScoredRow], weights: np.ndarray, labels: Sequence[str]) -> np.ndarray:
    """Span F1 for each weighting of the rows; a failed row names no entity.

    Args:
        rows: n rows.
        weights: [resamples, n], how often each row counts.
        labels: not needed.

    Returns:
        [resamples], 0 to 100.
    """
    table = np.array([counts(r.example.target, answer_of(r) or "") for r in rows], dtype=float)
    hits, wrong, missed = (weights @ table).T
    precision = hits / (hits + wrong + EPSILON)
    recall = hits / (hits + missed + EPSILON)
    return np.asarray(100 * 2 * precision * recall / (precision + recall + EPSILON))

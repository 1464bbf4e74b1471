"""chrF of free text by sacrebleu (chrF2: six-character n-grams, no words); whole-corpus score.

Every accepted reference counts as sacrebleu does it: the best one for each row. A failed row
wrote an empty text. The signature is printed with the score.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np

from fiatkit.metrics._rows import answer_of
from fiatkit.records import ScoredRow

LABEL = "chrF (sacrebleu)"
ANSWERS = ("text",)


def detail(rows: Sequence[ScoredRow], labels: Sequence[str]) -> dict[str, Any]:
    """sacrebleu's signature."""
    metric, _ = _counted(rows)
    return {"signature": str(metric.get_signature())}


def weighted(rows: Sequence[ScoredRow], weights: np.ndarray, labels: Sequence[str]) -> np.ndarray:
    """chrF of the corpus for each weighting of the rows.

    Args:
        rows: n rows.
        weights: [resamples, n], how often each row counts.
        labels: not needed.

    Returns:
        [resamples], 0 to 100.
    """
    metric, counts = _counted(rows)
    return np.array([metric._compute_f_score(list(total)) for total in weights @ counts])


def _counted(rows: Sequence[ScoredRow]) -> tuple[Any, np.ndarray]:
    """sacrebleu's metric, and its n-gram counts of each row [n, 18].

    Its public functions score one corpus; resampling needs the counts, which it keeps in methods
    of its own with a leading underscore.
    """
    from sacrebleu.metrics.chrf import CHRF

    metric = CHRF()
    most = max(len(row.example.references) for row in rows)
    streams = [
        [r.example.references[i] if i < len(r.example.references) else None for r in rows]
        for i in range(most)
    ]
    answers = [answer_of(row) or "" for row in rows]
    return metric, np.array(metric._extract_corpus_statistics(answers, streams), dtype=float)

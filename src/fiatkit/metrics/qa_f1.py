"""Token F1 of XTREME-UP's question answering, whatever the language.

Definition: google-research/xtreme-up, evaluation/metrics.py: lower case; ASCII punctuation
deleted; English articles blanked; split on white space; F1 of the two bags of tokens. One target
a row, "No Answer" an ordinary string. What looks odd (no Unicode normalisation, two empty strings
score 0) is the definition.
"""

from __future__ import annotations

import re
import string
from collections import Counter
from collections.abc import Sequence

import numpy as np

from fiatkit.metrics._rows import answer_of
from fiatkit.records import ScoredRow

LABEL = "F1 (XTREME-UP QA)"
ANSWERS = ("text",)
_NO_PUNCTUATION = str.maketrans("", "", string.punctuation)


def normalise(text: str) -> str:
    """The official normaliser."""
    text = text.lower().translate(_NO_PUNCTUATION)
    return " ".join(re.sub(r"\b(a|an|the)\b", " ", text).split())


def f1(target: str, prediction: str) -> float:
    """F1 of two answers, 0 to 100."""
    wanted, given = normalise(target).split(), normalise(prediction).split()
    common = sum((Counter(wanted) & Counter(given)).values())
    if not common:
        return 0.0
    precision, recall = common / len(given), common / len(wanted)
    return 100 * 2 * precision * recall / (precision + recall)


def per_row(rows: Sequence[ScoredRow]) -> np.ndarray:
    """F1 of each row; a failed row scores 0; shape [n]."""
    pairs = ((r.example.target, answer_of(r)) for r in rows)
    return np.array([0.0 if b is None else f1(a, b) for a, b in pairs])

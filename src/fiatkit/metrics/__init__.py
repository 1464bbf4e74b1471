"""Scores, one file each, with intervals and paired differences that respect groups.

A metric's file has `LABEL` and either `per_row(rows)`, when the score is a mean of row values, or
`weighted(rows, weights)`, when it is a score of the whole set. All scores are 0 to 100.
"""

from fiatkit.metrics._intervals import Difference, corpus, difference, evaluate, label_of, spread

__all__ = ["Difference", "corpus", "difference", "evaluate", "label_of", "spread"]

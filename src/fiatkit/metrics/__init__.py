"""Scores of predictions against targets, all 0 to 100, with intervals and tests by whole groups.

A file of this room is a metric. It has a `LABEL` and one of

- `per_row(rows) -> [n]`, where the score is the mean of row values;
- `weighted(rows, weights [resamples, n], labels) -> [resamples]`, the score of the whole set for
  each weighting of its rows, NaN where it is undefined;

and may have `defined(rows, labels)`, whether a recipe gives what the metric needs, and
`detail(rows, labels)`, what must be printed with the score.
"""

from fiatkit.metrics._interval import Estimate
from fiatkit.metrics._measure import row_values
from fiatkit.metrics._permutation import Permutation, by_signs, permutation_test
from fiatkit.metrics._scores import (
    Difference,
    Resampled,
    corpus,
    difference,
    evaluate,
    label_of,
    ratio,
    resample,
)
from fiatkit.metrics._tests import McNemar, holm, mcnemar

__all__ = [
    "Difference",
    "Estimate",
    "McNemar",
    "Permutation",
    "Resampled",
    "by_signs",
    "corpus",
    "difference",
    "evaluate",
    "holm",
    "label_of",
    "mcnemar",
    "permutation_test",
    "ratio",
    "resample",
    "row_values",
]

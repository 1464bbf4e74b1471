"""Scores of predictions against targets, all 0 to 100, with intervals clustered by group.

A file of this room is a metric. It has a `LABEL` and one of

- `per_row(rows) -> [n]`, where the score is the mean of row values;
- `weighted(rows, weights [resamples, n], labels) -> [resamples]`, the score of the whole set for
  each weighting of its rows, NaN where it is undefined;

and may have `defined(rows, labels)`, whether a recipe gives what the metric needs, and
`detail(rows, labels)`, what must be printed with the score.
"""

from fiatkit.metrics._intervals import (
    Difference,
    corpus,
    difference,
    evaluate,
    label_of,
    row_values,
    spread,
)

__all__ = [
    "Difference",
    "corpus",
    "difference",
    "evaluate",
    "label_of",
    "row_values",
    "spread",
]

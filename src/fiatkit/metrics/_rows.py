"""What every metric asks of scored rows: that they are sound, and what counts as the answer."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence

import numpy as np

from fiatkit.errors import DataError
from fiatkit.records import ScoredRow


def answer_of(row: ScoredRow) -> str | None:
    """The row's answer; None for a failed or skipped row, whatever it wrote."""
    return row.prediction.answer if row.prediction.status == "ok" else None


def check(rows: Sequence[ScoredRow]) -> None:
    """Refuse rows that cannot be scored.

    Raises:
        DataError: no rows, an id twice, a prediction beside another row's example, or a
            probability that is not a finite number.
    """
    if not rows:
        raise DataError("There are no rows to score.")
    seen: set[str] = set()
    for row in rows:
        identity = row.example.id
        if identity in seen:
            raise DataError(f'Two rows to score have the same id "{identity}".')
        seen.add(identity)
        if identity != row.prediction.query_id:
            raise DataError(
                f'The prediction of "{row.prediction.query_id}" stands beside the row "{identity}".'
            )
        for label, share in (row.prediction.probabilities or {}).items():
            if not math.isfinite(share):
                raise DataError(
                    f'The row "{identity}" has a probability of "{label}" that is no number: '
                    f"{share}."
                )


def check_same(lists: Sequence[Sequence[ScoredRow]]) -> None:
    """Refuse lists, each sorted by id, that are not predictions for the very same test rows.

    Raises:
        DataError: naming an id that one list lacks, or whose target or group differ.
    """
    first = lists[0]
    for other in lists[1:]:
        ours = {row.example.id for row in first}
        theirs = {row.example.id for row in other}
        odd = sorted(ours ^ theirs)
        if odd:
            raise DataError(
                "Two recipes can be compared on the same test rows only; "
                f'{len(odd)} rows stand on one side alone, such as "{odd[0]}".'
            )
        for a, b in zip(first, other, strict=True):
            mine, its = a.example, b.example
            if (mine.target, mine.group, mine.query.language) != (
                its.target,
                its.group,
                its.query.language,
            ):
                raise DataError(
                    f'The row "{mine.id}" has another target, group or language on the other side.',
                    "Two recipes can be compared on the same test rows only.",
                )


def best_of_references(row: ScoredRow, score: Callable[[str, str], float]) -> float:
    """The best `score(reference, answer)` over all accepted answers; 0 for a failed row."""
    answer = answer_of(row)
    if answer is None:
        return 0.0
    return max(score(reference, answer) for reference in row.example.references)


def f1_by_label(rows: Sequence[ScoredRow], weights: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """F1 of each label that occurs in the targets, and how often it does, for each weighting.

    Args:
        rows: n rows.
        weights: [resamples, n], how often each row counts.

    Returns:
        F1, 0 to 1, and the targets' counts, both [resamples, labels by name]. F1 is 0 where the
        label occurs in no target of the resample.
    """
    names = sorted({row.example.target for row in rows})
    number = {name: index for index, name in enumerate(names)}
    target = np.array([number[row.example.target] for row in rows])
    answers = [answer_of(row) for row in rows]
    answer = np.array([-1 if a is None else number.get(a, -1) for a in answers])
    is_target = target[:, None] == np.arange(len(names))
    is_answer = answer[:, None] == np.arange(len(names))
    hits = weights @ (is_target & is_answer)
    wanted, given = weights @ is_target, weights @ is_answer
    return np.divide(2 * hits, wanted + given, where=wanted > 0, out=np.zeros_like(hits)), wanted

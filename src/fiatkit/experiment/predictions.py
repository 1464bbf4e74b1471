"""A file of predictions, ours or another system's, to predictions by id; matched by id, never by
order."""

from __future__ import annotations

import math
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import Any

from fiatkit.errors import DataError
from fiatkit.files import read_jsonl, similar_file
from fiatkit.records import Prediction
from fiatkit.visible import one_line

ROW = 'A row is {"id": ..., "answer": ...}, one a line; an answer of null is a row that failed.'


def read_predictions(path: Path) -> dict[str, Prediction]:
    """Read JSON lines of predictions.

    Raises:
        DataError: the file cannot be read, holds no row, answers an id twice, or a row is not
            what a prediction may be; with its number.
    """
    found: dict[str, Prediction] = {}
    try:
        for number, value in enumerate(read_jsonl(path), 1):
            prediction = _prediction(value, f'"{path}", row {number}')
            if prediction.query_id in found:
                raise DataError(
                    f'"{path}", row {number}: the id "{prediction.query_id}" was there before.',
                    "Predictions are matched by id; keep one row for each.",
                )
            found[prediction.query_id] = prediction
    except OSError as error:
        raise DataError(
            f'Cannot read "{path}": {error.strerror or error}.', similar_file(path)
        ) from None
    except (ValueError, RecursionError) as error:
        reason = str(error).split(": line ", 1)[0]
        raise DataError(f'"{path}", row {len(found) + 1} is not JSON: {reason}.', ROW) from None
    if not found:
        raise DataError(f'"{path}" holds no predictions.', ROW)
    return found


def predictions_for(path: Path, ids: Sequence[str], rows: str) -> list[Prediction]:
    """Read a prediction for each of `ids`, in their order.

    Args:
        path: JSON lines of predictions, in any order.
        ids: of the rows that are scored.
        rows: what these are called in messages.

    Raises:
        DataError: as `read_predictions`; or the file answers other rows, or not all of them.
    """
    found = read_predictions(path)
    known = set(ids)
    if unknown := [name for name in found if name not in known]:
        raise DataError(
            f'"{path}" answers {len(unknown)} ids that are not in {rows}, such as "{unknown[0]}".',
            "Predictions are matched by id, never by order.",
        )
    if missing := [name for name in ids if name not in found]:
        raise DataError(
            f'"{path}" has no prediction for {len(missing)} of the {len(ids)} ids of {rows}, '
            f'such as "{missing[0]}".',
            "A row that failed keeps its id, with an answer of null; it counts as wrong.",
        )
    return [found[name] for name in ids]


def no_labels(found: Iterable[Prediction], labels: Sequence[str] | None) -> str:
    """How many answers are none of the labels, with one of them, in words; empty if none is."""
    answers = [p.answer for p in found if p.status == "ok" and p.answer is not None]
    strange = [answer for answer in answers if labels and answer not in labels]
    if not strange:
        return ""
    one = one_line(strange[0])[:40]
    if len(strange) == 1:
        return f'1 answer, "{one}", is no label of the task; it counts as wrong'
    return f'{len(strange)} answers are no label of the task, e.g. "{one}"; they count as wrong'


def _prediction(value: Any, place: str) -> Prediction:
    """One row, each value of it looked at. Raises DataError."""
    if not isinstance(value, dict) or "id" not in value:
        raise DataError(f'{place}: no field "id".', "Predictions are matched by id.")
    if not value.keys() & {"answer", "prediction", "status"}:
        raise DataError(f'{place}: no field "answer"; there are {", ".join(value)}.', ROW)
    answer = value.get("answer", value.get("prediction"))
    if not _is_text_or_number(answer) and answer is not None:
        raise DataError(
            f"{place}: the answer {str(answer)[:60]!r} is no text.", "Put it into quotes."
        )
    status = value.get("status") or ("ok" if answer is not None else "failed:no_answer")
    if not isinstance(status, str) or status.split(":", 1)[0] not in ("ok", "failed", "skipped"):
        raise DataError(
            f'{place}: the status {str(status)[:60]!r} is none of "ok", "failed:<reason>" and '
            '"skipped:<reason>".',
            "Leave it out: a row with an answer is ok.",
        )
    shares = value.get("probabilities")
    if shares is not None and not (
        isinstance(shares, dict) and all(_is_number(share) for share in shares.values())
    ):
        raise DataError(f"{place}: probabilities should be numbers by label.", "{label: 0.9, ...}")
    return Prediction(
        str(value["id"]),
        None if answer is None else str(answer),
        status,
        shares,
        str(value.get("text") or ""),
        str(value.get("fallback") or ""),
    )


def _is_number(value: Any) -> bool:
    return isinstance(value, int | float) and not isinstance(value, bool) and math.isfinite(value)


def _is_text_or_number(value: Any) -> bool:
    return isinstance(value, str) or _is_number(value)

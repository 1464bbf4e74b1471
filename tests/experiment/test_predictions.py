"""Files of predictions: what they may hold, and what is said of what they may not."""

from pathlib import Path

import pytest

from fiatkit.errors import DataError
from fiatkit.experiment.predictions import read_predictions
from fiatkit.experiment.progress import Silent
from fiatkit.experiment.single import predict_rows


def written(folder: Path, *lines: bytes) -> Path:
    path = folder / "predictions.jsonl"
    path.write_bytes(b"\n".join(lines) + b"\n")
    return path


def test_rows_are_read_by_id(tmp_path: Path) -> None:
    path = written(
        tmp_path,
        b'{"id": 1, "answer": "food"}',
        b'{"id": "2", "prediction": 5, "probabilities": {"5": 0.5}}',
        b'{"id": "3", "answer": null}',
        b'{"id": "4", "answer": null, "status": "skipped:too_long"}',
    )
    found = read_predictions(path)
    assert [(p.answer, p.status) for p in found.values()] == [
        ("food", "ok"),
        ("5", "ok"),
        (None, "failed:no_answer"),
        (None, "skipped:too_long"),
    ]
    assert found["2"].probabilities == {"5": 0.5}


@pytest.mark.parametrize(
    ("lines", "told"),
    [
        ([b'{"id": 1, "answer": "a"}', b'{"id": "1", "answer": "b"}'], 'row 2: the id "1"'),
        ([b'{"answer": "a"}'], 'row 1: no field "id"'),
        ([b'{"id": 1, "label": "a"}'], 'no field "answer"; there are id, label'),
        ([b'{"id": 1, "answer": ["a"]}'], "is no text"),
        ([b'{"id": 1, "answer": true}'], "is no text"),
        ([b'{"id": 1, "answer": NaN}'], "is no text"),
        ([b'{"id": 1, "answer": "a", "status": "fine"}'], "the status 'fine' is none of"),
        ([b'{"id": 1, "answer": "a", "status": ["x"]}'], "is none of"),
        ([b'{"id": 1, "answer": "a", "probabilities": 5}'], "probabilities should be numbers"),
        ([b'{"id": 1, "answer": "a", "probabilities": {"a": "x"}}'], "should be numbers"),
        ([b'{"id": 1, "answer": "a"}', b"{bad"], "row 2 is not JSON"),
        ([b'{"id": 1, "answer": "\xff"}'], "row 1 is not JSON"),
        ([b'{"id": 1, "answer": ' + b"9" * 5000 + b"}"], "row 1 is not JSON"),
        ([b"[" * 100_000], "row 1 is not JSON"),
        ([b""], "holds no predictions"),
    ],
)
def test_what_no_prediction_is_is_told_with_its_row(
    tmp_path: Path, lines: list[bytes], told: str
) -> None:
    with pytest.raises(DataError) as problem:
        read_predictions(written(tmp_path, *lines))
    assert told in str(problem.value)


def test_a_file_that_is_not_there_is_told_once(tmp_path: Path) -> None:
    written(tmp_path)
    with pytest.raises(DataError, match="No such file") as problem:
        read_predictions(tmp_path / "prediction.jsonl")
    assert "predictions.jsonl" in problem.value.hint


def test_mistakes_in_the_rows_are_told_before_the_base_is_loaded(tmp_path: Path) -> None:
    """The base is not where this folder looks for it, which would be told next."""
    folder = Path(__file__).parents[1] / "golden" / "artefacts" / "format-2" / "lora"
    with pytest.raises(DataError, match=r'Cannot read "nope\.csv"'):
        predict_rows(folder, Path("nope.csv"), tmp_path / "out", tmp_path / "store", Silent())

"""Data sets of the hub, loaded by `datasets` itself from a folder, without any network."""

from pathlib import Path
from typing import Any

import pytest

import fiatkit
from fiatkit.data import read_rows
from fiatkit.errors import DataError

datasets: Any = pytest.importorskip("datasets")

TRAIN = [{"id": "1", "text": "a", "label": 1}, {"id": "2", "text": "ሳ", "label": 0}]
TEST = [{"id": "3", "text": None, "label": -1}]


@pytest.fixture
def saved(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A data set of two splits as Parquet files in a folder, and a cache of its own."""
    monkeypatch.setattr(datasets.config, "HF_DATASETS_CACHE", tmp_path / "cache")
    features = datasets.Features(
        id=datasets.Value("string"),
        text=datasets.Value("string"),
        label=datasets.ClassLabel(names=["cold", "warm"]),
    )
    folder = tmp_path / "weather"
    for name, rows in (("train", TRAIN), ("test", TEST)):
        datasets.Dataset.from_list(rows, features=features).to_parquet(folder / f"{name}.parquet")
    return folder


def test_a_split_is_read_with_its_classes_by_name(saved: Path) -> None:
    found = read_rows(Path(f"hub:{saved}:train"))
    assert [dict(row.values) for row in found] == [
        {"id": "1", "text": "a", "label": "warm"},
        {"id": "2", "text": "ሳ", "label": "cold"},
    ]
    assert found[1].place == f"hub:{saved}:train, row 2"
    (row,) = read_rows(Path(f"hub:{saved}:default:test"))
    assert dict(row.values) == {"id": "3", "text": None, "label": None}


def test_the_only_split_needs_no_name(saved: Path) -> None:
    (saved / "test.parquet").unlink()
    assert len(read_rows(Path(f"hub:{saved}"))) == 2


@pytest.mark.parametrize(
    ("rest", "told"),
    [
        ("", "has several splits; there are train, test"),
        (":dev", 'no split "dev"; there are train, test'),
        (":other:train", "Cannot load .*other"),
        (":", "names no data set of the hub"),
        (":a:b:c", "names no data set of the hub"),
    ],
)
def test_what_is_not_there_is_told(saved: Path, rest: str, told: str) -> None:
    with pytest.raises(DataError, match=told):
        read_rows(Path(f"hub:{saved}{rest}"))


def test_a_data_set_that_is_not_there_is_told(saved: Path) -> None:
    with pytest.raises(DataError, match="Cannot load"):
        read_rows(Path(f"hub:{saved / 'nowhere'}:train"))


def test_a_run_file_names_a_data_set_as_it_is_and_a_file_beside_itself(tmp_path: Path) -> None:
    (tmp_path / "run.yaml").write_text(
        "task: sib200\nsmall: {model: x}\ndata: {train: 'hub:owner/name:train', test: test.csv}\n"
    )
    data = fiatkit.read_config(tmp_path / "run.yaml").data
    assert (data.train, data.test) == (Path("hub:owner/name:train"), tmp_path / "test.csv")

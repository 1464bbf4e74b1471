"""What is wrong with the training rows is told by `fiat doctor`, and `fiat tune` stops at it."""

import re
from pathlib import Path

import pytest
from tests.models.tokenizer_families import FAMILIES

from fiatkit.config import RunConfig, read_config
from fiatkit.errors import DataError
from fiatkit.experiment.doctor import examine
from fiatkit.experiment.progress import Silent
from fiatkit.experiment.single import tune_one


@pytest.fixture
def alike(run_folder: Path) -> RunConfig:
    """A run whose two labels are one to its small model, which reads no accents."""
    family = FAMILIES["wordpiece"]()
    family.model().save_pretrained(run_folder / "small")
    family.tokenizer.save_pretrained(run_folder / "small")
    for name in ("task.yaml", "rows.csv"):
        text = (run_folder / name).read_text("utf-8").replace("warm", "te").replace("cold", "té")
        (run_folder / name).write_text(text, "utf-8")
    text = re.sub(r"small: .*", "small: {model: small}", (run_folder / "run.yaml").read_text())
    text = re.sub(r"recipes: .*", "recipes: [instruct]", text)
    (run_folder / "run.yaml").write_text(text)
    return read_config(run_folder / "run.yaml")


def test_doctor_tells_and_tune_stops(
    alike: RunConfig, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    told = 'The labels "te" and "té" have the same tokens in this model.'
    problems = [found.text for found in examine(alike) if found.kind == "problem"]
    assert problems == [f"instruct: {told}"]
    with pytest.raises(DataError, match="Tuning was not begun") as caught:
        tune_one(alike, "instruct", None, 0, tmp_path / "model", Silent())
    assert told in str(caught.value)
    assert not (tmp_path / "model").exists()

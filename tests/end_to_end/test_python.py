"""From Python: the same steps as the commands, with tables in place of files."""

import json
from pathlib import Path

import pandas
import pytest
import yaml

import fiatkit
from fiatkit.errors import SettingsError


def settings(folder: Path) -> dict[str, object]:
    found = yaml.safe_load((folder / "run.yaml").read_text())
    del found["data"]["file"]
    return found | {"recipes": ["icl", "fiat"], "sizes": [16], "seeds": [0]}


def test_compare_fit_predict_with_frames(run_folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(run_folder)
    frame = pandas.read_csv("rows.csv")
    found = fiatkit.compare(settings(run_folder), frames={"file": frame}, progress=False)
    assert [line.recipe for line in found.lines if not line.is_floor] == [
        "icl",
        "icl_constrained",
        "fiat",
    ]
    assert all(line.score is not None for line in found.lines)
    assert found.verdict.startswith("Best: ")
    assert "<svg" in found.report.read_text(encoding="utf-8")

    model = fiatkit.fit(
        settings(run_folder), frames={"file": frame}, size=16, out="model", progress=False
    )
    assert repr(model).startswith("Model('model', task=")
    new = pandas.DataFrame(
        {"id": ["1", "2"], "language": ["en", "es"], "text": ["the sun", "mucho hielo"]}
    )
    answers = model.predict(new, progress=False)
    assert [answer.query_id for answer in answers] == ["1", "2"]
    assert {answer.answer for answer in answers} <= {"warm", "cold"}

    new.to_csv("new.csv", index=False)
    again = fiatkit.load("model").predict("new.csv", progress=False)
    assert [a.answer for a in again] == [a.answer for a in answers]


def test_the_same_settings_as_a_file_and_as_a_dict(run_folder: Path) -> None:
    values = yaml.safe_load((run_folder / "run.yaml").read_text())
    values["task"] = str(run_folder / "task.yaml")
    values["data"]["file"] = str(run_folder / "rows.csv")
    given = fiatkit.read_config(values)
    assert given.fingerprint() == fiatkit.read_config(run_folder / "run.yaml").fingerprint()


def test_a_mistake_in_a_dict_is_told_as_one_in_a_file() -> None:
    with pytest.raises(SettingsError, match='unknown key "smal"') as caught:
        fiatkit.compare({"task": "sib200", "smal": {"model": "x"}})
    assert caught.value.hint == 'Did you mean "small"?'


def test_predictions_become_a_table(run_folder: Path) -> None:
    answers = [fiatkit.Prediction("1", "warm", "ok")]
    assert json.loads(pandas.DataFrame(answers).to_json(orient="records"))[0]["answer"] == "warm"

"""A06: artefacts of every format that was ever written still load and answer as they did."""

import json
from pathlib import Path

import pytest

from fiatkit.api import load
from fiatkit.artefact import FORMAT

GOLDEN = Path(__file__).parents[1] / "golden" / "artefacts"


@pytest.mark.parametrize("kind", ["lora", "full"])
@pytest.mark.parametrize("number", range(1, FORMAT + 1))
def test_A06_an_old_artefact_answers_as_it_did(
    number: int, kind: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    folder = GOLDEN / f"format-{number}"
    monkeypatch.chdir(folder)  # its base was named by a relative path
    model = load(kind, store=tmp_path / "store.sqlite")
    predictions = model.predict("new.csv", progress=False)
    before = [json.loads(line) for line in Path(f"{kind}.jsonl").read_text().splitlines()]
    assert [p.query_id for p in predictions] == [row["id"] for row in before]
    for prediction, row in zip(predictions, before, strict=True):
        assert (prediction.answer, prediction.status) == (row["answer"], row["status"])
        assert prediction.probabilities == pytest.approx(row["probabilities"], abs=1e-5)

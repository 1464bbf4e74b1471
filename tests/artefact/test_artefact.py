"""Artefacts: what is saved answers the same, and what was tampered with is refused."""

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from fiatkit import artefact
from fiatkit.errors import ArtefactError
from fiatkit.models.local import SmallModel
from fiatkit.records import Part, SmallPrompt, TrainingPair
from fiatkit.tuning import TuningSettings, tune

PROMPT = SmallPrompt("q", (Part("query", "the sun"), Part("cue", "\n\nAnswer:")))


@pytest.fixture(params=["lora", "full"])
def saved(
    request: pytest.FixtureRequest, tiny_chat_model: Path, tmp_path: Path
) -> tuple[Path, Any]:
    small = SmallModel.load(str(tiny_chat_model))
    settings = TuningSettings(method=request.param, epochs=3, learning_rate=0.01)
    tune(small, [TrainingPair(PROMPT, "warm")], settings, seed=0)
    folder = tmp_path / "model"
    preparation = {"small": str(tiny_chat_model), "recipe": {"method": request.param}, "note": "é"}
    artefact.save(folder, small, preparation)
    return folder, scores(small)


def scores(small: SmallModel) -> Any:
    encoded = small.encode(PROMPT, max_length=100, reserve=8)
    return small.score_labels([encoded], ["warm", "cold"], batch_tokens=100)


def test_a_loaded_artefact_answers_the_same(saved: tuple[Path, Any]) -> None:
    folder, before = saved
    small, preparation = artefact.load(folder)
    np.testing.assert_array_equal(scores(small), before)
    assert preparation["note"] == "é"
    names = {file.suffix for file in folder.iterdir()}
    assert names == {".json", ".safetensors"}


def flip(folder: Path) -> None:
    file = next(folder.glob("*.safetensors"))
    raw = bytearray(file.read_bytes())
    raw[-1] ^= 1
    file.write_bytes(bytes(raw))


def newer(folder: Path) -> None:
    path = folder / "manifest.json"
    path.write_text(json.dumps(json.loads(path.read_text()) | {"format": 99}))


@pytest.mark.parametrize(
    ("damage", "told"),
    [
        (flip, "was changed"),
        (lambda f: (f / "preparation.json").write_text("{}"), "was changed"),
        (lambda f: (f / "preparation.json").unlink(), "missing or unexpected"),
        (lambda f: (f / "extra.py").write_text("boom"), "missing or unexpected files: extra.py"),
        (lambda f: (f / "manifest.json").unlink(), "is no artefact"),
        (lambda f: (f / "manifest.json").write_text("{"), "is damaged"),
        (newer, "format 99"),
    ],
)
def test_A01_A02_A06_T14_tampering_is_refused(
    saved: tuple[Path, Any], damage: Callable[[Path], object], told: str
) -> None:
    folder, _ = saved
    damage(folder)
    with pytest.raises(ArtefactError, match=told):
        artefact.load(folder)


def test_A11_another_base_is_refused(saved: tuple[Path, Any], tiny_plain_model: Path) -> None:
    folder, _ = saved
    manifest = json.loads((folder / "manifest.json").read_text())
    manifest["small"]["revision"] = "0" * 64
    (folder / "manifest.json").write_text(json.dumps(manifest))
    with pytest.raises(ArtefactError, match="holds other weights"):
        artefact.load(folder)


def test_A04_a_weight_that_is_not_finite_is_never_saved(
    tiny_chat_model: Path, tmp_path: Path
) -> None:
    small = SmallModel.load(str(tiny_chat_model))
    with torch.no_grad():
        next(small.model.parameters())[0, 0] = float("nan")
    with pytest.raises(ArtefactError, match="not finite"):
        artefact.save(tmp_path / "m", small, {"small": "x", "recipe": {"method": "full"}})
    assert not (tmp_path / "m").exists()


def test_a_folder_that_exists_is_not_overwritten(
    saved: tuple[Path, Any], tiny_chat_model: Path
) -> None:
    folder, _ = saved
    with pytest.raises(ArtefactError, match="exists already"):
        artefact.save(folder, SmallModel.load(str(tiny_chat_model)), {"recipe": {"method": "full"}})

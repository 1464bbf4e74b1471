"""fiat verify: what an artefact tells of itself, and that it leaves with 2 where something is wrong."""

import json
import os
import shutil
import warnings
from pathlib import Path

import pytest
from tests.artefact.conftest import reseal
from tests.command import fiat

from fiatkit import artefact
from fiatkit.artefact import manifest
from fiatkit.errors import ArtefactError


def test_verify_tells_what_an_artefact_is(lora: Path) -> None:
    shown = fiat(lora.parent, "verify", "model")
    assert "task: toy" in shown
    assert "labels: warm, cold" in shown
    assert "method lora" in shown
    assert "dev accuracy: 62.0 [54.1, 69.1] on 200 rows" in shown
    assert "large model: none" in shown
    assert "is the one that was tuned" in shown
    assert "3 files, all intact" in shown


def test_verify_shows_where_rows_would_go_and_no_terminal_commands(lora: Path) -> None:
    path = lora / "preparation.json"
    values = json.loads(path.read_text())
    values["large"] = {"provider": "openai_compatible", "model": "m", "base_url": "http://evil/v1"}
    values["task"]["name"] = "toy\x1b[2J"
    values["small"] = "nowhere"
    path.write_text(json.dumps(values))
    reseal(lora)
    shown = fiat(lora.parent, "verify", "model")
    assert "large model: m, at http://evil/v1" in shown
    assert "\x1b" not in shown
    assert 'Its base "nowhere" is not here' in shown


@pytest.mark.parametrize("ref", ["gemma3-270m", "models/chat"])
def test_a_base_that_is_not_here_is_not_fetched_to_verify(lora: Path, ref: str) -> None:
    """Be it one of the catalogue, or a path that could be a name of the hub."""
    path = lora / "preparation.json"
    path.write_text(json.dumps(json.loads(path.read_text()) | {"small": ref}))
    reseal(lora)
    apart = {"FIATKIT_CACHE": str(lora.parent / "cache"), "HF_HUB_OFFLINE": "1"}
    shown = fiat(lora.parent, "verify", "model", **apart)
    assert f'3 files, all intact. Its base "{ref}" is not here' in shown


def test_loading_warns_of_nothing(lora: Path) -> None:
    """Names that libraries will rename are not the user's concern."""
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        artefact.load(lora, device="cpu")


def test_A01_verify_leaves_with_2(lora: Path) -> None:
    (lora / manifest.MANIFEST).write_text("{}")
    assert "is damaged" in fiat(lora.parent, "verify", "model", code=2)


def test_A01_verify_refuses_what_loading_refuses(lora: Path) -> None:
    path = lora / "preparation.json"
    values = json.loads(path.read_text())
    path.write_text(json.dumps(values | {"prompts_version": 9}))
    reseal(lora)
    assert "prompts of version 9" in fiat(lora.parent, "verify", "model", code=2)
    path.write_text(json.dumps(values | {"recipe": values["recipe"] | {"zzz": 1}}))
    reseal(lora)
    assert "a recipe or prices that this" in fiat(lora.parent, "verify", "model", code=2)
    path.write_text(json.dumps(values | {"recipe": values["recipe"] | {"rationale": "large"}}))
    reseal(lora)
    assert "which model writes its rationales" in fiat(lora.parent, "verify", "model", code=2)


def test_A11_verify_reads_every_byte_of_the_base(lora: Path, tiny_chat_model: Path) -> None:
    """Size and time of change say nothing to it."""
    moved = Path(shutil.copytree(tiny_chat_model, lora.parent / "moved"))
    shown = fiat(lora.parent, "verify", "model", "--base", str(moved))
    assert "is the one that was tuned" in shown
    file = moved / "model.safetensors"
    before, raw = file.stat(), bytearray(file.read_bytes())
    raw[-1] ^= 1
    file.write_bytes(raw)
    os.utime(file, ns=(before.st_atime_ns, before.st_mtime_ns))
    with pytest.raises(ArtefactError, match="now holds other weights"):
        artefact.load(lora, base=str(moved))
    shown = fiat(lora.parent, "verify", "model", "--base", str(moved), code=2)
    assert "now holds other weights" in shown

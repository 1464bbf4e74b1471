"""Artefacts: what is saved answers the same, and what was tampered with is refused."""

import json
import os
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from tests.artefact.conftest import file_size_limit, make, reseal, scores
from tests.conftest import CHATML, make_model

from fiatkit import artefact
from fiatkit.artefact import manifest
from fiatkit.errors import ArtefactError, EnvironmentProblem, UnknownNameError
from fiatkit.models.local import SmallModel


def test_a_loaded_artefact_answers_the_same(saved: tuple[Path, Any]) -> None:
    folder, before = saved
    small, preparation = artefact.load(folder, device="cpu")
    np.testing.assert_array_equal(scores(small), before)
    assert preparation["recipe"]["label"] == "é"
    names = {file.suffix for file in folder.iterdir()}
    assert names == {".json", ".safetensors"}


GPT2 = {"n_embd": 32, "n_layer": 2, "n_head": 4, "n_positions": 512}


@pytest.mark.parametrize(
    ("kind", "method", "more"),
    [
        ("GPT2", "lora", GPT2),
        ("GPT2", "ia3", GPT2),
        ("Mixtral", "lora", {"num_local_experts": 2}),
    ],
)
def test_what_peft_sets_by_itself_is_no_reason_to_refuse(
    tmp_path: Path, kind: str, method: str, more: dict[str, Any]
) -> None:
    """Its mark of GPT-2's transposed layers, and experts that are kept as one weight."""
    base = make_model(tmp_path / "base", CHATML, kind, **more)
    before = make(tmp_path / "model", base, method)
    small, _ = artefact.load(tmp_path / "model", device="cpu")
    np.testing.assert_array_equal(scores(small), before)


def test_what_loading_would_refuse_is_not_saved(
    tmp_path: Path, tiny_chat_model: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    keys = artefact.checks.ADAPTER_KEYS - {"r"}
    monkeypatch.setattr(artefact.checks, "ADAPTER_KEYS", keys)
    with pytest.raises(ArtefactError, match='sets "r", which no adapter'):
        make(tmp_path / "model", tiny_chat_model, "lora")
    assert list(tmp_path.iterdir()) == []


def test_weights_that_cannot_be_written_end_as_a_problem_of_the_disk(
    tmp_path: Path, tiny_chat_model: Path
) -> None:
    with file_size_limit(8192), pytest.raises(EnvironmentProblem, match='/model": File too large'):
        make(tmp_path / "model", tiny_chat_model, "lora")
    assert list(tmp_path.iterdir()) == []


def test_the_manifest_tells_what_it_was_made_of(saved: tuple[Path, Any]) -> None:
    found = manifest.read(saved[0])
    assert found.format == 2
    assert found.versions.keys() == {"fiatkit", "python", *manifest.LIBRARIES}
    assert found.scores["dev"]["accuracy"]["low"] == 54.1
    assert found.data == {"rows": 2, "seed": 0}
    assert "tokenizer.json" in found.small["files"]
    assert len(found.small["template_sha256"]) == 64


def flip(pattern: str) -> Callable[[Path], object]:
    def damage(folder: Path) -> None:
        file = next(folder.glob(pattern))
        raw = bytearray(file.read_bytes())
        raw[len(raw) // 2] ^= 1
        file.write_bytes(bytes(raw))

    return damage


def edit_manifest(**values: Any) -> Callable[[Path], object]:
    def damage(folder: Path) -> None:
        path = folder / "manifest.json"
        path.write_text(json.dumps(json.loads(path.read_text()) | values))

    return damage


@pytest.mark.parametrize(
    ("damage", "told"),
    [
        (flip("*.safetensors"), r"safetensors\" was changed"),
        (flip("*config.json"), r"config.json\" was changed"),
        (flip("preparation.json"), r"preparation.json\" was changed"),  # labels and instruction
        (flip("manifest.json"), r"manifest.json\" (was changed|is damaged)|no artefact holds"),
        (edit_manifest(scores={}), r"manifest.json\" was changed"),
        (lambda f: (f / "manifest.json").write_text("{"), "is damaged"),
        (lambda f: (f / "manifest.json").write_text("[" * 100_000), "is damaged"),
        (lambda f: (f / "manifest.json").write_text('{"format": 2, "format": 1}'), "is damaged"),
        (lambda f: (f / "manifest.json").write_text('{"format": true}'), "is damaged"),
        (lambda f: (f / "manifest.json").write_text('{"format": 1}'), "is damaged"),
        (lambda f: (f / "manifest.json").write_text(" " * 5_000_000), "more than 4,194,304 bytes"),
        (lambda f: (f / "manifest.json").unlink(), "is no artefact"),
    ],
)
def test_A01_T14_a_changed_byte_is_refused(
    saved: tuple[Path, Any], damage: Callable[[Path], object], told: str
) -> None:
    damage(saved[0])
    with pytest.raises(ArtefactError, match=told):
        artefact.load(saved[0])


def test_A01_a_file_is_checked_before_it_is_parsed(
    lora: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    flip("*.safetensors")(lora)
    monkeypatch.setattr(
        artefact.checks.weights, "read_header", lambda path: pytest.fail("it was parsed")
    )
    with pytest.raises(ArtefactError, match="was changed"):
        artefact.load(lora)


def named(name: str) -> Callable[[Path], object]:
    """Have the manifest name another file, with a right sum of the manifest itself."""

    def damage(folder: Path) -> None:
        files = dict(manifest.read(folder).files)
        reseal(folder, files=files | {name: files["preparation.json"]})

    return damage


def link(target: str) -> Callable[[Path], object]:
    def damage(folder: Path) -> None:
        (folder / "preparation.json").rename(folder.parent / "moved.json")
        (folder / "preparation.json").symlink_to(target)

    return damage


def fifo(folder: Path) -> None:
    (folder / "preparation.json").unlink()
    os.mkfifo(folder / "preparation.json")


@pytest.mark.parametrize(
    ("damage", "told"),
    [
        (lambda f: (f / "preparation.json").unlink(), "missing or unexpected files: prep"),
        (lambda f: (f / "extra.json").write_text("{}"), "missing or unexpected files: extra.json"),
        (lambda f: (f / ".hidden").write_text(""), "missing or unexpected files: .hidden"),
        (lambda f: (f / "sub").mkdir(), "missing or unexpected files: sub"),
        (lambda f: (f / "a\nb").write_text(""), r"missing or unexpected files: a\\nb"),
        (link("../moved.json"), "not a plain file"),
        (fifo, "not a plain file"),
        (named("../outside.json"), "no artefact holds"),
        (named("/etc/outside.json"), "no artefact holds"),
        (named("a\0b.json"), "no artefact holds"),
        (named("n" * 300 + ".json"), "no artefact holds"),
        (named("é.json"), "no artefact holds"),
        (named("PREPARATION.json"), "differ in case only"),
        (named("Manifest.json"), "differ in case only"),
    ],
)
def test_A02_odd_files_are_refused(lora: Path, damage: Callable[[Path], object], told: str) -> None:
    before = {file.name for file in lora.parent.iterdir()}
    damage(lora)
    with pytest.raises(ArtefactError, match=told):
        artefact.load(lora)
    assert {file.name for file in lora.parent.iterdir()} <= before | {"moved.json"}


@pytest.mark.skipif(os.geteuid() != 0, reason="only root makes device files")
def test_A02_a_device_file_is_refused(lora: Path) -> None:
    (lora / "preparation.json").unlink()
    os.mknod(lora / "preparation.json", 0o600 | 0o020000, os.makedev(1, 5))  # endless zeros
    with pytest.raises(ArtefactError, match="not a plain file"):
        artefact.load(lora)


@pytest.mark.parametrize(
    ("changed", "told"),
    [
        ({"format": 99, "versions": {"fiatkit": "7.1.0"}}, "format 99.*\n.*fiatkit 7.1.0"),
        ({"format": 99, "files": None, "versions": {}}, "format 99.*\n.*newer release"),
        ({"format": 0}, "format 0"),
        ({"required_features": ["mixture"]}, "needs mixture, which fiatkit 0.*\n.*fiatkit 0"),
        ({"method": "unheard_of"}, "does not fit its manifest"),
    ],
)
def test_A06_a_newer_artefact_names_the_release_that_reads_it(
    lora: Path, changed: dict[str, Any], told: str
) -> None:
    reseal(lora, **changed)
    with pytest.raises(ArtefactError, match=told):
        artefact.load(lora)


def edit_small(**values: Any) -> Callable[[Path], object]:
    def damage(folder: Path) -> None:
        small = dict(manifest.read(folder).small) | values
        reseal(folder, small=small)

    return damage


def edit_preparation(**values: Any) -> Callable[[Path], object]:
    """Change values of preparation.json; None takes one away."""

    def damage(folder: Path) -> None:
        path = folder / "preparation.json"
        found = json.loads(path.read_text()) | values
        kept = {key: value for key, value in found.items() if value is not None}
        path.write_text(json.dumps(kept | ({"large": None} if "large" not in kept else {})))
        reseal(folder)

    return damage


@pytest.mark.parametrize(
    ("damage", "told"),
    [
        (edit_small(files=["a"]), 'manifest.json" is damaged'),
        (edit_small(files=None), 'manifest.json" is damaged'),
        (edit_small(revision=None), 'manifest.json" is damaged'),
        (lambda f: reseal(f, scores={"dev": {"accuracy": 5}}), 'manifest.json" is damaged'),
        (lambda f: reseal(f, scores={"dev": {"f1": {"value": "x"}}}), 'manifest.json" is damaged'),
        (lambda f: reseal(f, data=[1]), 'manifest.json" is damaged'),
        (lambda f: reseal(f, data={"rows": 1}), 'manifest.json" is damaged'),
        (lambda f: reseal(f, versions="1"), 'manifest.json" is damaged'),
        (lambda f: reseal(f, large="x"), 'manifest.json" is damaged'),
        (edit_manifest(format=1), 'manifest.json" was changed'),  # its sum stands in it still
        (edit_preparation(small=None), "its preparation lacks small"),
        (edit_preparation(task=None), "its preparation lacks task"),
        (edit_preparation(task=[]), "holds a task that this release does not know"),
        (edit_preparation(small=5), 'is damaged: "small"'),
        (edit_preparation(max_length="x"), 'is damaged: "max_length"'),
        (edit_preparation(large=3), 'is damaged: "large'),
        (edit_preparation(truncate=3), 'is damaged: "truncate"'),
        (edit_preparation(prices=3), 'is damaged: "prices"'),
        (edit_preparation(tuned_on=[1]), 'is damaged: "tuned_on'),
        (edit_preparation(recipe={"method": "lora"}), 'is damaged: "recipe.name"'),
        (edit_preparation(prompts_version=9), "tuned with prompts of version 9"),
    ],
)
def test_A01_values_of_another_kind_are_damage(
    lora: Path, damage: Callable[[Path], object], told: str
) -> None:
    """Also where every sum is right."""
    damage(lora)
    with pytest.raises(ArtefactError, match=told):
        artefact.read(lora)


def test_A11_other_weights_under_the_same_name_are_refused(
    lora: Path, tiny_plain_model: Path, tiny_chat_model: Path, tmp_path: Path
) -> None:
    moved = Path(shutil.copytree(tiny_chat_model, tmp_path / "base"))
    artefact.load(lora, device="cpu", base=str(moved))  # the same, elsewhere
    flip("model.safetensors")(moved)
    with pytest.raises(ArtefactError, match="now holds other weights"):
        artefact.load(lora, base=str(moved))
    with pytest.raises(ArtefactError, match="now holds other weights"):
        artefact.load(lora, base=str(tiny_plain_model))
    with pytest.raises(UnknownNameError):
        artefact.load(lora, base=str(tmp_path / "nowhere"))


@pytest.mark.parametrize("name", ["tokenizer.json", "chat_template.jinja", "config.json"])
def test_A01_A07_A11_another_tokenizer_or_template_of_the_base_is_refused(
    lora: Path, tiny_chat_model: Path, tmp_path: Path, name: str
) -> None:
    moved = Path(shutil.copytree(tiny_chat_model, tmp_path / "base"))
    (moved / name).write_text((moved / name).read_text() + "\n")
    with pytest.raises(ArtefactError, match=f"with other files than are there now: {name}"):
        artefact.load(lora, base=str(moved))


def test_A07_the_template_itself_is_pinned(
    lora: Path, tiny_chat_model: Path, tmp_path: Path
) -> None:
    """Without sums of files, as for a model of the catalogue."""
    small = dict(manifest.read(lora).small)
    reseal(lora, small=small | {"files": {}, "template_sha256": "0" * 64})
    with pytest.raises(ArtefactError, match="another chat template"):
        artefact.load(lora)


def test_A04_a_weight_that_is_not_finite_is_never_saved(
    tiny_chat_model: Path, tmp_path: Path
) -> None:
    small = SmallModel.load(str(tiny_chat_model))
    with torch.no_grad():
        next(small.model.parameters())[0, 0] = float("nan")
    with pytest.raises(ArtefactError, match="not finite"):
        artefact.save(tmp_path / "m", small, {"small": "x", "recipe": {"method": "full"}})
    assert not (tmp_path / "m").exists()


def test_a_folder_that_exists_is_not_overwritten(lora: Path, tiny_chat_model: Path) -> None:
    with pytest.raises(ArtefactError, match="exists already"):
        artefact.save(lora, SmallModel.load(str(tiny_chat_model)), {"recipe": {"method": "full"}})


def test_T14_every_file_is_on_the_disk_before_the_artefact_is_there(
    tmp_path: Path, tiny_chat_model: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Also those that libraries write; then the folder's names, and its own name last."""
    seen: list[str] = []
    fsync, rename = os.fsync, Path.rename

    def synced(handle: int) -> None:
        seen.append(str(Path(f"/proc/self/fd/{handle}").readlink()))
        fsync(handle)

    def renamed(path: Path, target: Path) -> Path:
        seen.append(f"{target} is there")
        return rename(path, target)

    monkeypatch.setattr(os, "fsync", synced)
    monkeypatch.setattr(Path, "rename", renamed)
    make(tmp_path / "model", tiny_chat_model, "lora")
    there = seen.index(f"{tmp_path / 'model'} is there")
    work = tmp_path / ".model.part"
    files = [work / file.name for file in (tmp_path / "model").iterdir()]
    assert len(files) >= 4
    assert {str(path) for path in (*files, work)} <= set(seen[:there])
    assert str(tmp_path) in seen[there:]

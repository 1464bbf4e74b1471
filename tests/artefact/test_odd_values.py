"""Artefacts whose sums are right and whose values are not: refused in words, by exit code 2, and
nothing is looked for outside their folder."""

import json
import socket
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from safetensors.numpy import save_file
from tests.artefact.conftest import reseal, scores, tensors
from tests.command import fiat

from fiatkit import artefact
from fiatkit.artefact import manifest
from fiatkit.errors import ArtefactError, EnvironmentProblem


def edit(name: str, **values: Any) -> Callable[[Path], object]:
    def damage(folder: Path) -> None:
        path = folder / name
        path.write_text(json.dumps(json.loads(path.read_text()) | values))
        reseal(folder)

    return damage


def replace(folder: Path, other: Path) -> None:
    """The files of another artefact in place of the folder's own."""
    for file in folder.iterdir():
        file.unlink()
    for file in other.iterdir():
        (folder / file.name).write_bytes(file.read_bytes())


@pytest.mark.parametrize("name", ["adapter_config.json", "preparation.json"])
def test_A01_half_a_character_is_damage(lora: Path, name: str) -> None:
    edit(name, revision="\ud800", small="\ud800")(lora)
    with pytest.raises(ArtefactError, match=f'{name}" is damaged'):
        artefact.read(lora)


def test_A01_half_a_character_in_the_manifest_ends_with_2(lora: Path) -> None:
    path = lora / manifest.MANIFEST
    path.write_text(json.dumps(json.loads(path.read_text()) | {"method": "\ud800"}))
    assert 'manifest.json" is damaged' in fiat(lora.parent, "verify", "model", code=2)


@pytest.mark.parametrize(
    ("values", "told"),
    [
        ({"target_modules": [5]}, 'is damaged: "target_modules"'),
        ({"init_lora_weights": 5}, 'is damaged: "init_lora_weights"'),
        ({"init_lora_weights": "pissa"}, 'is damaged: "init_lora_weights"'),
        ({"r": -1}, 'is damaged: "r"'),
        ({"rank_pattern": {"q_proj": 10_000_000}}, "holds no matrices of the ranks"),
        ({"rank_pattern": 0}, 'is damaged: "rank_pattern"'),
        ({"alpha_pattern": []}, 'is damaged: "alpha_pattern"'),
        ({"tokenizer_name_or_path": "someone/tokenizer"}, 'sets "tokenizer_name_or_path"|damaged'),
    ],
)
def test_A04_settings_of_another_kind_are_damage(
    lora: Path, values: dict[str, Any], told: str
) -> None:
    edit("adapter_config.json", **values)(lora)
    with pytest.raises(ArtefactError, match=told):
        artefact.read(lora)


@pytest.mark.parametrize("values", [{"arrow_config": {}}, {"bias": None}, {"bias": []}])
def test_A04_what_peft_stumbles_over_is_told_in_words(lora: Path, values: dict[str, Any]) -> None:
    edit("adapter_config.json", **values)(lora)
    with pytest.raises(ArtefactError, match="does not fit its base: "):
        artefact.load(lora)


def test_A04_no_more_room_is_made_than_there_are_weights(
    lora: Path, made: Callable[[str], tuple[Path, Any]]
) -> None:
    """Neither for a rank of which there is no matrix, nor for virtual tokens that are not there."""
    held = tensors(lora / "adapter_model.safetensors")
    save_file({"other": next(iter(held.values()))}, lora / "adapter_model.safetensors")
    edit("adapter_config.json", r=10_000_000)(lora)
    with pytest.raises(ArtefactError, match="holds no LoRA matrices"):
        artefact.read(lora)
    for file in made("prompt_tuning")[0].iterdir():
        (lora / file.name).write_bytes(file.read_bytes())
    artefact.read(lora)
    edit("adapter_config.json", num_virtual_tokens=10_000_000)(lora)
    with pytest.raises(ArtefactError, match="does not hold the virtual tokens"):
        artefact.read(lora)


@pytest.fixture
def no_way_out(monkeypatch: pytest.MonkeyPatch) -> None:
    """Whoever asks the network for anything fails the test."""
    monkeypatch.setattr(socket, "getaddrinfo", lambda *asked, **more: pytest.fail(str(asked)))


@pytest.mark.usefixtures("no_way_out")
@pytest.mark.parametrize("gone", ["adapter_model.safetensors", "adapter_config.json", "both"])
def test_A03_what_is_missing_is_not_looked_for_on_the_hub(
    lora: Path, monkeypatch: pytest.MonkeyPatch, gone: str
) -> None:
    """A folder of two words is a repository's name too, and what lies there may be a pickle."""
    (lora.parent / "owner").mkdir()
    lora.rename(lora.parent / "owner" / "name")
    monkeypatch.chdir(lora.parent)
    folder = Path("owner/name")
    for name in ("adapter_model.safetensors", "adapter_config.json"):
        if gone in (name, "both"):
            (folder / name).unlink()
    reseal(folder)
    told = "does not fit its base" if gone == "both" else "neither an adapter nor a whole model"
    with pytest.raises(ArtefactError, match=told):
        artefact.load(folder)


@pytest.mark.usefixtures("no_way_out")
def test_A03_a_whole_model_names_no_other_base(
    made: Callable[[str], tuple[Path, Any]], lora: Path
) -> None:
    """With an adapter_config.json beside them, transformers loads the base that it names."""
    edit("adapter_config.json", base_model_name_or_path="someone/else")(lora)
    values = json.loads((lora / "preparation.json").read_text())
    values["recipe"]["method"] = "full"
    (lora / "preparation.json").write_text(json.dumps(values))
    reseal(lora, method="full")
    with pytest.raises(ArtefactError, match="says that it is a whole model"):
        artefact.load(lora)
    for file in made("full")[0].iterdir():
        (lora / file.name).write_bytes(file.read_bytes())
    reseal(lora)
    with pytest.raises(ArtefactError, match="neither an adapter nor a whole model"):
        artefact.load(lora)


@pytest.mark.parametrize(
    ("name", "values", "told"),
    [
        ("config.json", {"quantization_config": {"quant_method": "mxfp4"}}, "wants its weights"),
        ("model.safetensors.index.json", {"weight_map": {"a": "../a.safetensors"}}, "that are not"),
        ("model.safetensors.index.json", {"weight_map": [1]}, "that are not"),
    ],
)
def test_A02_A04_a_whole_model_s_settings_are_its_own(
    made: Callable[[str], tuple[Path, Any]], lora: Path, name: str, values: Any, told: str
) -> None:
    replace(lora, made("full")[0])
    if not (lora / name).exists():
        (lora / name).write_text("{}")
    edit(name, **values)(lora)
    with pytest.raises(ArtefactError, match=told):
        artefact.load(lora)


@pytest.mark.parametrize("values", [{"hidden_size": 10_000_000}, {"vocab_size": "x"}, {}])
def test_A04_a_whole_model_has_the_sizes_of_its_base(
    made: Callable[[str], tuple[Path, Any]], lora: Path, values: Any
) -> None:
    """Whatever its config.json says: nothing is allocated by it."""
    replace(lora, made("full")[0])
    edit("config.json", **values)(lora)
    loaded = artefact.load(lora)[0].model
    held = tensors(lora / "model.safetensors")
    for name, weight in loaded.named_parameters():
        assert np.array_equal(weight.detach().numpy(), held[name])


def test_A04_a_whole_model_that_lacks_a_weight_is_refused(
    made: Callable[[str], tuple[Path, Any]], lora: Path
) -> None:
    replace(lora, made("full")[0])
    held = tensors(lora / "model.safetensors")
    gone = next(name for name in held if "mlp" in name)
    del held[gone]
    save_file(held, lora / "model.safetensors", {"format": "pt"})
    reseal(lora)
    with pytest.raises(ArtefactError, match=f'lacks 1 of its base\'s weights, such as "{gone}"'):
        artefact.load(lora)


def test_A01_labels_of_another_kind_are_shown_as_text(lora: Path) -> None:
    task = json.loads((lora / "preparation.json").read_text())["task"]
    edit("preparation.json", task=task | {"labels": [5, "cold"]})(lora)
    assert "labels: 5, cold" in fiat(lora.parent, "verify", "model")


def test_a_base_that_was_given_must_be_there(lora: Path) -> None:
    shown = fiat(lora.parent, "verify", "model", "--base", "nowhere", code=2)
    assert 'nor a folder of that name) "nowhere"' in shown


def test_what_cannot_be_read_is_a_problem_of_the_place(
    lora: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def denied(path: Path) -> str:
        raise PermissionError(13, "Permission denied")

    monkeypatch.setattr(artefact.checks.catalogue, "sha256_of", denied)
    with pytest.raises(EnvironmentProblem, match='Cannot read ".*/model": Permission denied'):
        artefact.read(lora)
    with pytest.raises(EnvironmentProblem, match="File name too long"):
        artefact.read(Path("n" * 300))


def test_every_method_s_own_settings_load(
    made: Callable[[str], tuple[Path, Any]],
) -> None:
    for method in ("prompt_tuning", "ia3", "dora", "rslora"):
        folder, before = made(method)
        small, _ = artefact.load(folder, device="cpu")
        np.testing.assert_array_equal(scores(small), before)

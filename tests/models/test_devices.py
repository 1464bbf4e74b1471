"""The choice of a device and a precision, here and on machines that are only described."""

from pathlib import Path
from typing import Any

import pytest
import torch

from fiatkit.config import SmallSettings
from fiatkit.errors import EnvironmentProblem, SettingsError
from fiatkit.models import _devices, create_chat_model
from fiatkit.models._devices import choose, precision, present
from fiatkit.models.local import SmallModel, load_transformers
from fiatkit.records import Part, SmallPrompt, TrainingPair
from fiatkit.settings import parse
from fiatkit.tuning import TuningSettings, tune


def machine(monkeypatch: pytest.MonkeyPatch, *devices: str) -> None:
    monkeypatch.setattr(_devices, "present", lambda: list(devices))


@pytest.mark.parametrize(
    ("devices", "best"),
    [(("cuda:0", "cuda:1", "cpu"), "cuda"), (("mps", "cpu"), "mps"), (("cpu",), "cpu")],
)
def test_auto_takes_cuda_then_mps_then_cpu(
    monkeypatch: pytest.MonkeyPatch, devices: tuple[str, ...], best: str
) -> None:
    machine(monkeypatch, *devices)
    assert choose("auto") == best
    assert choose(best) == best
    assert choose("cpu") == "cpu"


def test_one_of_several_may_be_named(monkeypatch: pytest.MonkeyPatch) -> None:
    machine(monkeypatch, "cuda:0", "cuda:1", "cpu")
    assert choose("cuda:1") == "cuda:1"
    with pytest.raises(EnvironmentProblem, match='"cuda:2" is not here; .* cpu, cuda:0, cuda:1'):
        choose("cuda:2")
    with pytest.raises(EnvironmentProblem, match='"mps" is not here'):
        choose("mps")


def test_what_torch_says_is_here(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(torch.cuda, "is_available", lambda: True)
    monkeypatch.setattr(torch.cuda, "device_count", lambda: 2)
    monkeypatch.setattr(torch.backends.mps, "is_available", lambda: False)
    assert present() == ["cuda:0", "cuda:1", "cpu"]
    monkeypatch.setattr(torch.cuda, "is_available", lambda: False)
    monkeypatch.setattr(torch.backends.mps, "is_available", lambda: True)
    assert present() == ["mps", "cpu"]


@pytest.mark.parametrize("name", ["gpu", "cuda:", "cuda:x", "CPU", "", "cpu:1"])
def test_a_name_that_no_device_has_is_told_when_settings_are_read(name: str) -> None:
    with pytest.raises(SettingsError, match="is no device; allowed: auto, cpu, cuda, cuda:0, mps"):
        parse(SmallSettings, {"model": "x", "device": name}, "run.yaml")
    with pytest.raises(SettingsError, match="is no device"):
        create_chat_model({"provider": "transformers", "model": "x", "device": name})
    with pytest.raises(SettingsError, match="is no device"):
        choose(name)


@pytest.mark.parametrize("name", ["auto", "cpu", "cuda", "cuda:7", "mps"])
def test_settings_take_every_name(name: str) -> None:
    assert parse(SmallSettings, {"model": "x", "device": name}, "run.yaml").device == name


def test_a_small_model_on_a_device_that_is_not_here(tiny_plain_model: Path) -> None:
    there = present()
    for name in {"cuda:99", "mps"} - set(there):
        with pytest.raises(EnvironmentProblem, match="this machine has: .*cpu") as caught:
            SmallModel.load(str(tiny_plain_model), device=name)
        assert caught.value.exit_code == 4
    assert SmallModel.load(str(tiny_plain_model), device="cpu").device.type == "cpu"


def test_precision(monkeypatch: pytest.MonkeyPatch) -> None:
    """bfloat16 only where a cuda device has it itself: torch emulates it on all others, slowly."""
    native = False
    asked: list[str] = []

    class Current:
        def __init__(self, device: str) -> None:
            asked.append(device)

        def __enter__(self) -> None: ...
        def __exit__(self, *_: Any) -> None: ...

    monkeypatch.setattr(torch.cuda, "device", Current)
    monkeypatch.setattr(
        torch.cuda,
        "is_bf16_supported",
        lambda including_emulation=True: native or including_emulation,
    )
    assert {precision(name) for name in ("cpu", "mps", "cuda:1")} == {torch.float32}
    native = True
    assert precision("cuda:1") == precision("cuda") == torch.bfloat16
    assert precision("cpu") == torch.float32
    assert asked == ["cuda:1", "cuda:1", "cuda"]


def test_full_tuning_of_bfloat16_weights_moves_them_by_a_usual_learning_rate(
    tiny_plain_model: Path,
) -> None:
    model, tokenizer = load_transformers(tiny_plain_model, "x", device="cpu", dtype="bfloat16")
    small = SmallModel(model, tokenizer, {"name": "x", "revision": "x", "licence": "x"})
    before = {name: weight.detach().clone() for name, weight in model.named_parameters()}
    prompt = SmallPrompt("q", (Part("query", "the sun"), Part("cue", "\n\nAnswer:")))
    tune(small, [TrainingPair(prompt, "warm")], TuningSettings(method="full", epochs=2), seed=0)
    for name, weight in small.model.named_parameters():
        assert weight.dtype == torch.float32
        moved = (weight.detach() != before[name].float()).float().mean()
        assert moved > 0.5 or "embed" in name, name

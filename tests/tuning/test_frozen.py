"""Layers below `tuning.layers` are computed once, and the tuning is the same but for last digits."""

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest
import torch

from fiatkit.models import _frozen
from fiatkit.models._frozen import FrozenStates
from fiatkit.models._packed_causal import PackedCausal
from fiatkit.models.local import SmallModel
from fiatkit.records import Part, SmallPrompt, TrainingPair
from fiatkit.tuning import TuningSettings, tune, tuner
from tests.models.test_packed import KINDS, PAIRS, model_of

PROMPTS = [f"{'sun' if i % 2 else 'ice'} " * (i + 1) for i in range(8)]
TRAINED = [
    TrainingPair(SmallPrompt(f"r{i}", (Part("query", text),)), ["cold", "warm now"][i % 2])
    for i, text in enumerate(PROMPTS)
]


@pytest.mark.parametrize("kind", KINDS)
def test_states_and_gradients_are_those_of_the_whole_model(kind: str) -> None:
    model = model_of(kind)
    network = PackedCausal(model)
    for name, weight in model.named_parameters():
        weight.requires_grad_(".layers.2." in name or name == "model.norm.weight")
    goal = torch.tensor([token for _, target in PAIRS for token in target])

    def computed(source: Any) -> tuple[torch.Tensor, dict[str, torch.Tensor]]:
        states = source.before_targets(PAIRS)
        logits = network.logits(states)
        torch.nn.functional.cross_entropy(logits, goal, reduction="sum").backward()
        found = {n: p.grad.clone() for n, p in model.named_parameters() if p.grad is not None}
        model.zero_grad()
        return states, found

    kept = FrozenStates(network, PAIRS, first=2, batch_tokens=60)
    whole, gradients = computed(network)
    states, ours = computed(kept)
    torch.testing.assert_close(states, whole, atol=1e-4, rtol=1e-4)
    assert gradients.keys() == ours.keys()
    for name, gradient in gradients.items():
        near = 1e-5 * float(gradient.abs().max()) + 1e-6
        torch.testing.assert_close(ours[name], gradient, atol=near, rtol=1e-3)


def tuned(model: Path) -> tuple[torch.Tensor, Any, int]:
    """Tune the upper layer; the trained weights, the result, and how often layer 0 was called."""
    small = SmallModel.load(str(model), device="cpu")
    calls = []
    small.core.model.layers[0].self_attn.register_forward_hook(lambda *_: calls.append(1))
    settings = TuningSettings(
        layers="top-1", epochs=6, batch_rows=4, rank=4, learning_rate=0.01, batch_tokens=10_000
    )
    result = tune(small, TRAINED, settings, seed=0)
    weights = [p.detach().flatten() for n, p in small.model.named_parameters() if "lora_" in n]
    assert small.frozen is None
    return torch.cat(weights), result, len(calls)


def test_a_tuning_of_upper_layers_computes_the_lower_ones_once(
    tiny_chat_model: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    kept, result, calls = tuned(tiny_chat_model)
    assert result.recomputed == "" and result.notes() == []

    @contextmanager
    def never(*_: Any) -> Iterator[str]:
        yield "told so"

    monkeypatch.setattr(tuner, "_frozen_kept", never)
    plain, other, more = tuned(tiny_chat_model)
    assert other.notes() == ["layers that are not tuned are computed in every epoch: told so"]
    assert more - calls >= 12 - 2, "twelve steps, against a pass over all rows and the check of it"
    torch.testing.assert_close(kept, plain, atol=1e-4, rtol=1e-3)
    torch.testing.assert_close(result.losses, other.losses, atol=1e-4, rtol=1e-3)


def test_a_disk_without_room_is_told_and_done_without(
    tiny_chat_model: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def full(*_: Any) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(_frozen.os, "posix_fallocate", full)
    _, result, _ = tuned(tiny_chat_model)
    assert "cannot be kept (No space left on device)" in result.notes()[0]
    assert len(result.losses) == 12

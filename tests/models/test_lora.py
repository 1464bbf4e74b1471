"""Fused LoRA layers compute what peft's own do, forward and backward."""

from pathlib import Path
from typing import Any

import peft
import pytest
import torch

from fiatkit.models.local import SmallModel

ROWS = [((3, 4, 5, 6, 7, 8, 9, 10, 11, 12, 3), (7, 2)), ((3, 4, 5, 6, 7, 8, 9, 10, 11, 12), (2,))]


def adapted(folder: Path, **options: Any) -> SmallModel:
    small = SmallModel.load(str(folder), device="cpu")
    config = peft.LoraConfig(r=4, lora_alpha=8, target_modules="all-linear", **options)
    small.model = peft.get_peft_model(small.model, config)
    torch.manual_seed(1)
    for name, weight in small.model.named_parameters():
        if "lora_B" in name:
            torch.nn.init.normal_(weight, std=0.1)
    return small


def states_and_gradients(small: SmallModel) -> tuple[torch.Tensor, dict[str, torch.Tensor]]:
    small.model.zero_grad()
    states = small.before_targets(ROWS)
    small.logits(states).logsumexp(-1).sum().backward()
    weights = small.model.named_parameters()
    return states.detach(), {n: p.grad.clone() for n, p in weights if p.grad is not None}


@pytest.mark.parametrize("options", [{}, {"use_rslora": True}])
def test_states_and_gradients_are_pefts(tiny_chat_model: Path, options: dict[str, Any]) -> None:
    small = adapted(tiny_chat_model, **options)
    theirs, their_gradients = states_and_gradients(small)
    with small.fused() as count:
        ours, our_gradients = states_and_gradients(small)
    assert count == 14
    assert torch.allclose(ours, theirs, atol=1e-5)
    assert our_gradients.keys() == their_gradients.keys() != set()
    for name, gradient in their_gradients.items():
        assert torch.allclose(our_gradients[name], gradient, atol=1e-4, rtol=1e-4), name


@pytest.mark.parametrize("options", [{"use_dora": True}, {"lora_dropout": 0.1}])
def test_layers_that_do_more_stay_as_they_are(
    tiny_chat_model: Path, options: dict[str, Any]
) -> None:
    with adapted(tiny_chat_model, **options).fused() as count:
        assert count == 0


def test_layers_are_their_own_again_afterwards(tiny_chat_model: Path) -> None:
    small = adapted(tiny_chat_model)
    layer = small.core.model.layers[0].mlp.up_proj
    with small.fused():
        assert "forward" in vars(layer)
    assert "forward" not in vars(layer)
    with small.model.disable_adapter(), small.fused() as count:
        assert count == 0

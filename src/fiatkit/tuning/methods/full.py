"""Full fine-tuning: every weight is trainable, as in the paper's fine-tuning baseline."""

from __future__ import annotations

import copy
import re
from pathlib import Path
from typing import Any

from fiatkit.errors import ArtefactError
from fiatkit.tuning.methods._peft import split_layers
from fiatkit.tuning.settings import TuningSettings

LEARNING_RATE = 3e-5


def attach(model: Any, settings: TuningSettings, base_name: str) -> Any:
    """Make the weights of `model` trainable, in float32: in bfloat16, steps of a usual learning
    rate are too small to change a weight. With `tuning.layers`, those of the upper layers only."""
    split = split_layers(model, settings)
    model.float().requires_grad_(split is None)
    for name, weight in model.named_parameters():
        if split and re.fullmatch(split[1], name):
            weight.requires_grad_(True)
    return model


def save(model: Any, folder: Path) -> None:
    """Write all weights as safetensors, with their config."""
    model.save_pretrained(folder)


def load(model: Any, folder: Path) -> Any:
    """Read all weights from `folder` in place of the base model's, as they were tuned.

    The architecture is the base's own, whatever config.json lies beside the weights.

    Raises:
        ArtefactError: weights are missing, which transformers would fill at random.
    """
    import torch

    loaded, told = type(model).from_pretrained(
        folder, config=copy.deepcopy(model.config), dtype=torch.float32, output_loading_info=True
    )
    if missing := sorted(told["missing_keys"]):
        raise ArtefactError(
            f'"{folder}" lacks {len(missing)} of its base\'s weights, such as "{missing[0]}".',
            "Take an intact copy, or tune again.",
        )
    return loaded.to(model.device).eval()


def serving(settings: TuningSettings) -> str:
    """What vLLM needs to load the model: nothing but its tokenizer beside it."""
    return ""

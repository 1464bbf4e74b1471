"""(IA)³: a trained factor for each number in keys, values and the feed-forward layer.

Liu et al. 2022, arXiv 2205.05638. A few thousand weights, where LoRA has some million.
"""

from __future__ import annotations

from typing import Any

from fiatkit.errors import UsageError
from fiatkit.tuning.methods._peft import load, save, split_layers, task_type, wrap
from fiatkit.tuning.settings import TuningSettings

LEARNING_RATE = 3e-3


def attach(model: Any, settings: TuningSettings, base_name: str) -> Any:
    """Wrap `model` with a fresh adapter; only the adapter's weights are trainable.

    Raises:
        UsageError: peft does not know which layers of this architecture it scales.
    """
    import peft
    from peft.utils.constants import TRANSFORMERS_MODELS_TO_IA3_TARGET_MODULES_MAPPING as known

    kind = model.config.model_type
    if kind not in known:
        raise UsageError(
            f'(IA)³ is not defined for models of type "{kind}".', "Tune with lora instead."
        )
    split = split_layers(model, settings)
    config = peft.IA3Config(task_type=task_type(model), exclude_modules=split[0] if split else None)
    return wrap(model, config, base_name)


def serving(settings: TuningSettings) -> str:
    """What vLLM needs to load the adapter."""
    return "vLLM cannot load an (IA)³ adapter: merge it into the model, or tune with lora"


__all__ = ["LEARNING_RATE", "attach", "load", "save", "serving"]

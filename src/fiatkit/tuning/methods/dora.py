"""DoRA: LoRA for the direction of each weight, and a trained length for each of its rows.

Liu et al. 2024, arXiv 2402.09353.
"""

from __future__ import annotations

from typing import Any

from fiatkit.tuning.methods._peft import load, lora_config, save, wrap
from fiatkit.tuning.settings import TuningSettings

LEARNING_RATE = 3e-4


def attach(model: Any, settings: TuningSettings, base_name: str) -> Any:
    """Wrap `model` with a fresh adapter; only the adapter's weights are trainable."""
    return wrap(model, lora_config(model, settings, use_dora=True), base_name)


def serving(settings: TuningSettings) -> str:
    """What vLLM needs to load the adapter."""
    return "vLLM cannot load a DoRA adapter: merge it into the model, or tune with lora"


__all__ = ["LEARNING_RATE", "attach", "load", "save", "serving"]

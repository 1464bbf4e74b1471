"""Prompt tuning: trained embeddings in front of every prompt; the model itself stays as it is.

Lester et al. 2021, arXiv 2104.08691. They begin as embeddings of random words of the vocabulary.
"""

from __future__ import annotations

from typing import Any

from fiatkit.tuning.methods._peft import load, save, task_type, wrap
from fiatkit.tuning.settings import TuningSettings

LEARNING_RATE = 1e-2


def attach(model: Any, settings: TuningSettings, base_name: str) -> Any:
    """Wrap `model` with fresh virtual tokens; only these are trainable."""
    import peft

    config = peft.PromptTuningConfig(
        task_type=task_type(model),
        num_virtual_tokens=settings.virtual_tokens,
        num_transformer_submodules=1,  # of an encoder-decoder, the encoder
        prompt_tuning_init="SAMPLE_VOCAB",
    )
    return wrap(model, config, base_name)


def serving(settings: TuningSettings) -> str:
    """What vLLM needs to load the adapter."""
    return "vLLM cannot load virtual tokens: tune with lora to serve with it"


__all__ = ["LEARNING_RATE", "attach", "load", "save", "serving"]

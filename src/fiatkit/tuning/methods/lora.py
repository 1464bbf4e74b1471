"""LoRA on all linear layers but the head: plain, so that common servers load it.

Hu et al. 2021, arXiv 2106.09685.
"""

from __future__ import annotations

from typing import Any

from fiatkit.tuning.methods._peft import load, lora_config, save, wrap
from fiatkit.tuning.settings import TuningSettings

LEARNING_RATE = 3e-4
LOADED = (1, 8, 16, 32, 64, 128, 256, 320, 512)  # what vLLM's --max-lora-rank may be
WITHOUT_FLAG = 16


def attach(model: Any, settings: TuningSettings, base_name: str) -> Any:
    """Wrap `model` with a fresh adapter; only the adapter's weights are trainable."""
    return wrap(model, lora_config(model, settings), base_name)


def serving(settings: TuningSettings) -> str:
    """What vLLM needs to load the adapter, or an empty string."""
    if settings.rank <= WITHOUT_FLAG:
        return ""
    flag = next((rank for rank in LOADED if rank >= settings.rank), None)
    told = f"an adapter of rank {settings.rank} is above vLLM's limit of {WITHOUT_FLAG}"
    if flag is None:
        return f"{told}, and above {LOADED[-1]}, the highest it can be set to"
    return f"{told}: start it with --max-lora-rank {flag}"


__all__ = ["LEARNING_RATE", "attach", "load", "save", "serving"]

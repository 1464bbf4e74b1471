"""LoRA scaled by alpha / sqrt(rank), so that high ranks learn as fast as low ones.

Kalajdzievski 2023, arXiv 2312.03732. At rank 16 its scale is four times plain LoRA's, hence the
lower learning rate.
"""

from __future__ import annotations

from typing import Any

from fiatkit.tuning.methods._peft import load, lora_config, save, wrap
from fiatkit.tuning.methods.lora import serving
from fiatkit.tuning.settings import TuningSettings

LEARNING_RATE = 1e-4


def attach(model: Any, settings: TuningSettings, base_name: str) -> Any:
    """Wrap `model` with a fresh adapter; only the adapter's weights are trainable."""
    return wrap(model, lora_config(model, settings, use_rslora=True), base_name)


__all__ = ["LEARNING_RATE", "attach", "load", "save", "serving"]

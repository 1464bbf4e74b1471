"""Full fine-tuning: every weight is trainable, as in the paper's fine-tuning baseline."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from fiatkit.tuning.settings import TuningSettings

LEARNING_RATE = 3e-5


def attach(model: Any, settings: TuningSettings, base_name: str) -> Any:
    """Make every weight of `model` trainable."""
    return model.requires_grad_(True)


def save(model: Any, folder: Path) -> None:
    """Write all weights as safetensors, with their config."""
    model.save_pretrained(folder)


def load(model: Any, folder: Path) -> Any:
    """Read all weights from `folder` in place of the base model's."""
    loaded = type(model).from_pretrained(folder, dtype=model.dtype)
    return loaded.to(model.device).eval()

"""LoRA on all linear layers but the head: plain, so that common servers load it."""

from __future__ import annotations

import warnings
from pathlib import Path
from typing import Any

from fiatkit.models.local import is_encoder_decoder
from fiatkit.tuning.settings import TuningSettings

LEARNING_RATE = 3e-4


def attach(model: Any, settings: TuningSettings, base_name: str) -> Any:
    """Wrap `model` with a fresh adapter; only the adapter's weights are trainable."""
    import peft

    config = peft.LoraConfig(
        task_type="SEQ_2_SEQ_LM" if is_encoder_decoder(model.config) else "CAUSAL_LM",
        r=settings.rank,
        lora_alpha=settings.alpha,
        lora_dropout=0.0,
        target_modules="all-linear",
    )
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # about names of transformers that peft still uses
        wrapped = peft.get_peft_model(model, config)
    wrapped.peft_config["default"].base_model_name_or_path = base_name
    return wrapped


def save(model: Any, folder: Path) -> None:
    """Write the adapter as peft does: safetensors and adapter_config.json."""
    model.save_pretrained(folder, save_embedding_layers=False)
    (folder / "README.md").unlink(missing_ok=True)


def load(model: Any, folder: Path) -> Any:
    """Put a saved adapter on its base model."""
    import peft

    return peft.PeftModel.from_pretrained(model, folder)

"""What the methods of peft have in common: wrapping a model, saving and loading an adapter."""

from __future__ import annotations

import re
import warnings
from pathlib import Path
from typing import Any

from fiatkit.errors import UsageError
from fiatkit.models.local import is_encoder_decoder
from fiatkit.tuning.settings import TuningSettings


def task_type(model: Any) -> str:
    """Peft's name for what the model does."""
    return "SEQ_2_SEQ_LM" if is_encoder_decoder(model.config) else "CAUSAL_LM"


def split_layers(model: Any, settings: TuningSettings) -> tuple[str, str] | None:
    """Patterns of the names in the layers below and among those that `tuning.layers` picks.

    Returns:
        Two regular expressions for whole names of modules or weights; None if all are tuned.

    Raises:
        UsageError: the model has no more layers than that, or is no decoder.
    """
    wanted = settings.top_layers
    if wanted is None:
        return None
    if is_encoder_decoder(model.config):
        raise UsageError(
            f'tuning.layers: "{settings.layers}" is for decoder models, and '
            f'"{type(model).__name__}" has an encoder.',
            "Leave tuning.layers out: all layers are tuned.",
        )
    count = int(model.config.get_text_config().num_hidden_layers)
    if wanted >= count:
        raise UsageError(
            f'tuning.layers: "{settings.layers}", but the small model has {count} layers.',
            f"Write at most top-{count - 1}, or leave it out to tune all.",
        )
    return _inside(range(count - wanted)), _inside(range(count - wanted, count))


def _inside(numbers: range) -> str:
    """A pattern of names whose first number is one of these, as `model.layers.3.mlp.up_proj`."""
    return rf"(?:[^.]*[^.\d][^.]*\.)*(?:{'|'.join(map(str, numbers))})\..*"


def lora_config(model: Any, settings: TuningSettings, **options: Any) -> Any:
    """LoRA on all linear layers but the head, without dropout; none on those that read images.

    In a state-space layer (Mamba) only the first: kernels, and transformers' own code, read the
    weights of the others past their adapters.
    """
    import peft

    split = split_layers(model, settings)
    states = {name.rsplit(".", 1)[-1] for name, m in model.named_modules() if hasattr(m, "A_log")}
    excluded = [*([split[0]] if split else []), *_beside_text(model)]
    if states:
        excluded.append(rf".*\.(?:{'|'.join(sorted(states))})\.(?:x_proj|dt_proj|out_proj)")
    return peft.LoraConfig(
        task_type=task_type(model),
        r=settings.rank,
        lora_alpha=settings.alpha,
        lora_dropout=0.0,
        target_modules="all-linear",
        exclude_modules="|".join(excluded) or None,
        **options,
    )


def _beside_text(model: Any) -> list[str]:
    """A pattern of all that is not in the text's part of a model, if other layers are there."""
    import torch

    if is_encoder_decoder(model.config):
        return []
    text, head = model.get_decoder(), model.get_output_embeddings()
    name = next((name for name, module in model.named_modules() if module is text), "")
    linear = (n for n, m in model.named_modules() if type(m) is torch.nn.Linear and m is not head)
    if not name or all(other.startswith(f"{name}.") for other in linear):
        return []
    return [rf"(?!{re.escape(name)}\.).*"]


def wrap(model: Any, config: Any, base_name: str) -> Any:
    """Wrap `model` with a fresh adapter; only the adapter's weights are trainable.

    Raises:
        UsageError: peft knows no layers of this architecture that it could adapt.
    """
    import peft

    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # about names of transformers that peft still uses
            wrapped = peft.get_peft_model(model, config)
    except ValueError as error:
        raise UsageError(
            f'peft cannot adapt "{type(model).__name__}": {error}',
            "Tune with `method: full`, or take another small model.",
        ) from None
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

"""A small model's layers without their weights, on which a way to tune can be tried for nothing."""

from __future__ import annotations

from typing import Any

from fiatkit.errors import MissingExtraError, ModelFileError
from fiatkit.models import catalogue
from fiatkit.models.local import is_encoder_decoder


def outline(ref: str) -> Any:
    """The transformers model of a small model, on torch's meta device: it has every layer and
    every name, and no number.

    Args:
        ref: a name of the catalogue, a folder, or a hub id.

    Raises:
        ModelFileError: there is no such model, or transformers does not know its architecture.
    """
    try:
        import torch
        import transformers
    except ImportError:
        raise MissingExtraError("transformers", "local", "A model in process") from None
    folder, _ = catalogue.resolve_transformers(ref)
    try:
        config = transformers.AutoConfig.from_pretrained(folder)
        auto = transformers.AutoModelForCausalLM
        if is_encoder_decoder(config):
            auto = transformers.AutoModelForSeq2SeqLM
        with torch.device("meta"):
            return auto.from_config(config)
    except (OSError, ValueError, KeyError) as error:
        first = str(error).splitlines()[0]
        raise ModelFileError(f'transformers cannot load "{ref}": {first}') from None

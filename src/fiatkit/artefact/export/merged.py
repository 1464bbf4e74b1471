"""One model in safetensors with its tokenizer: the adapter added to the base's weights."""

from __future__ import annotations

from pathlib import Path

from fiatkit.artefact.export._snippets import auto_class, fenced, transformers_code
from fiatkit.artefact.export._source import Source, copy_tokenizer, merge


def write(source: Source, folder: Path) -> tuple[str, str]:
    """Merge, compare with the adapter on a few prompts, and write."""
    put_model(source, folder)
    code = fenced(transformers_code(source, loading_code(source)))
    usage = f"`pip install transformers`. Every server of safetensors models loads it.\n\n{code}"
    return usage, "The merged model computes what the adapter does."


def put_model(source: Source, folder: Path) -> None:
    """Write the merged model. It writes greedily and stops where the answers that it learnt do:
    what the base says of penalties and the like, it was not tuned with."""
    from transformers import GenerationConfig

    model = merge(source)
    kept = ("bos_token_id", "pad_token_id", "decoder_start_token_id")
    ids = {name: getattr(model.generation_config, name, None) for name in kept}
    model.generation_config = GenerationConfig(
        do_sample=False, eos_token_id=source.small.stop_id, **ids
    )
    model.save_pretrained(folder)
    copy_tokenizer(source, folder)


def loading_code(source: Source) -> str:
    """Python that loads the whole model."""
    auto = auto_class(source)
    return f"model = {auto}.from_pretrained(folder, dtype=torch.float32).eval()"

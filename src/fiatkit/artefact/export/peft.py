"""The adapter as peft reads it, with its base beside it where no hub has the base."""

from __future__ import annotations

import json
import shutil
from pathlib import Path

from fiatkit.artefact.export._snippets import auto_class, fenced, transformers_code
from fiatkit.artefact.export._source import Source, copy_base, copy_tokenizer
from fiatkit.errors import ArtefactError
from fiatkit.files import write_json

ADAPTER = ("adapter_config.json", "adapter_model.safetensors")


def write(source: Source, folder: Path) -> tuple[str, str]:
    """Write adapter, tokenizer and base."""
    put_adapter(source, folder)
    copy_tokenizer(source, folder)
    where = put_base(source, folder / "base")
    code = fenced(transformers_code(source, loading_code(source)))
    return f"`pip install peft transformers`. {where}\n\n{code}", where


def put_adapter(source: Source, folder: Path) -> None:
    """Copy the adapter as it was saved; its base is named as it will be found.

    Raises:
        ArtefactError: the artefact holds a whole model and no adapter.
    """
    if not source.is_adapter:
        raise ArtefactError(
            f'"{source.artefact.folder}" holds a whole model, tuned by the method '
            f'"{source.artefact.manifest.method}", and no adapter.',
            "Export it with --to merged.",
        )
    for name in ADAPTER:
        shutil.copyfile(source.artefact.folder / name, folder / name)
    path = folder / ADAPTER[0]
    config = json.loads(path.read_text(encoding="utf-8"))
    revision = source.artefact.manifest.small["revision"] if source.hub_base else None
    write_json(path, config | {"base_model_name_or_path": base_name(source), "revision": revision})


def base_name(source: Source) -> str:
    """What the base is called from the folder of the export."""
    return source.hub_base or (
        "base" if source.copy_base else source.artefact.manifest.small["name"]
    )


def put_base(source: Source, folder: Path) -> str:
    """Copy the base if no hub has it. Returns where it is, as a sentence."""
    name = " ".join(str(source.artefact.manifest.small["name"]).replace("`", "'").split())
    if source.hub_base:
        return f"The base, `{name}`, comes from the hub."
    if not source.copy_base:
        return f"Put the base, `{name}`, into the folder `base`; it is not part of this export."
    copy_base(source, folder)
    return f"The base, `{name}` exactly as it was tuned, is in the folder `base`."


def loading_code(source: Source) -> str:
    """Python that loads the base and puts the adapter on it."""
    auto = auto_class(source)
    where = 'folder / "base"'
    if source.hub_base:
        revision = source.artefact.manifest.small["revision"]
        where = f'"{source.hub_base}", revision="{revision}"'
    return (
        "from peft import PeftModel\n\n"
        f"base = {auto}.from_pretrained({where}, dtype=torch.float32)\n"
        "model = PeftModel.from_pretrained(base, folder).eval()\n"
    )

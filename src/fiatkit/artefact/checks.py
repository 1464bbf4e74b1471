"""The files of an artefact before anything reads them: names, kinds, sums, and what they ask for.

An artefact is a flat folder of plain files, JSON and safetensors. All else is refused: nothing
in it can be run, unpacked, or lead out of its folder.
"""

from __future__ import annotations

import json
import re
import stat
from collections.abc import Collection, Mapping
from dataclasses import MISSING, fields
from pathlib import Path
from typing import Any

from pydantic import PositiveInt, ValidationError

from fiatkit.artefact import weights
from fiatkit.artefact.preparation import Strict
from fiatkit.errors import ArtefactError, ModelFileError
from fiatkit.models import catalogue

KINDS = (".safetensors", ".json")
NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9_.-]{0,99}")
MAX_JSON = 4 * 1024 * 1024
MAX_FILES = 1000
WHOLE = "Take a whole copy of the artefact."
ADAPTER = "adapter_config.json"
ADAPTER_WEIGHTS = "adapter_model.safetensors"


# Keys of adapter_config.json that may differ from peft's own defaults: those that fiatkit's methods
# set, and those that peft sets by itself for some models (GPT-2's layers, experts kept as one
# weight). Others could have it import modules, or compute what fiatkit does not know.
class Adapter(Strict):
    """What the values of these keys are."""

    peft_type: str
    peft_version: str | None = None
    task_type: str | None = None
    base_model_name_or_path: str | None = None
    revision: str | None = None
    inference_mode: bool = True
    target_modules: list[str] | str | None = None
    feedforward_modules: list[str] | None = None
    exclude_modules: str | None = None
    target_parameters: list[str] | None = None
    fan_in_fan_out: bool = False
    r: PositiveInt | None = None
    rank_pattern: dict[str, PositiveInt] = {}
    alpha_pattern: dict[str, float] = {}
    lora_alpha: float | None = None
    lora_dropout: float = 0.0
    init_lora_weights: bool = True
    use_dora: bool = False
    use_rslora: bool = False
    init_ia3_weights: bool = True
    num_virtual_tokens: PositiveInt | None = None
    token_dim: PositiveInt | None = None
    num_transformer_submodules: PositiveInt | None = None
    num_layers: PositiveInt | None = None
    num_attention_heads: PositiveInt | None = None
    prompt_tuning_init: str | None = None


ADAPTER_KEYS = frozenset(Adapter.model_fields)


def refuse_no_folder(folder: Path) -> None:
    """Refuse what is not a folder. An archive is not unpacked."""
    if folder.is_file():
        raise ArtefactError(
            f'"{folder}" is a file; an artefact is a folder.',
            "Archives are not read: unpack it yourself, with a tool that you trust, and give the "
            "folder.",
        )
    if not folder.is_dir():
        raise ArtefactError(f'There is no folder "{folder}".', "`fiat tune` makes one.")


def check_files(folder: Path, sums: Mapping[str, str], manifest: str) -> None:
    """Every file of the manifest is there, plain and unchanged, and there is no other.

    Raises:
        ArtefactError: names the file.
    """
    check_names(folder, sums, manifest)
    present = {}
    for count, file in enumerate(folder.iterdir()):
        if count > MAX_FILES:
            raise ArtefactError(f'"{folder}" holds more than {MAX_FILES} files.')
        present[file.name] = file.lstat().st_mode
    if odd := sorted(present.keys() ^ {*sums, manifest}):
        shown = ", ".join(repr(name[:100])[1:-1] for name in odd[:5])
        raise ArtefactError(f'"{folder}": missing or unexpected files: {shown}.', WHOLE)
    for name, mode in present.items():
        if not stat.S_ISREG(mode):
            raise ArtefactError(f'"{folder / name}" is not a plain file.', WHOLE)
    for name, digest in sums.items():
        if catalogue.sha256_of(folder / name) != digest:
            raise ArtefactError(f'"{folder / name}" was changed since it was saved.', WHOLE)


def check_names(folder: Path, sums: Mapping[str, str], manifest: str) -> None:
    """Each name of the manifest is that of a file which an artefact may hold.

    Raises:
        ArtefactError: names the one that is not.
    """
    for name in sums:
        if not NAME.fullmatch(name) or not name.endswith(KINDS):
            raise ArtefactError(
                f'"{folder}": its manifest names "{name[:100]!r}", which no artefact holds.',
                f"An artefact is a flat folder of {' and '.join(KINDS)} files.",
            )
    if len({name.casefold() for name in (*sums, manifest)}) <= len(sums):
        raise ArtefactError(f'"{folder}": names of its manifest differ in case only.')
    whole = "config.json" in sums
    if (ADAPTER in sums, ADAPTER_WEIGHTS in sums) not in ((False, False), (not whole, not whole)):
        raise ArtefactError(f'"{folder}" holds neither an adapter nor a whole model.')


def check_contents(folder: Path, names: Mapping[str, str], *, finite: bool = True) -> None:
    """Nothing in the files asks for code, and the weights are whole, finite and as configured.

    Args:
        folder: the artefact.
        names: of its files.
        finite: whether every weight is read; else no more than the headers of their files are.

    Raises:
        ArtefactError: names the file and what is wrong.
    """
    adapter = None
    for name in names:
        if name.endswith(".json"):
            values = read_json(folder / name)
            _refuse_code(folder / name, values, names)
            if name == ADAPTER:
                adapter = check_adapter_config(folder / name, values)
    for name in names:
        if name.endswith(".safetensors"):
            tensors = weights.read_header(folder / name)
            if adapter is not None:
                _check_sizes(folder / name, tensors, adapter)
            if finite:
                weights.refuse_non_finite(folder / name, tensors)


def _check_sizes(path: Path, tensors: Mapping[str, weights.Tensor], adapter: Adapter) -> None:
    """The sizes that peft makes room for are those of the weights that are there."""
    if adapter.r is not None:
        weights.check_rank(path, tensors, adapter.r, experts=bool(adapter.target_parameters))
        largest = max(max(tensor.shape, default=0) for tensor in tensors.values())
        if any(rank > largest for rank in adapter.rank_pattern.values()):
            raise ArtefactError(f'"{path}" holds no matrices of the ranks of its {ADAPTER}.')
    if adapter.num_virtual_tokens is not None:
        rows = adapter.num_virtual_tokens * (adapter.num_transformer_submodules or 1)
        if [tensor.shape for tensor in tensors.values()] != [(rows, adapter.token_dim)]:
            raise ArtefactError(f'"{path}" does not hold the virtual tokens of its {ADAPTER}.')


def _refuse_code(path: Path, values: Mapping[str, Any], names: Collection[str]) -> None:
    """Refuse what would have a library run code, convert weights, or read files elsewhere."""
    try:
        catalogue.refuse_code(path, values)
    except ModelFileError as error:
        raise ArtefactError(error.message) from None
    if "quantization_config" in values:
        raise ArtefactError(f'"{path}" wants its weights converted, which no artefact does.')
    if path.name.endswith(".index.json"):
        parts = values.get("weight_map")
        if not isinstance(parts, dict) or not all(part in names for part in parts.values()):
            raise ArtefactError(f'"{path}" names weights that are not in its folder.')


def check_adapter_config(path: Path, values: Mapping[str, Any]) -> Adapter:
    """Refuse keys by which peft would do more than fiatkit asked it to when it saved.

    Raises:
        ArtefactError: names the key.
    """
    import peft

    kind = str(values.get("peft_type"))
    config = peft.PEFT_TYPE_TO_CONFIG_MAPPING.get(kind)
    if config is None:
        raise ArtefactError(f'"{path}" is of the kind "{kind[:50]}", which peft does not know.')
    usual: dict[str, Any] = {}
    for item in fields(config):
        made = item.default_factory
        usual[item.name] = item.default if made is MISSING else made()
    for key, value in values.items():
        if key not in ADAPTER_KEYS and value and value != usual.get(key):
            raise ArtefactError(
                f'"{path}" sets "{key[:50]}", which no adapter of fiatkit does.',
                "It was made by something else, or changed; it is not loaded.",
            )
    try:
        return Adapter.model_validate(values)
    except ValidationError as error:
        wrong = error.errors()[0]["loc"][0]
        raise ArtefactError(f'"{path}" is damaged: "{wrong}".') from None


def read_json(path: Path) -> dict[str, Any]:
    """Read a JSON file that holds keys and values, each key once.

    Raises:
        ArtefactError: it is not one, or it is larger than any that fiatkit writes.
    """
    with path.open("rb") as file:
        raw = file.read(MAX_JSON + 1)
    if len(raw) > MAX_JSON:
        raise ArtefactError(f'"{path}" has more than {MAX_JSON:,} bytes.')
    try:
        found = json.loads(raw, object_pairs_hook=_once)
        json.dumps(found, ensure_ascii=False).encode()  # refuses half characters
    except (ValueError, RecursionError):
        found = None
    if not isinstance(found, dict):
        raise ArtefactError(f'"{path}" is damaged.')
    return found


def _once(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    found = dict(pairs)
    if len(found) != len(pairs):
        raise ValueError("a key stands there twice")
    return found

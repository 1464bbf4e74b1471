"""A tuned model as a folder to trust: weights, preparation, and a manifest written last."""

from __future__ import annotations

import json
import shutil
from pathlib import Path
from typing import TYPE_CHECKING, Any

from fiatkit import registry
from fiatkit.errors import ArtefactError
from fiatkit.files import write_json

if TYPE_CHECKING:
    from fiatkit.models.local import SmallModel

FORMAT = 1
MANIFEST = "manifest.json"
PREPARATION = "preparation.json"
ALLOWED = {".safetensors", ".json"}


def save(folder: Path, small: SmallModel, preparation: dict[str, Any]) -> None:
    """Save a tuned model with all that prediction must repeat.

    The folder is made beside its final place and renamed at the end, manifest last, so that an
    unfinished one is never taken for an artefact.

    Args:
        folder: must not exist.
        small: the tuned model.
        preparation: task, recipe, prompt version and large model, as plain values.

    Raises:
        ArtefactError: the folder exists, or a weight is not finite.
    """
    if folder.exists():
        raise ArtefactError(f'"{folder}" exists already.', "Choose another folder.")
    _refuse_non_finite(small)
    work = folder.with_name(f".{folder.name}.part")
    shutil.rmtree(work, ignore_errors=True)
    work.mkdir(parents=True)
    method = str(preparation["recipe"]["method"])
    registry.get("tuning.methods", method).save(small.model, work)
    write_json(work / PREPARATION, preparation)
    manifest = {
        "format": FORMAT,
        "method": method,
        "small": small.identity,
        "files": {file.name: _sum(file) for file in sorted(work.iterdir())},
    }
    write_json(work / MANIFEST, manifest)
    work.rename(folder)


def load(folder: Path, *, device: str = "auto") -> tuple[SmallModel, dict[str, Any]]:
    """Load an artefact after checking every file of it.

    Returns:
        The tuned model and its preparation.

    Raises:
        ArtefactError: a file is missing, changed, or should not be there; a newer format; the
            base model has other weights than the one that was tuned.
    """
    manifest = read_manifest(folder)
    _check_files(folder, manifest["files"])
    preparation: dict[str, Any] = json.loads((folder / PREPARATION).read_text(encoding="utf-8"))
    from fiatkit.models.local import SmallModel

    wanted = manifest["small"]
    small = SmallModel.load(preparation["small"], device=device)
    if small.identity["revision"] != wanted["revision"]:
        raise ArtefactError(
            f'"{folder}" was tuned on {wanted["name"]} ({wanted["revision"][:12]}), but '
            f"{preparation['small']} now holds other weights ({small.identity['revision'][:12]}).",
            "Bring the model back that was tuned, or tune again.",
        )
    small.model = registry.get("tuning.methods", manifest["method"]).load(small.model, folder)
    _refuse_non_finite(small)
    small.model.eval()
    return small, preparation


def read_manifest(folder: Path) -> dict[str, Any]:
    """Read and check a manifest's own shape."""
    path = folder / MANIFEST
    if not path.is_file():
        raise ArtefactError(
            f'"{folder}" is no artefact: it has no {MANIFEST}.',
            "`fiat tune` makes one; an interrupted one has none and is made again.",
        )
    try:
        manifest = json.loads(path.read_text(encoding="utf-8"))
        version = int(manifest["format"])
    except (ValueError, KeyError, TypeError):
        raise ArtefactError(f'"{path}" is damaged.') from None
    if version > FORMAT:
        raise ArtefactError(
            f'"{folder}" has format {version}; this release reads up to {FORMAT}.',
            "Use a newer fiatkit.",
        )
    if not isinstance(manifest.get("files"), dict) or not isinstance(manifest.get("small"), dict):
        raise ArtefactError(f'"{path}" is damaged.')
    found: dict[str, Any] = manifest
    return found


def _check_files(folder: Path, sums: dict[str, str]) -> None:
    """Every file of the manifest is there, unchanged, and no other."""
    present = {file.name for file in folder.iterdir()} - {MANIFEST}
    if present != set(sums):
        odd = sorted(present ^ set(sums))
        raise ArtefactError(f'"{folder}": missing or unexpected files: {", ".join(odd[:5])}.')
    for name, digest in sums.items():
        file = folder / name
        if file.is_symlink() or not file.is_file() or file.suffix not in ALLOWED:
            raise ArtefactError(f'"{file}" is not a plain .safetensors or .json file.')
        if _sum(file) != digest:
            raise ArtefactError(
                f'"{file}" was changed since it was saved.', "Take a whole copy of the artefact."
            )


def _sum(file: Path) -> str:
    from fiatkit.models.catalogue import sha256_of

    return sha256_of(file)


def _refuse_non_finite(small: SmallModel) -> None:
    for name, weight in small.model.named_parameters():
        if not bool(weight.detach().isfinite().all()):
            raise ArtefactError(f'The weight "{name}" is not finite.', "Tune again.")


__all__ = ["load", "read_manifest", "save"]

"""From a tuned model to a folder, whole or not at all."""

from __future__ import annotations

import hashlib
import shutil
from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

from fiatkit import registry
from fiatkit.artefact import checks, manifest, weights
from fiatkit.artefact import preparation as prepared
from fiatkit.errors import ArtefactError
from fiatkit.files import sync, write_json
from fiatkit.models import catalogue
from fiatkit.models._chat import template_of

if TYPE_CHECKING:
    from fiatkit.models.local import SmallModel

METHODS = "tuning.methods"


def save(
    folder: Path,
    small: SmallModel,
    preparation: Mapping[str, Any],
    *,
    large: Mapping[str, Any] | None = None,
    scores: Mapping[str, Mapping[str, Any]] | None = None,
) -> None:
    """Save a tuned model with all that prediction must repeat.

    The folder is made beside its final place, manifest last, read back but for the weights
    themselves, and renamed at the end, so that an unfinished one is never taken for an artefact
    and none is saved that loading refuses.

    Args:
        folder: must not exist.
        small: the tuned model.
        preparation: task, recipe, prompt version and large model, as plain values.
        large: identity of the large model that wrote the rationales.
        scores: of the tuned model, by split and metric.

    Raises:
        ArtefactError: the folder exists, a weight is not finite, or loading would refuse it.
        EnvironmentProblem: the disk is full, or the place cannot be written.
    """
    if folder.exists() or folder.is_symlink():
        raise ArtefactError(f'"{folder}" exists already.', "Choose another folder.")
    _refuse_non_finite(small)
    work = folder.with_name(f".{folder.name}.part")
    try:
        with weights.writing(folder):
            shutil.rmtree(work, ignore_errors=True)
            work.mkdir(parents=True)
            method = str(preparation["recipe"]["method"])
            registry.get(METHODS, method).save(small.model, work)
            write_json(work / prepared.PREPARATION, preparation)
            manifest.Manifest(
                method=method,
                small=small.identity | base_of(str(preparation["small"]), small.tokenizer),
                files={file.name: catalogue.sha256_of(file) for file in sorted(work.iterdir())},
                large=large,
                data=preparation.get("tuned_on", {}),
                scores=scores or {},
                versions=manifest.versions(),
            ).write(work)
            checks.check_contents(work, manifest.read(work).files, finite=False)
            prepared.check(folder, checks.read_json(work / prepared.PREPARATION))
            for path in work.iterdir():  # libraries neither bring files to the disk, nor let
                path.chmod(0o644)  # others read them
                sync(path)
            sync(work)
            work.rename(folder)
            sync(folder.parent)
    finally:
        shutil.rmtree(work, ignore_errors=True)


def base_of(ref: str, tokenizer: Any) -> dict[str, Any]:
    """What must be the same in the base, beside its revision, when the artefact is loaded."""
    return {"files": catalogue.file_sums(ref), "template_sha256": template_sum(tokenizer)}


def template_sum(tokenizer: Any) -> str | None:
    """sha256 of a tokenizer's chat template; None: it has none."""
    template = template_of(tokenizer)
    return None if template is None else hashlib.sha256(template.encode()).hexdigest()


def _refuse_non_finite(small: SmallModel) -> None:
    for name, weight in small.model.named_parameters():
        if not bool(weight.detach().isfinite().all()):
            raise ArtefactError(f'The weight "{name}" is not finite.', "Tune again.")

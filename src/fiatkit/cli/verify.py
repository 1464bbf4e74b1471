"""fiat verify: check an artefact and tell what is in it, before it is trusted."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from fiatkit.cli._options import Base

if TYPE_CHECKING:
    from fiatkit.artefact import Artefact
    from fiatkit.tasks import Task

Folder = Annotated[Path, typer.Argument(metavar="ARTEFACT", help="Folder of `fiat tune`.")]


def run(artefact: Folder, base: Base = None) -> None:
    """Check every file of an artefact and tell what it is; exit 2 if anything is wrong.

    Every byte of the artefact and of its base is read; what loading would refuse, this does too.

    Example:  fiat verify my-model
    """
    from fiatkit import artefact as artefacts
    from fiatkit.cli._console import console
    from fiatkit.errors import ModelFileError, UnknownNameError
    from fiatkit.experiment.single import read_artefact
    from fiatkit.models import catalogue
    from fiatkit.report.text import one_line

    found, task, _ = read_artefact(artefact)
    for title, value in _facts(found, task):
        console.print(f"{title}: {one_line(value)}", markup=False, soft_wrap=True)
    ref = base or found.base
    told = f'Its base "{ref}" is not here; --base says where it lies.'
    try:
        if base or ref not in catalogue.ENTRIES or catalogue.is_cached(ref):  # fetches none
            artefacts.check_base(found, ref, anew=True)
            told = f"Its base, {ref}, is the one that was tuned."
    except (UnknownNameError, ModelFileError):
        if base or Path(ref).exists() or ref in catalogue.ENTRIES:
            raise
    count = len(found.manifest.files)
    console.print(f"{count} files, all intact. {one_line(told)}", markup=False, soft_wrap=True)


def _facts(found: Artefact, task: Task) -> Iterator[tuple[str, str]]:
    manifest, prepared, recipe = found.manifest, found.preparation, found.preparation["recipe"]
    yield "artefact", f"{found.folder} (format {manifest.format})"
    yield "task", f"{task.name} ({task.description or 'no description'})"
    if task.labels:
        yield "labels", ", ".join(task.labels)
    yield "recipe", f"{recipe.get('name')} ({recipe.get('label')}); method {manifest.method}"
    yield "base", _model(manifest.small)
    large = manifest.large or prepared.get("large")
    yield "large model", _model(large) if large else "none: rows go nowhere"
    if data := manifest.data or prepared.get("tuned_on"):
        yield "tuned on", f"{data['rows']} rows, seed {data['seed']}"
    for split, by_metric in manifest.scores.items():
        for name, score in by_metric.items():
            yield f"{split} {name}", _score(score)
    yield (
        "made with",
        ", ".join(f"{name} {v}" for name, v in manifest.versions.items())
        or (f"fiatkit {prepared.get('fiatkit', 'unknown')}"),
    )


def _model(values: Mapping[str, Any]) -> str:
    """A model's name, where it computes, its revision, its licence; as far as they are known."""
    name = values.get("name") or values.get("model") or "unnamed"
    place = values.get("endpoint") or values.get("base_url") or values.get("provider") or ""
    revision = str(values.get("revision") or "")[:12]
    licence = str(values.get("licence") or "")
    parts = [place and f"at {place}", revision, licence and f"licence: {licence}"]
    return ", ".join([str(name), *filter(None, parts)])


def _score(score: Mapping[str, Any]) -> str:
    from fiatkit.report.text import number

    low, high = number(score["low"]), number(score["high"])
    return f"{number(score['value'])} [{low}, {high}] on {score['n']} rows"

"""An artefact that is there already: whether the same command has made it, and what it tells."""

from __future__ import annotations

import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from fiatkit import artefact
from fiatkit.artefact import Artefact
from fiatkit.errors import ArtefactError
from fiatkit.experiment.plan import Cell, Plan
from fiatkit.experiment.scores import large_identity
from fiatkit.experiment.tuned import planned
from fiatkit.recipes import named
from fiatkit.records import Example


def artefact_at(folder: Path) -> Artefact | None:
    """The artefact in a folder, if it is one that tells how it was tuned; every file is checked."""
    if not folder.is_dir():
        return None
    try:
        found = artefact.read(folder)
    except ArtefactError:
        return None
    return found if "settings" in _tuned_on(found) else None


def made_by(found: Artefact, plan: Plan, cell: Cell, train: Sequence[Example]) -> bool:
    """Whether an artefact is what this plan makes: of the same task, rows, recipe, settings, base
    and large model."""
    wanted: dict[str, Any] = json.loads(json.dumps(planned(plan, cell, train)))
    tuned_on, held = wanted.pop("tuned_on"), found.preparation
    same = all(held.get(key) == value for key, value in wanted.items())
    same = same and all(_tuned_on(found).get(key) == value for key, value in tuned_on.items())
    if not same or _tuned_on(found).get("forced"):
        return False
    try:
        artefact.check_base(found, wanted["small"])
    except ArtefactError:
        return False
    writer, large = named(cell.recipe).writer, None
    if writer:
        large = large_identity(plan.config.writer_values(writer))
    return large == found.manifest.large


def best_of(found: Artefact) -> tuple[int, float | None]:
    """The epoch that was kept, and its dev score."""
    told = _tuned_on(found)
    return int(told["best_epoch"]), told["best_score"]


def _tuned_on(found: Artefact) -> dict[str, Any]:
    return dict(found.preparation.get("tuned_on") or {})

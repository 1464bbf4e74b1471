"""preparation.json, which says what prediction must do exactly as tuning did: its form."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from pydantic import BaseModel, ConfigDict, PositiveInt, ValidationError

from fiatkit import prompts
from fiatkit.errors import ArtefactError
from fiatkit.records import Side
from fiatkit.tasks import Task

PREPARATION = "preparation.json"


class Strict(BaseModel):
    """Values that are of their kind already: no number is read out of a text."""

    model_config = ConfigDict(strict=True)


class TunedOn(Strict):
    """What an artefact was tuned on, as far as every release tells it."""

    rows: int
    seed: int


class Recipe(Strict):
    """What every recipe has, whatever else."""

    name: str
    label: str
    method: str


class Preparation(Strict):
    """What preparation.json must hold beside the task; older ones lack what has a default."""

    fiatkit: str
    prompts_version: int
    recipe: Recipe
    large: dict[str, Any] | None
    prices: dict[str, Any] = {}
    small: str
    max_length: PositiveInt
    truncate: Side | None = None
    tuned_on: TunedOn | None = None


def check(folder: Path, values: Mapping[str, Any]) -> None:
    """Refuse a preparation that prediction could not repeat.

    Raises:
        ArtefactError: a value is missing or of another kind, or it was tuned with other prompts,
            or on a task that this release does not know.
    """
    if missing := {"task", *_REQUIRED} - values.keys():
        raise ArtefactError(f'"{folder}": its preparation lacks {", ".join(sorted(missing))}.')
    try:
        Preparation.model_validate(values)
    except ValidationError as error:
        place = ".".join(map(str, error.errors()[0]["loc"]))
        raise ArtefactError(f'"{folder / PREPARATION}" is damaged: "{place[:50]}".') from None
    maker = values["fiatkit"]
    if values["prompts_version"] != prompts.VERSION:
        raise ArtefactError(
            f'"{folder}" was tuned with prompts of version {values["prompts_version"]}; this '
            f"release writes version {prompts.VERSION}, which the model has not learnt.",
            f"Use fiatkit {maker}, or tune again.",
        )
    try:
        Task.model_validate(values["task"])
    except ValueError:
        raise ArtefactError(
            f'"{folder}" holds a task that this release does not know.', f"Use fiatkit {maker}."
        ) from None


_REQUIRED = {name for name, field in Preparation.model_fields.items() if field.is_required()}

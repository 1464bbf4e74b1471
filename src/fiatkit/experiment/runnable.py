"""Why a recipe cannot be run on what is there; this is told, and no other takes its place."""

from __future__ import annotations

from fiatkit import registry
from fiatkit.config import RunConfig
from fiatkit.errors import UsageError
from fiatkit.models import catalogue
from fiatkit.recipes import Recipe, named
from fiatkit.records import Example
from fiatkit.tasks import DataSplits, Task


def why_not(config: RunConfig, recipe: Recipe) -> str:
    """Why `recipe` is not run with these settings, in words; empty where it can be."""
    if recipe.tune and recipe.base == "plain" and config.small.plain is None:
        return "small.plain names no base from before instruction tuning"
    written = catalogue.config_of(config.small.model) if recipe.writer == "small" else {}
    if written.get("is_encoder_decoder"):
        return "the small model is an encoder-decoder, which does not write with exemplars"
    if recipe.answers == "classifier":
        return str(registry.get("experiment.classifiers", recipe.name).why_not(config))
    return ""


def why_not_for(task: Task, recipe: Recipe) -> str:
    """Why `recipe` is not run on this task, in words; empty where it can be."""
    return "label tasks only" if recipe.answers == "classifier" and not task.choices else ""


def why_not_on(recipe: Recipe, data: DataSplits) -> str:
    """Why `recipe` is not run on these rows, in words; empty where it can be."""
    if recipe.name == "stack" and not all(part.dev for part in data.folds or (data,)):
        return "there are no dev rows to fit it on"
    if recipe.hint == "shuffled":
        for name in ("train", "dev", "test"):
            rows: tuple[Example, ...] = getattr(data, name)
            if len({row.group for row in rows}) == 1:
                return f"the {name} rows are of one group, and a hint must come from another"
    return ""


def base_of(config: RunConfig, recipe: Recipe) -> str:
    """The model that a recipe tunes: the small model, or its plain twin.

    Raises:
        UsageError: the recipe cannot be run.
    """
    if why := why_not(config, recipe):
        raise UsageError(f"{recipe.name} cannot be run: {why}.", "Mend the run file.")
    return str(config.small.plain if recipe.base == "plain" else config.small.model)


def aliases(config: RunConfig) -> list[str]:
    """What to say of recipes that were named otherwise than they are called."""
    return [
        f'"{written}" is the recipe {named(written).name}; it is run once, under this name.'
        for written in config.recipes
        if " ".join(written.split()) != named(written).name
    ]

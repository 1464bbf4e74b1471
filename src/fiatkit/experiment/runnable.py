"""Why a recipe cannot be run on what is there; this is told, and no other takes its place."""

from __future__ import annotations

from fiatkit.config import RunConfig
from fiatkit.recipes import Recipe, named


def why_not(config: RunConfig, recipe: Recipe) -> str:
    """Why `recipe` is not run, in words; empty where it can be."""
    if recipe.tune and recipe.base == "plain" and config.small.plain is None:
        return "small.plain names no base from before instruction tuning"
    return ""


def aliases(config: RunConfig) -> list[str]:
    """What to say of recipes that were named otherwise than they are called."""
    return [
        f'"{written}" is the recipe {named(written).name}; it is run once, under this name.'
        for written in config.recipes
        if " ".join(written.split()) != named(written).name
    ]

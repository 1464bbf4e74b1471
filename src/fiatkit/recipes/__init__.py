"""Recipes: which of FIAT's ingredients are on. Settings of one path, not classes of their own."""

from fiatkit.recipes.named import (
    FIAT,
    FINE_TUNING,
    ICL,
    ICL_CONSTRAINED,
    INSTRUCT,
    LORA,
    NAMED,
    REMOVALS,
    named,
)
from fiatkit.recipes.recipe import METHODS, Recipe, Split, Writer

__all__ = [
    "FIAT",
    "FINE_TUNING",
    "ICL",
    "ICL_CONSTRAINED",
    "INSTRUCT",
    "LORA",
    "METHODS",
    "NAMED",
    "REMOVALS",
    "Recipe",
    "Split",
    "Writer",
    "named",
]

"""Recipes: which of FIAT's ingredients are on. Settings of one path, not classes of their own."""

from fiatkit.recipes.named import (
    ANSWER_HINT,
    DISTILLATION,
    FIAT,
    FINE_TUNING,
    ICL,
    ICL_CONSTRAINED,
    INSTRUCT,
    LORA,
    NAMED,
    OWN_RATIONALE,
    RATIONALE_ONLY,
    REMOVALS,
    SHUFFLED_HINT,
    SMALL_ICL,
    named,
)
from fiatkit.recipes.recipe import METHODS, Recipe, Split, Writer

__all__ = [
    "ANSWER_HINT",
    "DISTILLATION",
    "FIAT",
    "FINE_TUNING",
    "ICL",
    "ICL_CONSTRAINED",
    "INSTRUCT",
    "LORA",
    "METHODS",
    "NAMED",
    "OWN_RATIONALE",
    "RATIONALE_ONLY",
    "REMOVALS",
    "SHUFFLED_HINT",
    "SMALL_ICL",
    "Recipe",
    "Split",
    "Writer",
    "named",
]

"""The recipes by name, and the paper's removals from FIAT: `fiat -rationale -peft`.

Tables 2 and 3 of the paper are rows of this file, and a new ablation is a line of it.
"""

from __future__ import annotations

from dataclasses import replace
from functools import lru_cache
from typing import Any

from fiatkit.errors import UnknownNameError
from fiatkit.recipes.recipe import Recipe

FIAT = Recipe()
ICL = Recipe("icl", "In-context learning, as written", "large", rationale="none", tune=False)
ICL_CONSTRAINED = replace(
    ICL,
    name="icl_constrained",
    label="In-context learning, held to the labels",
    constrained=True,
)
INSTRUCT = Recipe("instruct", "LoRA + instruction, no rationale", rationale="none")
LORA = replace(INSTRUCT, name="lora", label="LoRA: no instruction, no rationale", instruction=False)
FINE_TUNING = replace(
    LORA,
    name="finetune",
    label="Full fine-tuning of the plain base, no instruction",
    method="full",
    base="plain",
)
DISTILLATION = Recipe(
    "distil", "LoRA + instruction; learns to write the rationale itself", rationale="target"
)
ANSWER_HINT = Recipe("answer_hint", "FIAT with the large model's answer alone", hint="answer")
RATIONALE_ONLY = Recipe(
    "rationale_only", "FIAT with the rationale, its answer removed", hint="reasoning"
)
SHUFFLED_HINT = Recipe("shuffled_hint", "FIAT with the rationale of another row", hint="shuffled")
OWN_RATIONALE = Recipe(
    "own_rationale", "FIAT with the untuned small model's own rationale", rationale="small"
)
SMALL_ICL = replace(
    ICL, name="small_icl", label="In-context learning by the untuned small model", answers="small"
)
TFIDF = Recipe(
    "tfidf",
    "TF-IDF of character n-grams + logistic regression",
    "classifier",
    instruction=False,
    rationale="none",
    tune=False,
)
SETFIT = replace(
    TFIDF, name="setfit", label="SetFit: sentence embeddings tuned on pairs + logistic regression"
)
STACK = replace(
    TFIDF,
    name="stack",
    label="Stacking: logistic regression on instruct's probabilities and the large model's answer",
    rationale="large",
)

NAMED: dict[str, Recipe] = {
    recipe.name: recipe
    for recipe in (
        *(ICL, ICL_CONSTRAINED, FINE_TUNING, LORA, INSTRUCT, FIAT, DISTILLATION),
        *(ANSWER_HINT, RATIONALE_ONLY, SHUFFLED_HINT, OWN_RATIONALE, SMALL_ICL),
        *(STACK, SETFIT, TFIDF),
    )
}
REMOVALS: dict[str, dict[str, Any]] = {  # in the order of the paper's Table 3
    "rationale": {"rationale": "none"},
    "instruction": {"instruction": False},
    "peft": {"method": "full"},
    "tuned_base": {"base": "plain"},
}
REMOVED = {  # as labels name them
    "rationale": "rationale",
    "instruction": "instruction",
    "peft": "PEFT (full tuning)",
    "tuned_base": "instruction-tuned base",
}


@lru_cache(maxsize=256)
def named(written: str) -> Recipe:
    """The recipe that a user names: one of `NAMED`, or `fiat` with removals.

    Removals may stand in any order. Where what is left is a recipe that has a name, this is it:
    `fiat -rationale` is `instruct`.

    Raises:
        UnknownNameError: with a suggestion.
    """
    words = written.split()
    if not words or words[0] != FIAT.name or len(words) == 1:
        name = " ".join(words)
        if name not in NAMED:
            raise UnknownNameError("recipe", written, NAMED)
        return NAMED[name]
    for word in words[1:]:
        if not word.startswith("-") or word[1:] not in REMOVALS:
            known = [f"-{name}" for name in REMOVALS]
            raise UnknownNameError(f'removal from "{FIAT.name}"', word, known)
    gone = [name for name in REMOVALS if f"-{name}" in words]
    left = FIAT
    for name in gone:
        left = replace(left, **REMOVALS[name])
    for recipe in NAMED.values():
        if replace(recipe, name=left.name, label=left.label) == left:
            return recipe
    label = "FIAT without " + ", ".join(REMOVED[name] for name in gone)
    return replace(left, name=" ".join([FIAT.name, *(f"-{name}" for name in gone)]), label=label)

"""Every recipe in a line: what it is, who answers, what is on, and which row of the paper it is."""

from __future__ import annotations

from dataclasses import dataclass
from itertools import accumulate

from fiatkit.recipes.named import FIAT, NAMED, REMOVALS, named
from fiatkit.recipes.recipe import METHODS, Recipe

PAPER = {  # rows of arXiv 2309.04663, as it calls them
    "icl": "Table 2: ICL",
    "finetune": "Table 2: Fine-tune; Table 3: - instruction-tuned base",
    "fiat": "Tables 2 and 3: FIAT",
    "instruct": "Table 3: - CoT-augmented tuning",
    "lora": "Table 3: - instruction-augmented tuning",
    "fiat -rationale -instruction -peft": "Table 3: - parameter-efficient tuning",
    "distil": "Fig. 4: distilled CoT",
}
ONE_BY_ONE = tuple(f"{FIAT.name} -{name}" for name in REMOVALS)
STEP_BY_STEP = tuple(accumulate((f" -{name}" for name in REMOVALS), initial=FIAT.name))[1:]


@dataclass(frozen=True, slots=True)
class Listed:
    """A recipe in words, for a table of all of them.

    Attributes:
        calls: of the large model for each row, in training and in serving.
        removals: what stands for it where it is named by what FIAT has and it has not.
        paper: the row of the paper's Tables 2 and 3 or of its figures, or "none".
    """

    name: str
    answers: str
    base: str
    tuning: str
    instruction: str
    rationale: str
    calls: str
    paper: str
    what: str
    removals: str


def listed() -> list[Listed]:
    """All recipes: the named ones, then FIAT without one or more of its ingredients."""
    found = dict.fromkeys([*NAMED.values(), *map(named, (*STEP_BY_STEP, *ONE_BY_ONE))])
    return [_listed(recipe) for recipe in found]


def _listed(recipe: Recipe) -> Listed:
    written = dict.fromkeys((*STEP_BY_STEP, *ONE_BY_ONE))
    removals = [w for w in written if named(w) == recipe and w != recipe.name]
    return Listed(
        name=recipe.name,
        answers=recipe.answers,
        base=_base(recipe),
        tuning=_tuning(recipe),
        instruction=_instruction(recipe),
        rationale=_rationale(recipe),
        calls=_calls(recipe),
        paper=PAPER.get(recipe.name, "none"),
        what=recipe.label,
        removals=", ".join(removals),
    )


def _base(recipe: Recipe) -> str:
    if recipe.answers != "small":
        return "none"
    return "plain" if recipe.base == "plain" else "instruction-tuned"


def _tuning(recipe: Recipe) -> str:
    if recipe.answers == "classifier":
        return "its own"
    return METHODS[recipe.method or "lora"] if recipe.tune else "none"


def _instruction(recipe: Recipe) -> str:
    if recipe.in_context:
        return "reasoning, with exemplars"
    return "tuning" if recipe.instruction and recipe.tune else "none"


def _rationale(recipe: Recipe) -> str:
    if recipe.in_context:
        return "the answer is in it"
    if recipe.rationale == "none":
        return "none"
    if recipe.answers == "classifier":
        return "large model's answer alone"
    if recipe.rationale == "target":
        return "large model's, as target"
    whose = "large model's" if recipe.rationale == "large" else "small model's own"
    part = {
        "whole": "",
        "answer": ", answer only",
        "reasoning": ", without its answer",
        "shuffled": ", of another row",
    }
    return whose + part[recipe.hint]


def _calls(recipe: Recipe) -> str:
    """Calls for each row in training, then in serving."""
    if recipe.writer != "large":
        return "0 / 0"
    if recipe.answers == "classifier":
        return "0 (dev rows: 1) / 1"
    return " / ".join(str(int(split in recipe.written_for)) for split in ("train", "test"))

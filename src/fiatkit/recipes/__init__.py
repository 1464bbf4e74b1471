"""Recipes: which of FIAT's ingredients are on. Settings of one path, not classes of their own."""

from __future__ import annotations

from dataclasses import asdict, dataclass, replace
from typing import TYPE_CHECKING, Any, Literal

from fiatkit.errors import UnknownNameError

if TYPE_CHECKING:
    from fiatkit.tuning import TuningSettings

Answers = Literal["large", "small"]
RationaleSource = Literal["large", "none"]
METHODS = {  # as the recipes' labels name them
    "lora": "LoRA",
    "dora": "DoRA",
    "rslora": "rsLoRA",
    "ia3": "(IA)³",
    "prompt_tuning": "prompt tuning",
    "full": "full tuning",
}


@dataclass(frozen=True, slots=True)
class Recipe:
    """One way to answer a query. The defaults are FIAT itself (paper, Algorithms 1 and 2).

    Attributes:
        answers: whose text is the answer, the large model's or the small one's.
        instruction: whether the small model reads the tuning instruction.
        rationale: where the rationale in the small model's prompt comes from.
        tune: whether the small model is tuned.
        method: how it is tuned; None: as the run's `tuning.method` says.
        rationale_dropout: share of the training rows that are read without their rationale.
        constrained: label tasks answered by the large model: hold it to the label set.
    """

    name: str = "fiat"
    label: str = "FIAT: large model's rationale + instruction + LoRA"
    answers: Answers = "small"
    instruction: bool = True
    rationale: RationaleSource = "large"
    tune: bool = True
    method: str | None = None
    constrained: bool = False
    rationale_dropout: float = 0.0

    @property
    def needs_rationales(self) -> bool:
        """Whether the large model is called, once for each query."""
        return self.answers == "large" or self.rationale == "large"

    @property
    def falls_back(self) -> bool:
        """Whether a row whose rationale failed is answered without one: only what was tuned on
        such rows too can do it."""
        return self.rationale == "large" and self.rationale_dropout > 0

    def tuned_by(self, settings: TuningSettings) -> Recipe:
        """The same recipe with what a run's `tuning:` says, where the recipe leaves it open."""
        if not self.tune:
            return self
        dropout = settings.rationale_dropout if self.rationale == "large" else 0.0
        method = self.method or settings.method
        label = self.label.replace("LoRA", METHODS.get(method, method))
        return replace(self, method=method, label=label, rationale_dropout=dropout)

    def to_dict(self) -> dict[str, Any]:
        """The recipe as plain values, for an artefact's preparation."""
        return asdict(self)


FIAT = Recipe()
ICL = Recipe("icl", "In-context learning, as written", "large", rationale="none", tune=False)
ICL_CONSTRAINED = Recipe(
    "icl_constrained",
    "In-context learning, held to the labels",
    "large",
    rationale="none",
    tune=False,
    constrained=True,
)
LORA = Recipe("lora", "LoRA: no instruction, no rationale", instruction=False, rationale="none")
INSTRUCT = Recipe("instruct", "LoRA + instruction, no rationale", rationale="none")
FINE_TUNING = Recipe(
    "finetune",
    "Full fine-tuning, no instruction",
    instruction=False,
    rationale="none",
    method="full",
)

NAMED: dict[str, Recipe] = {
    recipe.name: recipe for recipe in (ICL, ICL_CONSTRAINED, LORA, INSTRUCT, FIAT, FINE_TUNING)
}


def named(name: str) -> Recipe:
    """Return a named recipe. Raises UnknownNameError with a suggestion."""
    if name not in NAMED:
        raise UnknownNameError("recipe", name, NAMED)
    return NAMED[name]

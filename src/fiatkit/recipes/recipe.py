"""The recipe: which of FIAT's ingredients are on. It knows no task, no row and no model."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict, dataclass, fields, replace
from typing import TYPE_CHECKING, Any, Literal, get_args

from fiatkit.errors import UsageError

if TYPE_CHECKING:
    from fiatkit.tuning import TuningSettings

Answers = Literal["large", "small", "classifier"]
Source = Literal["large", "small", "target", "none"]
Hint = Literal["whole", "answer", "reasoning", "shuffled"]
Base = Literal["instruction_tuned", "plain"]
Writer = Literal["large", "small"]
Split = Literal["train", "dev", "test"]
METHODS = {  # as the recipes' labels name them
    "lora": "LoRA",
    "dora": "DoRA",
    "rslora": "rsLoRA",
    "ia3": "(IA)³",
    "prompt_tuning": "prompt tuning",
    "full": "full tuning",
}
ALLOWED: dict[str, tuple[str, ...]] = {
    "answers": get_args(Answers),
    "rationale": get_args(Source),
    "hint": get_args(Hint),
    "base": get_args(Base),
}


@dataclass(frozen=True, slots=True)
class Recipe:
    """One way to answer a query. The defaults are FIAT itself (paper, Algorithms 1 and 2).

    Attributes:
        answers: whose answer it is: the large model's, the small one's, or that of a classifier
            which is no language model.
        instruction: whether the small model reads the tuning instruction.
        rationale: what becomes of a rationale. `large`: the large model's stands in the small
            model's prompt; `small`: the one that the small model wrote before it was tuned does;
            `target`: the small model learns to write the large model's, and writes it itself when
            it answers; `none`.
        tune: whether the small model is tuned. Where it is not, its answer, or the large model's,
            is read from the text that it writes with the exemplars before it.
        method: how it is tuned; None: as the run's `tuning.method` says.
        rationale_dropout: share of the training rows that are read without their rationale.
        constrained: label tasks answered in context: hold the model to the label set.
        hint: what of a rationale stands in the prompt: the `whole` text, its `answer` alone, its
            `reasoning` without the answer, or the whole of another row's (`shuffled`).
        base: whether the `instruction_tuned` small model is tuned, or its `plain` twin.
    """

    name: str = "fiat"
    label: str = "FIAT: large model's rationale + instruction + LoRA"
    answers: Answers = "small"
    instruction: bool = True
    rationale: Source = "large"
    tune: bool = True
    method: str | None = None
    constrained: bool = False
    rationale_dropout: float = 0.0
    hint: Hint = "whole"
    base: Base = "instruction_tuned"

    @property
    def learns(self) -> bool:
        """Whether training rows teach it anything, so that their number and a seed matter."""
        return self.tune or self.answers == "classifier"

    @property
    def in_context(self) -> bool:
        """Whether the answer is read from what an untuned model writes."""
        return not self.learns

    @property
    def writer(self) -> Writer | None:
        """Which model's texts it needs, as that model is before any tuning."""
        if self.answers != "classifier" and self.in_context:
            return self.answers
        sources: dict[Source, Writer] = {"large": "large", "target": "large", "small": "small"}
        return sources.get(self.rationale)

    @property
    def written_for(self) -> tuple[Split, ...]:
        """For the rows of which splits `writer` writes. New rows are as those of test."""
        if self.writer is None:
            return ()
        if self.in_context:
            return ("test",)
        if self.answers == "classifier":
            return ("dev", "test")
        return ("train",) if self.rationale == "target" else ("train", "dev", "test")

    @property
    def serving_writer(self) -> Writer | None:
        """Which model writes a text for each new row before it is answered."""
        return self.writer if "test" in self.written_for else None

    @property
    def reads_rationale(self) -> bool:
        """Whether a rationale stands in the small model's prompt."""
        return self.tune and self.rationale in ("large", "small")

    @property
    def falls_back(self) -> bool:
        """Whether a row whose rationale failed is answered without one: only what was tuned on
        such rows too can do it."""
        return self.reads_rationale and (self.rationale_dropout > 0 or self.rationale == "small")

    def tuned_by(self, settings: TuningSettings) -> Recipe:
        """The same recipe with what a run's `tuning:` says, where the recipe leaves it open."""
        if not self.tune:
            return self
        dropout = settings.rationale_dropout if self.reads_rationale else 0.0
        method = self.method or settings.method
        label = self.label.replace("LoRA", METHODS.get(method, method))
        return replace(self, method=method, label=label, rationale_dropout=dropout)

    def to_dict(self) -> dict[str, Any]:
        """The recipe as plain values, for an artefact's preparation."""
        return asdict(self)

    @classmethod
    def from_dict(cls, values: Mapping[str, Any]) -> Recipe:
        """The recipe in plain values; what an older release did not know is as it was then.

        Raises:
            UsageError: a key or a value that this release does not know.
        """
        unknown = sorted(values.keys() - {field.name for field in fields(cls)})
        wrong = [f"{k}: {values[k]}" for k, v in ALLOWED.items() if values.get(k, v[0]) not in v]
        if unknown or wrong:
            raise UsageError(f"This release knows no recipe with {', '.join([*unknown, *wrong])}.")
        return cls(**values)

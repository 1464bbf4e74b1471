"""How the small model is tuned. The paper gives no value for any of these; they are our choice."""

from __future__ import annotations

import math
import re
from typing import Any, Literal

from pydantic import Field, PositiveFloat, field_validator, model_validator

from fiatkit import registry
from fiatkit.errors import UnknownNameError
from fiatkit.settings import Strict

ROOM = "tuning.methods"


class TuningSettings(Strict):
    """The `tuning:` block of a run file.

    Attributes:
        method: lora, dora, rslora, ia3, prompt_tuning or full; a recipe that names its own
            method (finetune: full) keeps it.
        rank: LoRA's rank, also of dora and rslora; servers load up to 16 without further flags.
        alpha: LoRA's scale is alpha / rank; of rslora, alpha / sqrt(rank).
        virtual_tokens: trained embeddings before each prompt, for prompt_tuning.
        layers: "all", or "top-8" for the upper eight layers only; the ones below are then computed
            once for all rows.
        learning_rate: default: the method's own (3e-4 for LoRA, 3e-5 for full tuning).
        epochs: passes over the rows; the epoch with the best dev score is kept.
        batch_rows: rows of one optimizer step.
        batch_tokens: tokens, padding included, that go through the model at once; a step's rows
            are divided into as many parts as that takes, with the same gradient.
        warmup: share of the steps in which the learning rate rises; then it falls linearly to 0.
        weight_decay: of AdamW.
        clip: largest norm of the gradient; null: it is not clipped.
        max_length: tokens of prompt and target together; a longer prompt has its rationale cut.
        rationale_dropout: share of the training rows that are read without their rationale, so
            that the model can also answer a row whose rationale failed. A row's id and the seed
            decide, so that it is the same in every epoch, whatever other rows there are.
        patience: stop after so many epochs without a better dev score.
        checkpoint_every: steps between checkpoints; default: once a minute, and less often where
            saving would take more than a twentieth of the time.
        class_weights: "none"; "balanced", so that rare labels count as much as common ones; or a
            weight for each label, {label: weight}. Scaled so that their mean over the rows is 1.
        label_smoothing: share of each token's loss that is spread over the whole vocabulary.
    """

    method: str = "lora"
    rank: int = Field(default=16, ge=1, le=1024)
    alpha: float = Field(default=32.0, gt=0)
    virtual_tokens: int = Field(default=20, ge=1, le=1024)
    layers: str = "all"
    learning_rate: float | None = Field(default=None, gt=0)
    epochs: int = Field(default=4, ge=1, le=1000)
    batch_rows: int = Field(default=8, ge=1)
    batch_tokens: int = Field(default=2048, ge=16)
    warmup: float = Field(default=0.1, ge=0, le=1)
    weight_decay: float = Field(default=0.0, ge=0)
    clip: float | None = Field(default=1.0, gt=0)
    max_length: int = Field(default=1024, ge=16)
    rationale_dropout: float = Field(default=0.0, ge=0, le=1)
    patience: int | None = Field(default=None, ge=1)
    checkpoint_every: int | None = Field(default=None, ge=1)
    class_weights: Literal["none", "balanced"] | dict[str, PositiveFloat] = "none"
    label_smoothing: float = Field(default=0.0, ge=0, lt=1)

    @field_validator("method")
    @classmethod
    def _known_method(cls, value: str) -> str:
        known = registry.names(ROOM)
        if value not in known:
            raise ValueError(UnknownNameError("tuning method", value, known).one_line)
        return value

    @field_validator("clip", mode="before")
    @classmethod
    def _no_clip_is_null(cls, value: Any) -> Any:
        if value == math.inf:
            raise ValueError("should be a finite number; null leaves the gradient as it is")
        return value

    @field_validator("class_weights", mode="before")
    @classmethod
    def _weights_are_told(cls, value: Any) -> Any:
        if value in ("none", "balanced"):
            return value
        if not isinstance(value, dict):
            raise ValueError(f"should be none, balanced or {{label: weight}} (given: {value!r})")
        for label, weight in value.items():
            if not isinstance(label, str):
                raise ValueError(f"the label {label!r} should be text; put it into quotes")
            if type(weight) not in (int, float) or not 0 < weight < math.inf:
                raise ValueError(
                    f'the weight of "{label}" should be a finite number above 0 (given: {weight!r})'
                )
        return value

    @field_validator("layers")
    @classmethod
    def _layers_are_told(cls, value: str) -> str:
        if value != "all" and not re.fullmatch(r"top-[1-9]\d{0,3}", value):
            raise ValueError(
                f'should be all, or top-8 for the upper eight layers (given: "{value}")'
            )
        return value

    @model_validator(mode="after")
    def _layers_fit_the_method(self) -> TuningSettings:
        if self.method == "prompt_tuning" and self.layers != "all":
            raise ValueError("layers: prompt_tuning tunes no layer; leave layers out")
        return self

    @property
    def top_layers(self) -> int | None:
        """How many layers, counted from the top, are tuned; None for all."""
        return None if self.layers == "all" else int(self.layers.removeprefix("top-"))

    def for_recipe(self, method: str, context: int) -> TuningSettings:
        """These settings with a recipe's method, and room for what the method puts before a prompt.

        Args:
            method: the recipe's.
            context: most tokens that the small model can read.
        """
        room = {}
        if method == "prompt_tuning":
            room = {"max_length": min(self.max_length, context - self.virtual_tokens)}
        return self.model_copy(update={"method": method, **room})

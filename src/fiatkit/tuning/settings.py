"""How the small model is tuned. The paper gives no value for any of these; they are our choice."""

from __future__ import annotations

from typing import Literal

from pydantic import Field

from fiatkit.settings import Strict


class TuningSettings(Strict):
    """The `tuning:` block of a run file.

    Attributes:
        method: "lora" or "full"; a recipe sets it.
        rank: LoRA's rank; servers load up to 16 without further flags.
        alpha: LoRA's scale is alpha / rank.
        learning_rate: default: 3e-4 for LoRA, 3e-5 for full tuning.
        epochs: passes over the rows; the epoch with the best dev score is kept.
        batch_rows: rows of one optimizer step.
        batch_tokens: tokens, padding included, that go through the model at once; a step's rows
            are divided into as many parts as that takes, with the same gradient.
        warmup: share of the steps in which the learning rate rises; then it falls linearly to 0.
        clip: largest norm of the gradient.
        max_length: tokens of prompt and target together; a longer prompt has its rationale cut.
        patience: stop after so many epochs without a better dev score.
    """

    method: Literal["lora", "full"] = "lora"
    rank: int = Field(default=16, ge=1, le=1024)
    alpha: float = Field(default=32.0, gt=0)
    learning_rate: float | None = Field(default=None, gt=0)
    epochs: int = Field(default=4, ge=1, le=1000)
    batch_rows: int = Field(default=8, ge=1)
    batch_tokens: int = Field(default=2048, ge=16)
    warmup: float = Field(default=0.1, ge=0, le=1)
    weight_decay: float = Field(default=0.0, ge=0)
    clip: float = Field(default=1.0, gt=0)
    max_length: int = Field(default=1024, ge=16)
    patience: int | None = Field(default=None, ge=1)

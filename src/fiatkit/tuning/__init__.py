"""Pairs of prompt and target in, a tuned small model out."""

from fiatkit.tuning.checkpoints import Checkpoints
from fiatkit.tuning.settings import TuningSettings
from fiatkit.tuning.tuner import TuningResult, tune

__all__ = ["Checkpoints", "TuningResult", "TuningSettings", "tune"]

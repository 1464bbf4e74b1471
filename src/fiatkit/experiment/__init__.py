"""Recipes x sizes x seeds in, a run folder out; each finished cell is written at once."""

from fiatkit.experiment.folds import compare
from fiatkit.experiment.plan import Cell, Plan, lay_out, make_plan

__all__ = ["Cell", "Plan", "compare", "lay_out", "make_plan"]

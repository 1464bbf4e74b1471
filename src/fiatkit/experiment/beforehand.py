"""What only a small model's own weights and tokenizer can tell, asked before anything is paid for.

The texts of the model that writes are not there yet: rows are looked at with a made-up one in its
place, as long as it may be.
"""

from __future__ import annotations

import gc
from collections.abc import Iterable, Sequence

from fiatkit.experiment.plan import Cell, Plan
from fiatkit.experiment.runnable import base_of
from fiatkit.experiment.tuned import flaws_of
from fiatkit.experiment.usable import refuse_too_few
from fiatkit.models._devices import choose
from fiatkit.models.local import SmallModel
from fiatkit.reasoning.prices import IN_PROCESS
from fiatkit.recipes import named
from fiatkit.recipes.predictor import Predictor, training_pairs
from fiatkit.records import Example, Rationale, TrainingPair
from fiatkit.tuning import preflight
from fiatkit.tuning.tuner import encode_rows


def check_small(plan: Plan, cells: Sequence[Cell]) -> None:
    """Load the small models that cells will tune, one after the other, and stop at what would stop
    the tuning itself: in the model, or in its rows. Nothing of it stays in memory.

    Raises:
        ModelFileError: a model cannot be used.
        EnvironmentProblem: there is no room for it, or its device is not here.
        UsageError: too few rows can be used.
        DataError: rows have a fatal flaw (see `preflight`).
    """
    import torch

    config = plan.config
    if config.large.provider in IN_PROCESS and choose(config.small.device) != "cpu":
        return  # nothing is paid for, and on that device the two models would share the memory
    bases = {cell: base_of(config, named(cell.recipe)) for cell in cells}
    for base in dict.fromkeys(bases.values()):
        small = SmallModel.load(base, device=config.small.device)
        own = [cell for cell in cells if bases[cell] == base]
        for recipe in dict.fromkeys(cell.recipe for cell in own):
            _check_rows(plan, small, recipe, [cell for cell in own if cell.recipe == recipe])
        del small
        gc.collect()
        torch.cuda.empty_cache()


def _check_rows(plan: Plan, small: SmallModel, name: str, cells: Sequence[Cell]) -> None:
    """Look at the rows of one recipe's cells."""
    recipe = named(name).tuned_by(plan.config.tuning)
    limit = plan.config.tuning.for_recipe(str(recipe.method), small.context).max_length
    predictor = Predictor(plan.task, recipe, small, max_length=limit, truncate=plan.config.truncate)
    drawn = {cell: plan.drawn_rows(cell) for cell in cells}
    together = {row.id: row for rows in drawn.values() for row in rows}
    pairs = pretended_pairs(predictor, together.values())
    encoded, skipped, _ = encode_rows(small, pairs, limit, predictor.reserve)
    notes = [f"{count} training rows skipped: {why}" for why, count in skipped.items()]
    usable = {row.query_id for row in encoded}
    for rows in drawn.values():
        refuse_too_few(plan, rows, usable & {row.id for row in rows}, notes)
    preflight.refuse(flaws_of(predictor, pairs, encoded))


def pretended(predictor: Predictor) -> Rationale:
    """A rationale as long as one may be, where one is read."""
    task = predictor.task
    budget = "x " * task.reasoning.max_tokens if predictor.recipe.reads_rationale else "x"
    longest = max(task.choices or ["x"], key=len)
    return Rationale("", budget, longest, "ok", "")


def pretended_pairs(predictor: Predictor, rows: Iterable[Example]) -> list[TrainingPair]:
    """What a recipe would be tuned on if each row had that rationale."""
    examples, text = list(rows), pretended(predictor)
    written = {row.id: text for row in examples}
    task, recipe = predictor.task, predictor.recipe
    return training_pairs(task, recipe, examples, written, truncate=predictor.truncate)[0]

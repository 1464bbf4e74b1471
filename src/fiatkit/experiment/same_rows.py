"""The rows that a comparison trains on: of one size and seed, the same for every recipe.

A row that one recipe cannot use, because its rationale failed or because it is too long with that
recipe's instruction, is left out of all, counted and told. What was left out once stays so in its
run folder, whatever recipes are added or taken away.
"""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import replace
from typing import TYPE_CHECKING, Any

from fiatkit.data.splits import nested_subset
from fiatkit.experiment.plan import Cell, Plan
from fiatkit.experiment.runnable import base_of
from fiatkit.experiment.usable import refuse_too_few
from fiatkit.recipes import Recipe, Writer, named
from fiatkit.recipes.hints import given
from fiatkit.recipes.predictor import Predictor, training_pairs
from fiatkit.records import Example, Rationale, TrainingPair

if TYPE_CHECKING:
    from fiatkit.models.local import SmallModel

Rationales = Mapping[str, Rationale]
Written = Mapping[Writer, Rationales]
LeftOut = dict[tuple[int, int], dict[str, str]]


def texts_of(plan: Plan, cell: Cell, train: Sequence[Example], written: Written) -> Rationales:
    """The rationale that each row of a cell is given, by query id."""
    if cell.writer is None:
        return {}
    rows: list[Iterable[Example]] = [train, plan.data.dev, plan.data.test]
    splits = [{row.id: row.group for row in some} for some in rows]
    return given(named(cell.recipe), written[cell.writer], splits, cell.seed or 0)


def with_same_rows(plan: Plan, pending: Sequence[Cell], written: Written) -> Plan:
    """The plan without the training rows that some recipe cannot use.

    Args:
        plan: the run.
        pending: the cells to fill; finished ones have told what they could not use.
        written: the rationales that the pending cells need.

    Raises:
        UsageError: too few rows are left, or a label has none left.
    """
    found = _recorded(plan)
    tuned = [cell for cell in pending if cell.is_tuned]
    largest = {(c.recipe, c.seed): c for c in sorted(tuned, key=lambda c: c.size or 0)}
    ready: list[tuple[Cell, Recipe, list[TrainingPair]]] = []
    for cell in largest.values():
        recipe = named(cell.recipe).tuned_by(plan.config.tuning)
        train = plan.drawn_rows(cell)
        texts = texts_of(plan, cell, train, written)
        pairs, failed = training_pairs(
            plan.task, recipe, train, texts, cell.seed or 0, plan.config.truncate
        )
        _leave_out(found, plan, cell, failed)
        ready.append((cell, recipe, pairs))
    _refuse_too_few(plan, tuned, found)
    for base in dict.fromkeys(base_of(plan.config, recipe) for _, recipe, _ in ready):
        small = _load(plan, base)
        for cell, recipe, pairs in ready:
            if base_of(plan.config, recipe) == base:
                _leave_out(found, plan, cell, _too_long(plan, recipe, small, pairs))
    _refuse_too_few(plan, tuned, found)
    return replace(plan, left_out=found)


def with_other_rows(plan: Plan) -> list[Cell]:
    """The finished cells that were trained on rows which are left out now."""
    return [
        cell
        for cell in plan.cells
        if cell.size is not None
        and plan.finished(cell)
        and (before := _record(plan, cell.folder).get("left_out")) is not None
        and set(before) != set(plan.left_out.get(cell.rows, {}))
    ]


def left_out_notes(plan: Plan, cell: Cell) -> list[str]:
    """How many of a cell's rows are left out, and why, in words."""
    reasons = Counter(plan.left_out.get(cell.rows, {}).values())
    return [
        f"{count} training rows left out of every recipe: {why}" for why, count in reasons.items()
    ]


def _recorded(plan: Plan) -> LeftOut:
    """What the finished cells of the run folder left out, also of recipes that are gone."""
    found: LeftOut = {}
    for file in sorted((plan.out / "cells").glob("*/cell.json")):
        record = _record(plan, file.parent.name)
        if record["size"] is not None:
            place = found.setdefault((record["size"], record["seed"]), {})
            place.update(record.get("left_out", {}))
    return found


def _record(plan: Plan, folder: str) -> dict[str, Any]:
    found: dict[str, Any] = json.loads((plan.out / "cells" / folder / "cell.json").read_text())
    return found


def _leave_out(found: LeftOut, plan: Plan, cell: Cell, why: Mapping[str, str]) -> None:
    """Note what a recipe cannot use, at every size that has the row."""
    for size in plan.sizes if why else ():
        rows = nested_subset(plan.data.train, size, cell.seed or 0)
        place = found.setdefault((size, cell.seed or 0), {})
        for row in rows:
            if row.id in why:
                place.setdefault(row.id, f"{why[row.id]} ({cell.recipe})")


def _refuse_too_few(plan: Plan, tuned: Sequence[Cell], found: LeftOut) -> None:
    for cell in tuned:
        rows = plan.drawn_rows(cell)
        kept = {row.id for row in rows} - set(found.get(cell.rows, {}))
        notes = left_out_notes(replace(plan, left_out=found), cell)
        refuse_too_few(plan, rows, kept, notes)


def _load(plan: Plan, base: str) -> SmallModel:
    from fiatkit.models.local import SmallModel

    return SmallModel.load(base, device=plan.config.small.device)


def _too_long(
    plan: Plan, recipe: Recipe, small: SmallModel, pairs: Sequence[TrainingPair]
) -> dict[str, str]:
    """Rows that the small model cannot take whole, though a rationale may be cut."""
    from fiatkit.tuning.tuner import encode_pair

    limit = plan.config.tuning.for_recipe(str(recipe.method), small.context).max_length
    reserve = Predictor(plan.task, recipe, small, max_length=limit).reserve
    return {
        pair.prompt.query_id: "too_long"
        for pair in pairs
        if encode_pair(small, pair, limit, reserve)[0].too_long
    }

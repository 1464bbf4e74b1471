"""What a comparison will do, before it does anything: its cells, its calls, its likely time."""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path

from fiatkit.config import RunConfig
from fiatkit.data.splits import nested_subset
from fiatkit.errors import UsageError, did_you_mean
from fiatkit.experiment.runnable import aliases, why_not, why_not_for, why_not_on
from fiatkit.models import catalogue
from fiatkit.prompts import target_text
from fiatkit.recipes import Recipe, Writer, named
from fiatkit.records import Example, Query
from fiatkit.tasks import DataSplits, Task, load_data, load_task

FLOORS = ("majority", "tfidf")


@dataclass(frozen=True, slots=True)
class Cell:
    """One recipe at one training size and seed; untuned recipes have neither. A floor is a line to
    compare with, which nobody asked for by name."""

    recipe: str
    size: int | None
    seed: int | None
    is_floor: bool = False

    @property
    def folder(self) -> str:
        """The name of the cell's folder."""
        return f"{self.recipe.replace(' ', '')}-n{self.size or 0}-s{self.seed or 0}"

    @property
    def rows(self) -> tuple[int, int]:
        """Size and seed: what decides the training rows."""
        return self.size or 0, self.seed or 0

    @property
    def writer(self) -> Writer | None:
        """Which model writes for this, before any tuning."""
        return None if self.is_floor else named(self.recipe).writer

    @property
    def is_tuned(self) -> bool:
        """Whether a small model is tuned for this."""
        return not self.is_floor and named(self.recipe).tune

    @property
    def is_classifier(self) -> bool:
        """Whether something that is no language model is trained for this."""
        return not self.is_floor and named(self.recipe).answers == "classifier"


@dataclass(frozen=True, slots=True)
class Plan:
    """The task, its rows and the cells, in the order in which they are filled.

    `sizes` are those of the run, `all` as a number; `config.sizes` are the same numbers.
    `force_resume`: take up checkpoints of a tuning that was begun with something else, too.
    `require_better`: a tuned model must be better on dev than the most frequent answer.
    `not_run` says of recipes that were asked for why they have no cells.
    `notes` are what to tell of data and recipes before anything is done.
    `left_out` says by size and seed which training rows no recipe is trained on, and why.
    """

    config: RunConfig
    task: Task
    data: DataSplits
    sizes: tuple[int, ...]
    cells: tuple[Cell, ...]
    force_resume: bool = False
    require_better: bool = False
    not_run: Mapping[str, str] = field(default_factory=dict)
    notes: tuple[str, ...] = ()
    left_out: Mapping[tuple[int, int], Mapping[str, str]] = field(default_factory=dict)

    def train_rows(self, cell: Cell) -> list[Example]:
        """The rows that a cell trains on; the same for every recipe of one size and seed."""
        left_out = self.left_out.get(cell.rows, {})
        return [row for row in self.drawn_rows(cell) if row.id not in left_out]

    def drawn_rows(self, cell: Cell) -> list[Example]:
        """The rows that are drawn for a cell, before those that some recipe cannot use are left
        out."""
        if cell.size is None:
            return []
        return nested_subset(self.data.train, cell.size, cell.seed or 0)

    def finished(self, cell: Cell) -> bool:
        """Whether the run folder holds this cell's result. That of a floor is not that of a recipe
        of its name, which may have been asked for since."""
        file = self.out / "cells" / cell.folder / "cell.json"
        if not file.is_file() or cell.recipe not in FLOORS:
            return file.is_file()
        kind = json.loads(file.read_text(encoding="utf-8"))["kind"]
        return bool((kind == "floor") == cell.is_floor)

    @property
    def out(self) -> Path:
        """The run folder."""
        assert self.config.out is not None
        return self.config.out

    @property
    def parts(self) -> tuple[Plan, ...]:
        """A plan for each fold, with a run folder of its own; without folds, this plan itself."""
        return tuple(
            replace(
                self,
                data=data,
                config=self.config.model_copy(update={"out": self.fold_out(number)}),
            )
            for number, data in enumerate(self.data.folds, 1)
        ) or (self,)

    def fold_out(self, number: int) -> Path:
        """The run folder of a fold, counted from 1."""
        return self.out / "folds" / str(number)

    def queries_for(self, writer: Writer) -> list[Query]:
        """Every query for which a model must write, as it is before tuning: test rows first, none
        twice."""
        found: dict[str, Query] = {}
        writing = [cell for cell in self.cells if cell.writer == writer]
        if any("test" in named(cell.recipe).written_for for cell in writing):
            found.update((e.id, e.query) for e in self.data.test)
        for cell in writing:
            recipe = named(cell.recipe)
            if "train" in recipe.written_for:
                found.update((e.id, e.query) for e in self.drawn_rows(cell))
            if "dev" in recipe.written_for:
                found.update((e.id, e.query) for e in self.data.dev)
        return list(found.values())


def make_plan(config: RunConfig, frames: Mapping[str, object] | None = None) -> Plan:
    """Read task and data and lay out the cells. Nothing is spent.

    Args:
        config: the run.
        frames: tables of pandas, polars or Arrow in place of the files that `config.data` names:
            `{"file": frame}`, or `{"train": ..., "test": ...}` and perhaps `"dev"`.

    Raises:
        DataError: rows that cannot be used.
        UsageError: there is no such task or small model, a size is larger than the training rows,
            or there is nothing to test on.
    """
    plan = lay_out(config, frames)
    for problem in problems(config, plan):
        raise problem
    return plan


def lay_out(config: RunConfig, frames: Mapping[str, object] | None = None) -> Plan:
    """The same plan, but without a look at `problems`: sizes that are too large are left out.

    Raises:
        DataError: rows that cannot be used.
        UsageError: there is no such task.
    """
    task = load_task(config.task)
    data = load_data(task, config.data, frames)
    most = _least(data)
    wanted = [most if size == "all" else size for size in config.sizes]
    sizes = tuple(dict.fromkeys(size for size in wanted if size <= most)) or (most,)
    recipes = list(dict.fromkeys(named(written).name for written in config.recipes))
    not_run = {name: why for name in recipes if (why := _why_not(config, task, data, named(name)))}
    notes = [*data.notes, *aliases(config)]
    notes += [f"{name} is not run: {why}." for name, why in not_run.items()]
    resolved = config.model_copy(update={"sizes": list(sizes), "recipes": recipes})
    running = [named(name) for name in recipes if name not in not_run]
    cells = tuple(_cells(resolved, task, sizes, running))
    return Plan(resolved, task, data, sizes, cells, not_run=not_run, notes=tuple(notes))


def _why_not(config: RunConfig, task: Task, data: DataSplits, recipe: Recipe) -> str:
    return why_not_for(task, recipe) or why_not(config, recipe) or why_not_on(recipe, data)


def problems(config: RunConfig, plan: Plan) -> Iterator[UsageError]:
    """What stops a run whose rows are in order."""
    for ref in filter(None, (config.small.model, config.small.plain)):
        try:
            catalogue.check_name(ref)
        except UsageError as error:
            yield error
    if len(plan.not_run) == len(plan.config.recipes):
        told = "; ".join(f"{name}: {why}" for name, why in plan.not_run.items())
        yield UsageError(f"None of the recipes can be run: {told}.", "Name others, or mend this.")
    yield from _class_weights(config, plan)
    most = _least(plan.data)
    largest = max((size for size in config.sizes if size != "all"), default=0)
    if largest > most:
        least = min((plan.data, *plan.data.folds), key=lambda part: len(part.train))
        others = f"{len(least.dev)} are dev, {len(least.test)} test, {least.held_out} held out"
        yield UsageError(
            f"sizes: {largest} training rows were asked for, but there are {most} "
            f"({others} with the exemplars).",
            f"Put sizes of at most {most} into the run file; all stands for {most}.",
        )
    if not plan.data.test:
        yield UsageError(
            "There are no test rows.", "Give data.test, or one data.file that is split for you."
        )


def _class_weights(config: RunConfig, plan: Plan) -> Iterator[UsageError]:
    """Labels without a weight where others have one, and weights of what is no label."""
    weights = config.tuning.class_weights
    if isinstance(weights, str):
        return
    rows = [row for part in (plan.data, *plan.data.folds) for row in part.train]
    found = dict.fromkeys(target_text(plan.task, row.target) for row in rows)
    labels = [target_text(plan.task, label) for label in plan.task.choices or ()]
    for label in weights if labels else ():
        if label not in labels:
            yield UsageError(
                f'tuning.class_weights names "{label}", which is no label of the task '
                f"({', '.join(labels)}).",
                did_you_mean(label, labels),
            )
    if missing := [f'"{target}"' for target in found if target not in weights]:
        more = f" and {len(missing) - 3} more" if len(missing) > 3 else ""
        yield UsageError(
            f"tuning.class_weights has no weight for {', '.join(missing[:3])}{more}.",
            "Give every label of the training rows one: {label: weight}.",
        )


def _least(data: DataSplits) -> int:
    """The training rows, of the fold that has the fewest."""
    return min(len(part.train) for part in (data, *data.folds))


def _cells(
    config: RunConfig, task: Task, sizes: Sequence[int], recipes: Sequence[Recipe]
) -> list[Cell]:
    cells: list[Cell] = []
    names = [recipe.name for recipe in recipes]
    if config.floors and task.choices:
        floors = [name for name in FLOORS if name not in names]
        cells += [
            Cell(n, size, seed, True) for n in floors for size in sizes for seed in config.seeds
        ]
    if "icl" in names and task.choices and "icl_constrained" not in names:
        names.insert(names.index("icl") + 1, "icl_constrained")
    cells += [Cell(name, None, None) for name in names if not named(name).learns]
    cells += [
        Cell(name, size, seed)
        for seed in config.seeds
        for size in sizes
        for name in names
        if named(name).learns
    ]
    return cells

"""The recipes as lines of text, for `fiat compare --list-recipes`."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from fiatkit.recipes.listing import Listed

HEAD = {
    "name": "name",
    "answers": "answers",
    "base": "base",
    "tuning": "tuning",
    "instruction": "instruction",
    "rationale": "rationale",
    "calls": "large calls a row: train / serve",
    "paper": "in the paper",
    "what": "what it is",
}


def recipe_lines(run_file: Path | None) -> list[str]:
    """A head and a line for each recipe; with a run file, also whether it can be run there."""
    from fiatkit.recipes.listing import listed

    found = listed()
    names = list(HEAD)
    table = [list(HEAD.values()), *([str(getattr(r, n)) for n in names] for r in found)]
    marks = ["", *_marks(run_file, found)]
    for row, mark in zip(table, marks, strict=True):
        row[-1] += mark
    widths = [max(map(len, column)) for column in zip(*table, strict=True)]
    return [
        "  ".join(cell.ljust(w) for cell, w in zip(row, widths, strict=True)).rstrip()
        for row in table
    ]


def _marks(run_file: Path | None, found: list[Listed]) -> list[str]:
    """What follows a recipe's own words: its other names, and what it needs or lacks."""
    alias = [f" (= {recipe.removals})" if recipe.removals else "" for recipe in found]
    if run_file is None:
        needs = [" [needs small.plain]" if recipe.base == "plain" else "" for recipe in found]
        return [a + n for a, n in zip(alias, needs, strict=True)]
    from fiatkit.cli._run_file import read_run_file
    from fiatkit.experiment import lay_out
    from fiatkit.recipes import named

    config = read_run_file(run_file)
    everything = config.model_copy(update={"recipes": [recipe.name for recipe in found]})
    not_run = lay_out(everything).not_run
    asked = {named(name).name for name in config.recipes}
    told = []
    for recipe in found:
        if why := not_run.get(recipe.name):
            told.append(f" [not run: {why}]")
        else:
            told.append(" [in this run]" if recipe.name in asked else "")
    return [a + n for a, n in zip(alias, told, strict=True)]

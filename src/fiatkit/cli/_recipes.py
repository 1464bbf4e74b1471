"""The recipes as lines of text, for `fiat compare --list-recipes`."""

from __future__ import annotations

import textwrap
from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from fiatkit.recipes.listing import Listed

WIDTH = 80
INDENT = "    "
DETAILS = {
    "answers": "answers",
    "base": "base",
    "tuning": "tuning",
    "instruction": "instruction",
    "rationale": "rationale",
    "calls": "calls a row",
    "paper": "in the paper",
}
HEAD = (
    "Each recipe, and under it what it has: who answers, on which base, how that is tuned, what it "
    "reads, how often the large model is called for a row in training / in serving, and where the "
    "paper has it. What it has not is left out."
)


def recipe_lines(run_file: Path | None) -> list[str]:
    """A head, and for each recipe its name, what it is and, indented, what it has, all within 80
    columns; with a run file, also whether it can be run there."""
    from fiatkit.recipes.listing import listed

    found = listed()
    lines = [*textwrap.wrap(HEAD, WIDTH), ""]
    for recipe, mark in zip(found, _marks(run_file, found), strict=True):
        has = {title: getattr(recipe, name) for name, title in DETAILS.items()}
        told = "; ".join(f"{title}: {text}" for title, text in has.items() if text != "none")
        lines += _wrapped(f"{recipe.name} - {recipe.what}{mark}", "", 2 * INDENT)
        lines += _wrapped(told, INDENT, INDENT)
    return lines


def _wrapped(text: str, first: str, rest: str) -> list[str]:
    return textwrap.wrap(
        text, WIDTH, initial_indent=first, subsequent_indent=rest, break_on_hyphens=False
    )


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

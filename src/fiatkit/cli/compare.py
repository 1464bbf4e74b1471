"""fiat compare: recipes x sizes x seeds, one table, one report."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Annotated

import typer

from fiatkit.cli._options import RequireBetter, Store, Truncate, With, files_by_name
from fiatkit.cli._spending import (
    MaxCalls,
    MaxCost,
    MaxWait,
    Retry,
    RetryAmbiguous,
    Strict,
    with_flags,
)

RunFile = Annotated[Path | None, typer.Argument(metavar="RUN.yaml", help="The run file.")]
Recipes = Annotated[
    list[str] | None,
    typer.Option("--recipe", help="Run this in place of the file's recipes; may be repeated."),
]
ListRecipes = Annotated[
    bool, typer.Option("--list-recipes", help="Explain each recipe, and do no more.")
]
Out = Annotated[Path | None, typer.Option(help="Run folder; default: runs/<name of the run file>.")]
Folds = Annotated[
    int | None,
    typer.Option(min=2, help="Folds of data.file, in place of test rows; as data.folds does."),
]
ForceResume = Annotated[
    bool,
    typer.Option(help="Go on from checkpoints of another base model or packages; noted."),
]
Track = Annotated[
    list[str] | None,
    typer.Option(
        metavar="NAME",
        help="Follow the run in mlflow, trackio or wandb as well; may be given several times.",
    ),
]


def run(
    run_file: RunFile = None,
    recipe: Recipes = None,
    list_recipes: ListRecipes = False,
    out: Out = None,
    store: Store = None,
    folds: Folds = None,
    truncate: Truncate = None,
    max_cost: MaxCost = None,
    max_calls: MaxCalls = None,
    max_wait: MaxWait = None,
    retry_ambiguous: RetryAmbiguous = None,
    retry: Retry = None,
    strict: Strict = False,
    force_resume: ForceResume = False,
    require_better: RequireBetter = False,
    joined: With = None,
    track: Track = None,
) -> None:
    """Run recipes x sizes x seeds on the same rows and compare them honestly.

    Each finished cell is written at once. Stop the command whenever you like and run it again:
    finished cells are skipped, the tuning under way goes on from its last checkpoint, and an
    answer of the large model is never paid for twice.

    Ends with a table in the terminal and one self-contained report.html in the run folder.

    For one small file: with --folds 5, its groups are dealt into five folds, each is tested on by
    models tuned on the other four, and the table is of all rows. It takes five times as long.

    Example:  fiat compare examples/support_desk/run.yaml
    """
    if list_recipes:
        from fiatkit.cli._recipes import recipe_lines

        typer.echo("\n".join(recipe_lines(run_file)))
        return
    from fiatkit.cli._console import Bars, console, errors
    from fiatkit.cli._run_file import read_run_file
    from fiatkit.cli._whole import compare_and_report
    from fiatkit.errors import UsageError
    from fiatkit.experiment import make_plan
    from fiatkit.experiment.estimate import estimate

    if run_file is None:
        raise UsageError("RUN.yaml is missing.", "`fiat init FILE` writes one from your rows.")
    config = read_run_file(run_file, out, store, folds, truncate, recipe)
    limits = with_flags(
        config.limits, max_cost, max_calls, max_wait, retry_ambiguous, retry, strict
    )
    updates = {
        "limits": limits,
        "outside": {**config.outside, **files_by_name(joined)},
        "track": list(dict.fromkeys([*config.track, *(track or [])])),
    }
    plan = make_plan(config.model_copy(update=updates))
    plan = replace(plan, force_resume=force_resume, require_better=require_better)
    for note in plan.notes:
        errors.print(note, markup=False, soft_wrap=True)
    errors.print(estimate(plan).sentence(), markup=False, soft_wrap=True)
    with Bars() as bars:
        found, problem = compare_and_report(plan, bars)
    from fiatkit.report import terminal_table

    console.print(terminal_table(found))
    console.print(f"Report: {plan.out / 'report.html'}", markup=False, soft_wrap=True)
    if problem is not None:
        raise problem

"""fiat tune: one recipe, tuned and kept as an artefact."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from fiatkit.cli._options import RequireBetter, RunFile, Store, Truncate
from fiatkit.cli._spending import (
    MaxCalls,
    MaxCost,
    MaxWait,
    Retry,
    RetryAmbiguous,
    Strict,
    with_flags,
)

Out = Annotated[Path, typer.Option(help="Folder of the artefact; made by this command.")]
RecipeName = Annotated[str, typer.Option(help="One of `fiat compare --list-recipes` that tunes.")]
Size = Annotated[int | None, typer.Option(help="Training rows; default: all there are.")]
Seed = Annotated[int, typer.Option(help="Seed of the subset and of the tuning.")]
ForceResume = Annotated[
    bool,
    typer.Option(
        help="Go on from checkpoints of other data, settings or packages; the artefact tells."
    ),
]


def run(
    run_file: RunFile,
    out: Out,
    recipe: RecipeName = "fiat",
    size: Size = None,
    seed: Seed = 0,
    store: Store = None,
    truncate: Truncate = None,
    max_cost: MaxCost = None,
    max_calls: MaxCalls = None,
    max_wait: MaxWait = None,
    retry_ambiguous: RetryAmbiguous = None,
    retry: Retry = None,
    strict: Strict = False,
    force_resume: ForceResume = False,
    require_better: RequireBetter = False,
) -> None:
    """Tune the small model by one recipe and keep it, with all that prediction must repeat.

    Stop the command whenever you like and run it again: it goes on from the last checkpoint, and
    on the same CPU with the same threads the artefact's weights are the same, byte for byte. Once
    it is finished, the same command checks the artefact and tells of it again.

    Example:  fiat tune run.yaml --out my-model --size 200
    """
    from fiatkit.cli._console import Bars, console
    from fiatkit.cli._run_file import read_run_file
    from fiatkit.experiment.single import tune_one

    config = read_run_file(run_file, store=store, truncate=truncate)
    limits = with_flags(
        config.limits, max_cost, max_calls, max_wait, retry_ambiguous, retry, strict
    )
    config = config.model_copy(update={"limits": limits})
    with Bars() as bars:
        result = tune_one(
            config,
            recipe,
            size,
            seed,
            out,
            bars,
            force_resume=force_resume,
            require_better=require_better,
        )
    for note in result.notes:
        console.print(note, markup=False)
    best = "" if result.best_score is None else f", dev {result.metric} {result.best_score:.1f}"
    console.print(f"Artefact: {out} (epoch {result.best_epoch}{best})", markup=False)

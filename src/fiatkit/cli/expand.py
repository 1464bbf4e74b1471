"""fiat expand: have the large model write its rationales, and nothing else."""

from __future__ import annotations

from collections import Counter
from pathlib import Path
from typing import Annotated

import typer

from fiatkit.cli._spending import (
    MaxCalls,
    MaxCost,
    MaxWait,
    Retry,
    RetryAmbiguous,
    Strict,
    with_flags,
)

RunFile = Annotated[Path, typer.Argument(metavar="RUN.yaml", help="The run file.")]
Store = Annotated[
    Path | None, typer.Option(help="Rationale store; default: runs/rationales.sqlite.")
]


def run(
    run_file: RunFile,
    store: Store = None,
    max_cost: MaxCost = None,
    max_calls: MaxCalls = None,
    max_wait: MaxWait = None,
    retry_ambiguous: RetryAmbiguous = None,
    retry: Retry = None,
    strict: Strict = False,
) -> None:
    """Write the rationales of a run into the store; what is there already is not asked again.

    `fiat compare` and `fiat tune` do this themselves. Use it to pay for the large model first,
    for example at night, and to tune later.

    Example:  fiat expand run.yaml
    """
    from fiatkit.cli._console import Bars, console
    from fiatkit.cli._run_file import read_run_file
    from fiatkit.experiment import make_plan
    from fiatkit.experiment.runner import open_reasoner
    from fiatkit.experiment.single import expand

    config = read_run_file(run_file, store=store)
    limits = with_flags(
        config.limits, max_cost, max_calls, max_wait, retry_ambiguous, retry, strict
    )
    plan = make_plan(config.model_copy(update={"limits": limits}))
    with Bars() as bars, open_reasoner(plan, bars) as reasoner:
        found = expand(reasoner, plan.queries_for_large(), bars)
    counts = Counter(rationale.status for rationale in found.values())
    told = ", ".join(f"{number} {status}" for status, number in counts.most_common())
    console.print(f"{len(found)} rationales: {told}", markup=False)
    console.print(f"Store: {plan.config.store}", markup=False, soft_wrap=True)

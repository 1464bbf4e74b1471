"""fiat expand: have the large model write its rationales, and nothing else."""

from __future__ import annotations

from typing import Annotated, Any

import typer

from fiatkit.cli._options import RunFile, Store
from fiatkit.cli._spending import (
    MaxCalls,
    MaxCost,
    MaxWait,
    Retry,
    RetryAmbiguous,
    Strict,
    with_flags,
)

BATCHES, CLUSTER = "Batches", "Beyond one machine"
PartOf = Annotated[
    str | None,
    typer.Option(
        metavar="I/N",
        help="Only part I of N, as 2/8, by the requests' keys, into a store of its own; "
        "fiat store merge joins them.",
    ),
]

EngineName = Annotated[
    str | None,
    typer.Option(
        metavar="local|ray",
        rich_help_panel=CLUSTER,
        help="Where the large model runs: here, or in Ray workers, as ray: in the run file says.",
    ),
]
RayAddress = Annotated[
    str | None,
    typer.Option(
        metavar="HOST:PORT|auto",
        rich_help_panel=CLUSTER,
        help="A running Ray cluster; default: ray.address, else one of this machine.",
    ),
]
Batch = Annotated[
    bool,
    typer.Option(
        "--batch",
        rich_help_panel=BATCHES,
        help="Hand the rows in as batches of OpenAI's or Anthropic's: within a day, at half the "
        "price. Also fetches those handed in before. In a run file: large.batch.",
    ),
]
BatchCancel = Annotated[
    bool,
    typer.Option(
        "--batch-cancel", rich_help_panel=BATCHES, help="Stop open batches; keep what they did."
    ),
]
BatchPoll = Annotated[
    float,
    typer.Option(
        metavar="SECONDS", min=0.01, rich_help_panel=BATCHES, help="How often to look at them."
    ),
]


def run(
    run_file: RunFile,
    store: Store = None,
    shard: PartOf = None,
    max_cost: MaxCost = None,
    max_calls: MaxCalls = None,
    max_wait: MaxWait = None,
    retry_ambiguous: RetryAmbiguous = None,
    retry: Retry = None,
    strict: Strict = False,
    engine: EngineName = None,
    ray_address: RayAddress = None,
    batch: Batch = False,
    batch_cancel: BatchCancel = False,
    batch_poll: BatchPoll = 30.0,
) -> None:
    """Write the rationales of a run into the store; what is there already is not asked again.

    `fiat compare` and `fiat tune` do this themselves. Use it to pay for the large model first,
    for example at night, and to tune later.

    With --batch, stop the command whenever you like: the batches go on at the provider, and the
    same command fetches them. Rows that come back without an answer are then asked for singly.

    Example:  fiat expand run.yaml
    """
    from fiatkit.cli._console import Bars, console
    from fiatkit.cli._run_file import read_run_file
    from fiatkit.errors import UsageError
    from fiatkit.experiment import make_plan
    from fiatkit.experiment.single import cancel_batches, write_rationales
    from fiatkit.reasoning import Shard

    config = read_run_file(run_file, store=store)
    limits = with_flags(
        config.limits, max_cost, max_calls, max_wait, retry_ambiguous, retry, strict
    )
    part = Shard.parse(shard) if shard else None
    if engine not in (None, "local", "ray"):
        raise UsageError(f'There is no engine "{engine}".', "--engine is local or ray.")
    updates: dict[str, Any] = {"limits": limits, "engine": engine or config.engine}
    if ray_address:
        updates["ray"] = config.ray.model_copy(update={"address": ray_address})
    plan = make_plan(config.model_copy(update=updates))
    with Bars() as bars:
        if batch_cancel:
            console.print(str(cancel_batches(plan, bars, batch_poll)), markup=False)
            return
        poll = batch_poll if batch or config.large.batch else None
        counts, path = write_rationales(plan, bars, part, poll)
    told = ", ".join(f"{number} {status}" for status, number in counts.most_common())
    console.print(f"{counts.total()} rationales: {told or 'none to write'}", markup=False)
    console.print(f"Store: {path}", markup=False, soft_wrap=True)
    if part:
        told = f"When all {part.of} parts are done: fiat store merge --store {config.store} {path}"
        console.print(f"{told} ...", markup=False, soft_wrap=True)

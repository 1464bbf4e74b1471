"""fiat exemplars: worked examples for the large model, drafted by it and mended by you."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from fiatkit.cli._options import RunFile, Store

app = typer.Typer(
    help="Make worked examples of your rows. Example: fiat exemplars draft run.yaml",
    no_args_is_help=True,
)

Rows = Annotated[int, typer.Option(min=1, max=32, help="How many rows to draft for.")]
Ids = Annotated[str, typer.Option(help="These rows instead, by id: a,b,c.")]
Force = Annotated[bool, typer.Option("--force", help="Replace a draft that is there.")]
DraftFile = Annotated[
    Path | None, typer.Option("--draft", help="Default: exemplars.draft.yaml beside the task.")
]


@app.command("draft")
def draft(
    run_file: RunFile, rows: Rows = 4, ids: Ids = "", force: Force = False, store: Store = None
) -> None:
    """Have the large model draft worked examples from a few training rows, for you to mend.

    The rows are mixed over languages and labels. Here, and only here, the large model is shown
    the right answer. The draft goes to exemplars.draft.yaml; nothing uses it until you have
    edited and approved it. A draft is paid for once, and never taken for a rationale.

    Example:  fiat exemplars draft run.yaml --rows 4
    """
    from fiatkit.cli._console import console
    from fiatkit.cli._run_file import read_run_file
    from fiatkit.experiment.exemplars import draft as write_draft

    chosen = [name.strip() for name in ids.split(",") if name.strip()]
    made = write_draft(read_run_file(run_file, store=store), run_file, rows, chosen, force=force)
    for row in made.rows:
        language = f" ({row.query.language})" if row.query.language else ""
        console.print(f"  {row.id}{language}: {row.target}", markup=False, soft_wrap=True)
    told = f"{len(made.rows)} drafts, {made.calls} calls of the large model: {made.path}"
    console.print(told, markup=False, soft_wrap=True)
    if made.todo:
        told = f"{made.todo} of them say TODO: no reasoning, or no right answer at the end."
        console.print(told, markup=False, soft_wrap=True)
    console.print(
        f"Next: edit the file, then  fiat exemplars approve {run_file}",
        markup=False,
        soft_wrap=True,
    )


@app.command("approve")
def approve(run_file: RunFile, draft: DraftFile = None) -> None:
    """Check the edited draft and add its exemplars to the task's YAML, whose text stays as it is.

    Each must end with the marker and its target, and say TODO nowhere. From then on, the rows
    that they came from are held out with their whole groups: not trained on, not tested on.

    Example:  fiat exemplars approve run.yaml
    """
    from fiatkit.cli._console import console
    from fiatkit.cli._run_file import read_run_file
    from fiatkit.experiment.exemplars import approve as put_in

    config = read_run_file(run_file)
    done = put_in(config, run_file, draft)
    told = f"{done.added} exemplars added to {config.task}"
    told += f"; {done.known} were there already" if done.known else ""
    console.print(
        f"{told}. {done.train_rows} training rows are left.", markup=False, soft_wrap=True
    )
    if done.too_large:
        told = f"Sizes of {run_file} that are too large now: {', '.join(map(str, done.too_large))}."
        console.print(told, markup=False, soft_wrap=True)
        told = f"Put sizes of at most {done.train_rows} into it, or all."
        console.print(told, markup=False, soft_wrap=True)

"""fiat init: a task and a run file for one's own data, proposed from the data."""

from __future__ import annotations

import signal
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from fiatkit.cli._options import Encoding

if TYPE_CHECKING:
    from fiatkit.experiment.start import Started
    from fiatkit.tasks.propose import Proposal

File = Annotated[Path, typer.Argument(metavar="FILE", help="Your rows, for example a CSV.")]
Out = Annotated[Path, typer.Option(help="Folder for task.yaml and run.yaml.")]
Target = Annotated[str | None, typer.Option(help="Column of the answer.")]
Kind = Annotated[
    str | None,
    typer.Option(
        help="single_label, sentence_pair, multi_label, rating, pairwise, extractive_qa, ner or "
        "free_text."
    ),
]
Fields = Annotated[
    str | None, typer.Option("--fields", "--text", help="Columns that the models read: a,b.")
]
Language = Annotated[str | None, typer.Option(help="Column of the language; none: there is none.")]
Group = Annotated[
    str | None, typer.Option(help="Column whose equal values belong together; or none.")
]
Id = Annotated[str | None, typer.Option("--id", help="Column that names a row; or none.")]
Metric = Annotated[str | None, typer.Option(help="Metrics, the one that decides first: a,b.")]
Large = Annotated[
    str | None, typer.Option(help="NAME of `fiat models list`, a GGUF file, or PROVIDER:MODEL.")
]
Url = Annotated[str, typer.Option("--base-url", help="Address of an OpenAI-compatible endpoint.")]
Small = Annotated[
    str | None, typer.Option(help="A name of `fiat models list`, a folder, or a hub id.")
]
Yes = Annotated[bool, typer.Option("--yes", "-y", help="Take every proposal without asking.")]
Force = Annotated[bool, typer.Option("--force", help="Replace files that are there.")]

NONE = "none"
SHOWN = 60  # characters of a value
QUESTIONS = {
    "target": "Column of the answer",
    "kind": "Kind of task",
    "fields": "Columns that the models read",
    "language": "Column of the language",
    "group": "Column whose equal values belong together",
    "id": "Column that names a row",
    "metric": "Metrics, the one that decides first",
}


def run(
    file: File,
    out: Out = Path(),
    target: Target = None,
    kind: Kind = None,
    fields: Fields = None,
    language: Language = None,
    group: Group = None,
    id_: Id = None,
    metric: Metric = None,
    large: Large = None,
    base_url: Url = "",
    small: Small = None,
    encoding: Encoding = None,
    yes: Yes = False,
    force: Force = False,
) -> None:
    """Look at a file of labelled rows and write a task.yaml and a run.yaml for it.

    Each column's part is proposed from what stands in it. On a terminal you are asked about each
    proposal; elsewhere, or with --yes, it is taken and told. Flags win over proposals.

    The two files run as they are, and their comments say what to change.

    Example:  fiat init reviews.csv
    """
    from fiatkit.cli._console import console
    from fiatkit.data import read_rows
    from fiatkit.experiment.start import LARGE, SMALL, large_block, start, write
    from fiatkit.tasks.propose import PARTS, propose

    flags = dict(zip(PARTS, (target, kind, fields, language, group, id_, metric), strict=True))
    given = {part: _empty(value) for part, value in flags.items() if value is not None}
    rows = read_rows(file, encoding)
    console.print(f"{file}: {len(rows)} rows", markup=False, soft_wrap=True)
    asks = not yes and sys.stdin.isatty() and sys.stdout.isatty()
    if asks:
        large, small = _questions(rows, given, large, small)
    large, small = large or LARGE, small or SMALL
    proposal = propose(rows, given)
    started = start(file, rows, proposal, out, large_block(large, base_url), small, encoding)
    paths = write(started, out, force=force)
    _tell(proposal, started, paths)


def _empty(value: str) -> str:
    return "" if value == NONE else value


def _questions(
    rows: Any, given: dict[str, str], large: str | None, small: str | None
) -> tuple[str, str]:
    """Ask about everything that is not given yet; returns both models' names."""
    from fiatkit.errors import Stopped
    from fiatkit.experiment.start import LARGE, SMALL
    from fiatkit.tasks.propose import PARTS

    try:
        _show_columns(rows)
        for part in PARTS:
            if part not in given:
                _ask(rows, given, part)
        return (
            large or typer.prompt("Large model", LARGE),
            small or typer.prompt("Small model", SMALL),
        )
    except (KeyboardInterrupt, typer.Abort):
        raise Stopped(signal.SIGINT, "\nStopped; nothing was written.") from None


def _show_columns(rows: Any) -> None:
    """Each column with the beginning of its first value."""
    from fiatkit.cli._console import console
    from fiatkit.cli._rows import visible_line
    from fiatkit.tasks.columns import columns_of

    columns = columns_of(rows)
    wide = max(len(column.name) for column in columns)
    for column in columns:
        first = next((str(value) for value in column.values if value is not None), "")
        shown = visible_line(first[:SHOWN]) + ("..." if len(first) > SHOWN else "")
        console.print(f"  {column.name:<{wide}}  {shown}", markup=False, soft_wrap=True)


def _ask(rows: Any, given: dict[str, str], part: str) -> None:
    """Ask about one part until the answer is one that can be."""
    from fiatkit.errors import FiatError
    from fiatkit.tasks.propose import propose

    proposal = propose(rows, given)
    why = proposal.why.get(part)
    question = QUESTIONS[part] + (f" ({why})" if why else "")
    while True:
        told = typer.prompt(question, proposal.part(part) or NONE)
        try:
            propose(rows, {**given, part: _empty(told)})
        except FiatError as error:
            typer.echo(str(error), err=True)
            continue
        given[part] = _empty(told)
        return


def _tell(proposal: Proposal, started: Started, paths: tuple[Path, Path]) -> None:
    """Say what was written, and what to do next."""
    from fiatkit.cli._console import console
    from fiatkit.tasks.propose import PARTS

    for part in PARTS:
        why = proposal.why.get(part)
        told = f"  {part:<9} {proposal.part(part) or '-'}" + (f"  ({why})" if why else "")
        console.print(told, markup=False, soft_wrap=True)
    if proposal.labels:
        told = f"  {'labels':<9} {', '.join(proposal.labels)}"
        console.print(told, markup=False, soft_wrap=True)
    if proposal.unused:
        told = f"  {'not used':<9} {', '.join(proposal.unused)}"
        console.print(told, markup=False, soft_wrap=True)
    data = started.data
    counts = f"{len(data.train)} rows to train on, {len(data.dev)} dev, {len(data.test)} test"
    task, run = paths
    console.print(f"{counts}.\nWritten: {task} and {run}.", markup=False, soft_wrap=True)
    for note in (*proposal.doubts, *data.notes):
        console.print(f"Note: {note}", markup=False, soft_wrap=True)
    console.print(
        f"Next:\n  edit {task}, above all both instructions\n"
        f"  fiat exemplars draft {run}   the large model drafts worked examples for you to mend\n"
        f"  fiat doctor {run} --show 2   see rows as both models will; nothing is spent\n"
        f"  fiat compare {run}",
        markup=False,
        soft_wrap=True,
    )

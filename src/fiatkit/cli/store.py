"""fiat store: look after the rationales that were paid for."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

if TYPE_CHECKING:
    from fiatkit.reasoning import Spent

app = typer.Typer(
    help="Look after the rationale store. Example: fiat store status", no_args_is_help=True
)

StorePath = Annotated[Path, typer.Option("--store", help="The store's file.")]
File = Annotated[
    Path, typer.Argument(help="The file: *.parquet for Parquet, any other name for JSON lines.")
]
By = Annotated[
    str, typer.Option("--by", help="What to sum by: run, model, day, outcome; with commas.")
]
One = Annotated[Path, typer.Argument(help="A store's file.")]
Other = Annotated[Path, typer.Argument(help="Another store's file.")]
Several = Annotated[list[Path], typer.Argument(help="The files of the stores to add.")]
DEFAULT = Path("runs/rationales.sqlite")
SHOWN = 20


@app.command("status")
def status(store: StorePath = DEFAULT) -> None:
    """Count answers by kind, attempts, tokens, and calls that may have been billed in vain."""
    from fiatkit.cli._console import console
    from fiatkit.reasoning import RationaleStore
    from fiatkit.visible import one_line

    with RationaleStore.read_only(store) as opened:
        for name, value in opened.status().items():
            console.print(f"{name}: {one_line(value)}", markup=False)


@app.command("ledger")
def ledger(by: By = "run,model", store: StorePath = DEFAULT) -> None:
    """Sum calls, tokens and money by run, model, day (UTC) or outcome.

    Example:  fiat store ledger --by day,model
    """
    from rich.table import Table

    from fiatkit.cli._console import console
    from fiatkit.reasoning import RationaleStore
    from fiatkit.visible import one_line

    groups = [name.strip() for name in by.split(",") if name.strip()]
    with RationaleStore.read_only(store) as opened:
        rows = opened.ledger(groups)  # type: ignore[arg-type]
        total = opened.spent()
    table = Table(box=None, pad_edge=False)
    for name in groups:
        table.add_column(name, overflow="fold")
    columns = "calls,prompt,cached,completion,reasoning,cost,of unknown cost,possibly billed"
    for name in columns.split(","):
        table.add_column(name, justify="right")
    for row in rows:
        table.add_row(*(one_line(row.group[name] or "-") for name in groups), *_sums(row))
    if groups:
        table.add_row("all", *("" for _ in groups[1:]), *_sums(total))
    console.print(table, markup=False)


def _sums(row: Spent) -> list[str]:
    tokens = (row.prompt_tokens, row.cached_tokens, row.completion_tokens, row.reasoning_tokens)
    return [
        f"{row.calls:,}",
        *("?" if count is None else f"{count:,}" for count in tokens),
        f"${row.cost:,f}",
        f"{row.unknown_cost:,}",
        f"{row.possibly_billed:,}",
    ]


@app.command("verify")
def verify(store: StorePath = DEFAULT) -> None:
    """Check the file and the checksum of every answer; exit 2 if anything is damaged."""
    from fiatkit.cli._console import console
    from fiatkit.errors import StoreCorruptError
    from fiatkit.reasoning import RationaleStore

    with RationaleStore.read_only(store) as opened:
        problems = opened.verify()
        total = opened.status()["completions"]
    if problems:
        more = f"\n... and {len(problems) - SHOWN} more" if len(problems) > SHOWN else ""
        raise StoreCorruptError(
            "\n".join(problems[:SHOWN]) + more,
            "An answer with a wrong checksum is not used: the next run asks for it again.",
        )
    console.print(f"{total} completions, all intact.", markup=False)


@app.command("diff")
def diff(one: One, other: Other) -> None:
    """Say which answers are in one store only, or differ.

    Example:  fiat store diff runs/rationales.sqlite copy.sqlite
    """
    from collections import Counter

    from fiatkit.cli._console import console
    from fiatkit.reasoning import RationaleStore

    counts: Counter[str] = Counter()
    with RationaleStore.read_only(one) as first, RationaleStore.read_only(other) as second:
        for what, key in first.difference(second):
            counts[what] += 1
            if counts[what] <= SHOWN:
                console.print(f"{key} {what}", markup=False)
    _tell(counts or {"answers that are not the same in both": 0})


@app.command("compact")
def compact(store: StorePath = DEFAULT) -> None:
    """Give unused space of the file back to the disk. No answer is removed."""
    from fiatkit.cli._console import console
    from fiatkit.reasoning import RationaleStore

    with RationaleStore(store) as opened:
        before, after = opened.compact()
    console.print(f"{before:,} bytes before, {after:,} now.", markup=False)


@app.command("export")
def export(file: File, store: StorePath = DEFAULT) -> None:
    """Write every answer with its checksum, as JSON lines or Parquet."""
    from fiatkit.cli._console import console
    from fiatkit.reasoning import RationaleStore

    with RationaleStore.read_only(store) as opened:
        count = opened.export(file)
    console.print(f"{count} completions: {file}", markup=False, soft_wrap=True)


@app.command("import")
def import_(file: File, store: StorePath = DEFAULT) -> None:
    """Add the answers of an exported file; what is there already is never overwritten."""
    from fiatkit.reasoning import RationaleStore

    with RationaleStore(store) as opened:
        _tell(opened.import_(file))


@app.command("merge")
def merge(stores: Several, store: StorePath = DEFAULT) -> None:
    """Add the answers and the ledgers of other stores, for example of shards, to one.

    Example:  fiat store merge runs/rationales.shard-*.sqlite
    """
    from fiatkit.cli._console import console
    from fiatkit.reasoning import RationaleStore

    with RationaleStore(store) as opened:
        for path in stores:
            console.print(f"{path}:", markup=False, soft_wrap=True)
            _tell(opened.merge(path))


@app.command("recover")
def recover(store: StorePath = DEFAULT) -> None:
    """Save what is whole from a damaged store; the damaged file is kept as .corrupt-1, -2 ..."""
    from fiatkit.reasoning import recover

    _tell(recover(store))


@app.command("steal")
def steal(store: StorePath = DEFAULT) -> None:
    """Take over requests of another machine on a shared disk, when nothing runs there any more.

    They count as possibly billed; the next run asks again where no answer came.
    """
    from fiatkit.reasoning import RationaleStore

    with RationaleStore(store, steal=True) as opened:
        _tell(opened.status()["attempts"])


def _tell(counts: Mapping[str, int]) -> None:
    from fiatkit.cli._console import console

    console.print(", ".join(f"{number:,} {what}" for what, number in counts.items()), markup=False)

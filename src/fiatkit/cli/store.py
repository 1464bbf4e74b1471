"""fiat store: look after the rationales that were paid for."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

app = typer.Typer(
    help="Look after the rationale store. Example: fiat store status", no_args_is_help=True
)

StorePath = Annotated[Path, typer.Option("--store", help="The store's file.")]
File = Annotated[Path, typer.Argument(help="A JSONL file.")]
DEFAULT = Path("runs/rationales.sqlite")


@app.command("status")
def status(store: StorePath = DEFAULT) -> None:
    """Count answers by kind, attempts, tokens, and calls that may have been billed in vain."""
    from fiatkit.cli._console import console
    from fiatkit.reasoning import RationaleStore

    with RationaleStore.read_only(store) as opened:
        for name, value in opened.status().items():
            console.print(f"{name}: {value}", markup=False)


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
        raise StoreCorruptError("\n".join(problems))
    console.print(f"{total} completions, all intact.", markup=False)


@app.command("export")
def export(file: File, store: StorePath = DEFAULT) -> None:
    """Write every answer, one JSON object a line, with its checksum."""
    from fiatkit.cli._console import console
    from fiatkit.reasoning import RationaleStore

    with RationaleStore.read_only(store) as opened:
        count = opened.export(file)
    console.print(f"{count} completions: {file}", markup=False, soft_wrap=True)


@app.command("import")
def import_(file: File, store: StorePath = DEFAULT) -> None:
    """Add the answers of an exported file; what is there already is never overwritten."""
    from fiatkit.cli._console import console
    from fiatkit.reasoning import RationaleStore

    with RationaleStore(store) as opened:
        counts = opened.import_(file)
    console.print(", ".join(f"{n} {what}" for what, n in counts.items()), markup=False)

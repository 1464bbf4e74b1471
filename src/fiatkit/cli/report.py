"""fiat report: draw the report of a run folder again."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from fiatkit.cli._options import With, files_by_name

Folder = Annotated[Path, typer.Argument(metavar="RUN_FOLDER", help="Folder of `fiat compare`.")]
Out = Annotated[Path | None, typer.Option(help="The file; default: report.html in the folder.")]


def run(folder: Folder, out: Out = None, joined: With = None) -> None:
    """Print a run's table and write its report.html, finished or not.

    With --with, other systems have lines in this drawing; the run folder stays as it is.

    Example:  fiat report runs/support_desk
    """
    from fiatkit.cli._console import console
    from fiatkit.report import load_run, summarise, terminal_table, write_html

    found = load_run(folder, files_by_name(joined))
    console.print(terminal_table(summarise(found)))
    path = out or folder / "report.html"
    write_html(found, path)
    console.print(f"Report: {path}", markup=False, soft_wrap=True)

"""fiat report: draw the report of a run folder again."""

from __future__ import annotations

from enum import StrEnum
from pathlib import Path
from typing import Annotated

import typer

from fiatkit.cli._options import With, files_by_name


class Form(StrEnum):
    """What a report is written as."""

    HTML = "html"
    MD = "md"
    JSON = "json"
    CSV = "csv"
    ROWS = "rows"


FILES = {Form.ROWS: "rows.csv"}
Folder = Annotated[Path, typer.Argument(metavar="RUN_FOLDER", help="Folder of `fiat compare`.")]
To = Annotated[
    Form,
    typer.Option(
        help="html: the page; md, json, csv: its table and numbers; rows: every test row with "
        "each recipe's answer, as CSV."
    ),
]
Out = Annotated[
    Path | None, typer.Option(help="The file; default: report.html (.md ...) in the folder.")
]


def run(folder: Folder, to: To = Form.HTML, out: Out = None, joined: With = None) -> None:
    """Print a run's table and write its report, finished or not.

    With --with, other systems have lines in this drawing; the run folder stays as it is.

    In CSV files a cell that a spreadsheet would take for a formula begins with an apostrophe.

    Example:  fiat report runs/support_desk --to csv
    """
    from fiatkit import report
    from fiatkit.cli._console import console

    write = {
        Form.HTML: report.write_html,
        Form.MD: report.write_markdown,
        Form.JSON: report.write_json,
        Form.CSV: report.write_csv,
        Form.ROWS: report.write_rows,
    }[to]
    found = report.load_run(folder, files_by_name(joined))
    console.print(report.terminal_table(found))
    path = out or folder / FILES.get(to, f"report.{to.value}")
    write(found, path)
    console.print(f"Report: {path}", markup=False, soft_wrap=True)
    if to in (Form.CSV, Form.ROWS):
        console.print(report.GUARD_TOLD, markup=False, soft_wrap=True)

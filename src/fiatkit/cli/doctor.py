"""fiat doctor: what a run would do, cut and spend, before anything is spent."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

RunFile = Annotated[Path, typer.Argument(metavar="RUN.yaml", help="The run file.")]


def run(run_file: RunFile) -> None:
    """Check settings, data, models, disk and token lengths; count calls and estimate the time.

    Nothing is sent to the large model. Exit 0 if the run can start as it stands.

    Example:  fiat doctor run.yaml
    """
    from fiatkit.cli._console import console
    from fiatkit.cli._run_file import read_run_file
    from fiatkit.experiment.doctor import examine

    findings = examine(read_run_file(run_file))
    marks = {"ok": "[green]ok[/]", "note": "[yellow]note[/]", "problem": "[red]problem[/]"}
    for finding in findings:
        console.print(marks[finding.kind], end="  ")
        console.print(finding.text, markup=False, soft_wrap=True)
    if any(finding.kind == "problem" for finding in findings):
        raise typer.Exit(2)

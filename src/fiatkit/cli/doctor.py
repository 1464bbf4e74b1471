"""fiat doctor: what a run would do, cut and spend, before anything is spent."""

from __future__ import annotations

from typing import TYPE_CHECKING, Annotated

import typer

from fiatkit.cli._options import RunFile, Truncate

if TYPE_CHECKING:
    from fiatkit.config import RunConfig

Show = Annotated[
    int,
    typer.Option(metavar="N", min=0, help="Show N training rows as both models will see them."),
]


def run(run_file: RunFile, show: Show = 0, truncate: Truncate = None) -> None:
    """Check settings, data, models, disk and token lengths; count calls and estimate the time.

    Nothing is sent to the large model. Exit 0 if the run can start as it stands.

    With --show, rows are shown as both models will see them: the large model's messages, and the
    small model's prompt token by token, with what is in the loss and what was cut.

    Example:  fiat doctor run.yaml --show 2
    """
    from fiatkit.cli._console import console
    from fiatkit.cli._run_file import read_run_file
    from fiatkit.experiment.doctor import examine

    config = read_run_file(run_file, truncate=truncate)
    findings = examine(config)
    marks = {"ok": "[green]ok[/]", "note": "[yellow]note[/]", "problem": "[red]problem[/]"}
    for finding in findings:
        console.print(marks[finding.kind], end="  ")
        console.print(finding.text, markup=False, soft_wrap=True)
    if show:
        _show(config, show)
    problems = sum(finding.kind == "problem" for finding in findings)
    if problems:
        told = "problem stands" if problems == 1 else "problems stand"
        console.print(f"\n{problems} {told} in the way of the run.", markup=False)
        raise typer.Exit(2)


def _show(config: RunConfig, count: int) -> None:
    """Draw rows; if there is no plan, the findings have said why."""
    from fiatkit.cli._console import console
    from fiatkit.cli._rows import LEGEND, drawn
    from fiatkit.errors import FiatError
    from fiatkit.experiment import make_plan
    from fiatkit.experiment.rows import show_rows, shown_recipe

    try:
        plan = make_plan(config)
    except FiatError:
        return
    recipe = shown_recipe(plan)
    for row in show_rows(plan, count):
        for line in drawn(row, recipe.name if recipe else ""):
            console.print(line, soft_wrap=True)
    if recipe:
        console.print(f"\n{LEGEND}", markup=False, soft_wrap=True)

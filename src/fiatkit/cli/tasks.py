"""fiat tasks: the built-in tasks, and templates to start one's own from."""

from __future__ import annotations

from typing import Annotated

import typer

app = typer.Typer(
    help="Built-in tasks and templates. Example: fiat tasks show rating > task.yaml",
    no_args_is_help=True,
)

Name = Annotated[str, typer.Argument(metavar="NAME", help="A name of `fiat tasks list`.")]


@app.command("list")
def list_tasks() -> None:
    """List the built-in tasks, which a run file names, and the templates, which are copied."""
    from rich.table import Table

    from fiatkit.cli._console import console
    from fiatkit.tasks import load_task, task_names, template_names, template_task

    table = Table()
    table.add_column("name", no_wrap=True)
    for column in ("kind", "answer", "metrics", "fields"):
        table.add_column(column, overflow="fold")
    found = [("built in", name, load_task(name)) for name in task_names()]
    found += [("template", name, template_task(name)) for name in template_names()]
    for kind, name, task in found:
        fields = ", ".join(task.field_names)
        table.add_row(name, kind, task.answer, ", ".join(task.metrics), fields)
    console.print(table)


@app.command("show")
def show(name: Name) -> None:
    """Print a task's YAML: a template to fill in, or a built-in task to look at.

    Example:  fiat tasks show multi_label > task.yaml
    """
    from fiatkit.tasks import task_file

    typer.echo(task_file(name, templates=True).read_text(encoding="utf-8"), nl=False)

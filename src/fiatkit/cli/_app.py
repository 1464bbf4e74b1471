"""The table of commands."""

from __future__ import annotations

import inspect
from typing import Annotated

import typer

from fiatkit.cli import (
    compare,
    doctor,
    evaluate,
    exemplars,
    expand,
    export,
    init,
    models,
    predict,
    report,
    store,
    tasks,
    tune,
    verify,
)

HELP = """FIAT: a large, frozen model reasons; a small, tuned model answers.

Give it a few hundred labelled rows, a large model (an API, a server, or one in process) and a
small one. It tells you which recipe wins on YOUR data, by how much, and at what price.

A first run, with example data and small models, from a clone of the repository:

    make demo

Your own data:

    fiat init reviews.csv    a task.yaml and a run.yaml for your file
    fiat doctor run.yaml     what would be done, cut and spent
    fiat compare run.yaml    recipes x sizes x seeds, a table and report.html
    fiat tune run.yaml       one recipe, as an artefact to keep
    fiat predict ARTEFACT rows.csv
"""

Version = Annotated[bool, typer.Option("--version", help="Show the version and exit.")]


def _flowing(text: str) -> str:
    """A help text whose paragraphs are one line each, for a terminal of any width to break; lines
    that are set in keep their place."""
    paragraphs = inspect.cleandoc(text).split("\n\n")
    return "\n\n".join(p if p.startswith(" ") else p.replace("\n", " ") for p in paragraphs)


def _root(version: Version = False) -> None:
    if version:
        from fiatkit._version import __version__

        typer.echo(f"fiat {__version__}")
        raise typer.Exit


def _flow(commands: typer.Typer) -> None:
    """Let the help text of each command flow."""
    for command in commands.registered_commands:
        assert command.callback is not None
        command.help = _flowing(command.help or command.callback.__doc__ or "")
    for group in commands.registered_groups:
        assert group.typer_instance is not None
        _flow(group.typer_instance)


app = typer.Typer(
    name="fiat",
    help=_flowing(HELP),
    no_args_is_help=True,
    add_completion=False,
    rich_markup_mode="rich",
    pretty_exceptions_enable=False,
    epilog="Every command takes --debug, which shows the traceback of an error.",
)
app.callback(invoke_without_command=True)(_root)
for module in (init, doctor, expand, tune, predict, evaluate, compare, report, verify, export):
    app.command(module.__name__.rsplit(".", 1)[1])(module.run)
app.add_typer(exemplars.app, name="exemplars")
app.add_typer(models.app, name="models")
app.add_typer(store.app, name="store")
app.add_typer(tasks.app, name="tasks")
_flow(app)

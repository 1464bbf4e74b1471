"""The table of commands."""

from __future__ import annotations

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
    fiat doctor run.yaml     what would be done, cut and spent, before anything is
    fiat compare run.yaml    recipes x sizes x seeds, a table and report.html
    fiat tune run.yaml       one recipe, as an artefact to keep
    fiat predict ARTEFACT rows.jsonl
"""

app = typer.Typer(
    name="fiat",
    help=HELP,
    no_args_is_help=True,
    add_completion=False,
    rich_markup_mode="rich",
    pretty_exceptions_enable=False,
    epilog="Every command takes --debug, which shows the traceback of an error.",
)
for module in (init, doctor, expand, tune, predict, evaluate, compare, report, verify, export):
    app.command(module.__name__.rsplit(".", 1)[1])(module.run)
app.add_typer(exemplars.app, name="exemplars")
app.add_typer(models.app, name="models")
app.add_typer(store.app, name="store")
app.add_typer(tasks.app, name="tasks")

"""fiat evaluate: score a file of predictions, whoever made it."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from fiatkit.cli._options import Encoding

Predictions = Annotated[
    Path | None,
    typer.Argument(metavar="PREDICTIONS", help="JSONL with `id` and `answer`.", show_default=False),
]
Named = Annotated[
    Path | None, typer.Option("--predictions", help="The same file, given by this name.")
]
Gold = Annotated[Path, typer.Option(help="JSONL or CSV with the targets.")]
TaskName = Annotated[str, typer.Option("--task", help="A built-in task, or a task YAML.")]


def run(
    gold: Gold,
    task: TaskName,
    predictions: Predictions = None,
    named: Named = None,
    encoding: Encoding = None,
) -> None:
    """Score predictions against targets: each metric, per language, with an interval.

    Both files must hold the same ids. A row that failed keeps its id, with an answer of null; it
    counts as wrong and is shown.

    Example:  fiat evaluate answers.jsonl --gold test.jsonl --task task.yaml
    """
    from rich.table import Table

    from fiatkit.cli._console import console
    from fiatkit.errors import UsageError
    from fiatkit.experiment.single import evaluate_file

    file = predictions or named
    if file is None or (predictions and named):
        raise UsageError("Give one file of predictions.", "Say fiat evaluate PREDICTIONS --gold …")
    scores, counts, strange = evaluate_file(file, gold, task, encoding)
    table = Table(title=f"{gold.name}: " + ", ".join(f"{n} {s}" for s, n in counts.items()))
    for column in ("metric", "score", "95 % interval", "rows", "groups"):
        table.add_column(column)
    for name, score in scores.items():
        value = "undefined" if score.value is None else f"{score.value:.1f}"
        known = score.low is not None and score.high is not None
        interval = f"{score.low:.1f} to {score.high:.1f}" if known else "-"
        table.add_row(name, value, interval, str(score.n), str(score.groups))
        for language, part in score.languages.items():
            table.add_row(f"  {language}", "-" if part is None else f"{part:.1f}", "", "", "")
    console.print(table)
    if strange:
        console.print(f"{strange}.", markup=False)

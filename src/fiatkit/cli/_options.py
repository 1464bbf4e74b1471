"""Options that several commands take."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from fiatkit.records import Side


def _known(value: str | None) -> str | None:
    from fiatkit.tasks.load import known_encoding

    try:
        return None if value is None else known_encoding(value)
    except ValueError as error:
        raise typer.BadParameter(str(error)) from None


RunFile = Annotated[Path, typer.Argument(metavar="RUN.yaml", help="The run file.")]
Store = Annotated[
    Path | None, typer.Option(help="Rationale store; default: runs/rationales.sqlite.")
]
RequireBetter = Annotated[
    bool,
    typer.Option(
        "--require-better-than-baseline",
        help="Exit 3 if a tuned model's dev score is not above the most frequent answer's.",
    ),
]
Base = Annotated[str | None, typer.Option(help="Where its base model lies now, if it was moved.")]

Encoding = Annotated[
    str | None,
    typer.Option(metavar="NAME", callback=_known, help="Of a text file that is not UTF-8."),
]

Truncate = Annotated[
    Side | None,
    typer.Option(
        help="Cut the head, tail or middle of a row's longest field where the row is too long, "
        "instead of skipping it; as truncate does in the run file."
    ),
]

With = Annotated[
    list[str] | None,
    typer.Option(
        "--with",
        metavar="NAME=FILE",
        help="A line for another system: its predictions of the test rows, JSON lines of id and "
        "answer. May be given several times; as outside does in the run file.",
    ),
]


def files_by_name(given: list[str] | None) -> dict[str, Path]:
    """What --with was given, each NAME=FILE.

    Raises:
        UsageError: one has no name or no file, or a name is given twice.
    """
    from fiatkit.errors import UsageError

    found: dict[str, Path] = {}
    for text in given or []:
        name, _, file = text.partition("=")
        if not name or not file:
            raise UsageError(f'--with "{text}" is not NAME=FILE.', "Say --with gpt=preds.jsonl.")
        if name in found:
            raise UsageError(f'--with names "{name}" twice.', "Give each system a name of its own.")
        found[name] = Path(file).absolute()
    return found

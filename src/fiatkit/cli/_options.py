"""Options that several commands take."""

from __future__ import annotations

from typing import Annotated

import typer

from fiatkit.records import Side


def _known(value: str | None) -> str | None:
    from fiatkit.tasks.load import known_encoding

    try:
        return None if value is None else known_encoding(value)
    except ValueError as error:
        raise typer.BadParameter(str(error)) from None


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

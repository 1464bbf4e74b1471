"""The flags of every command that may call a large model: what it may spend, wait and retry."""

from __future__ import annotations

from typing import TYPE_CHECKING, Annotated

import typer

if TYPE_CHECKING:
    from fiatkit.reasoning.policy import Policy

PANEL = "Large model"
MaxCost = Annotated[
    str | None,
    typer.Option(metavar="USD", rich_help_panel=PANEL, help="Stop before more is spent (exit 5)."),
]
MaxCalls = Annotated[
    int | None,
    typer.Option(min=0, rich_help_panel=PANEL, help="Stop after so many calls (exit 5)."),
]
MaxWait = Annotated[
    str | None,
    typer.Option(
        metavar="TIME",
        rich_help_panel=PANEL,
        help="Stop when the endpoint makes all wait longer, as 90, 30m or 2h (exit 5).",
    ),
]
RetryAmbiguous = Annotated[
    str | None,
    typer.Option(
        metavar="auto|never",
        rich_help_panel=PANEL,
        help="Whether to ask again when a reply was lost; the call may have been billed.",
    ),
]
Retry = Annotated[
    list[str] | None,
    typer.Option(
        metavar="REASON",
        rich_help_panel=PANEL,
        help="Ask again for rows that failed as refused, truncated or empty. May be repeated.",
    ),
]
Strict = Annotated[
    bool,
    typer.Option(
        "--strict",
        rich_help_panel=PANEL,
        help="Stop when another model than the one asked for answers (exit 5).",
    ),
]


def with_flags(
    policy: Policy,
    max_cost: str | None,
    max_calls: int | None,
    max_wait: str | None,
    retry_ambiguous: str | None,
    retry: list[str] | None,
    strict: bool,
) -> Policy:
    """The policy with the flags that were given in place of its values.

    Raises:
        SettingsError: a flag's value is wrong.
    """
    from fiatkit.reasoning.policy import Policy
    from fiatkit.settings import parse

    flags = {
        "max_cost": max_cost,
        "max_calls": max_calls,
        "max_wait": max_wait,
        "retry_ambiguous": retry_ambiguous,
        "retry": retry or None,
        "strict": strict or None,
    }
    given = {name: value for name, value in flags.items() if value is not None}
    return parse(Policy, policy.model_dump() | given, "flags") if given else policy

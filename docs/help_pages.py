"""Write docs/commands.md from the commands' own --help, or check that it is up to date."""

from __future__ import annotations

import os
import sys
from pathlib import Path

PAGE = Path(__file__).with_name("commands.md")
COMMANDS = (
    "",
    "init",
    "doctor",
    "exemplars",
    "exemplars draft",
    "exemplars approve",
    "models",
    "models get",
    "models list",
    "expand",
    "tune",
    "predict",
    "evaluate",
    "compare",
    "report",
    "store",
    "store status",
    "store verify",
    "store export",
    "store import",
    "tasks",
    "tasks list",
    "tasks show",
)


SHOWN = {"COLUMNS": "90", "TERMINAL_WIDTH": "90", "TERM": "dumb", "NO_COLOR": "1"}


def page() -> str:
    """The page's text."""
    os.environ.update(SHOWN)
    for key in ("CI", "GITHUB_ACTIONS", "FORCE_COLOR"):
        os.environ.pop(key, None)
    from typer.testing import CliRunner  # noqa: PLC0415  reads the environment

    from fiatkit.cli._app import app  # noqa: PLC0415

    runner = CliRunner()
    parts = ["# Commands\n\nMade by `make docs` from each command's `--help`.\n"]
    for command in COMMANDS:
        shown = runner.invoke(app, [*command.split(), "--help"], prog_name="fiat")
        if shown.exit_code:
            sys.exit(f"fiat {command} --help: {shown.output}")
        text = "\n".join(line.rstrip() for line in shown.output.strip().splitlines())
        parts.append(f"## {' '.join(['fiat', *command.split()])}\n\n```text\n{text}\n```\n")
    return "\n".join(parts)


if __name__ == "__main__":
    if "--check" in sys.argv:
        if not PAGE.is_file() or PAGE.read_text(encoding="utf-8") != page():
            sys.exit("docs/commands.md is out of date; run `make docs`")
    else:
        PAGE.write_text(page(), encoding="utf-8")

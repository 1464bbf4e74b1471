"""Write docs/commands.md from the commands' own --help, and docs/settings.md from the classes that
read settings; or check that both are up to date."""

from __future__ import annotations

import os
import sys
from pathlib import Path

import settings_page

HERE = Path(__file__).parent
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


def commands_page() -> str:
    """The text of docs/commands.md."""
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


def main() -> None:
    """Write the pages, or with --check compare them with what stands there."""
    for name, page in (("commands", commands_page), ("settings", settings_page.page)):
        file, text = HERE / f"{name}.md", page()
        if "--check" not in sys.argv:
            file.write_text(text, encoding="utf-8")
        elif not file.is_file() or file.read_text(encoding="utf-8") != text:
            sys.exit(f"docs/{name}.md is out of date; run `make docs`")


if __name__ == "__main__":
    main()

"""Write docs/commands.md from the commands' own --help, and docs/settings.md from the classes that
read settings; or check that both are up to date."""

from __future__ import annotations

import os
import sys
from pathlib import Path
from typing import Any

import settings_page

HERE = Path(__file__).parent
SHOWN = {"COLUMNS": "90", "TERMINAL_WIDTH": "90", "TERM": "dumb", "NO_COLOR": "1"}


def _names(command: Any) -> list[str]:
    """The command, and all that it has, in the order of its help."""
    below = getattr(command, "commands", {}).items()
    return ["", *(f"{name} {rest}".strip() for name, sub in below for rest in _names(sub))]


def commands_page() -> str:
    """The text of docs/commands.md."""
    os.environ.update(SHOWN)
    for key in ("CI", "GITHUB_ACTIONS", "FORCE_COLOR"):
        os.environ.pop(key, None)
    import typer  # noqa: PLC0415  reads the environment
    from typer.testing import CliRunner  # noqa: PLC0415

    from fiatkit.cli._app import app  # noqa: PLC0415

    runner = CliRunner()
    parts = ["# Commands\n\nMade by `make docs` from each command's `--help`.\n"]
    for command in _names(typer.main.get_command(app)):
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

"""Write docs/commands.md from the commands' own --help, or check that it is up to date."""

from __future__ import annotations

import os
import subprocess
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


def page() -> str:
    """The page's text."""
    parts = ["# Commands\n\nMade by `make docs` from each command's `--help`.\n"]
    environment = os.environ | {
        "COLUMNS": "90",
        "TERM": "dumb",
        "NO_COLOR": "1",
        "TERMINAL_WIDTH": "90",
    }
    for key in ("CI", "GITHUB_ACTIONS", "FORCE_COLOR"):
        environment.pop(key, None)
    for command in COMMANDS:
        words = [str(Path(sys.executable).with_name("fiat")), *command.split(), "--help"]
        shown = subprocess.run(words, env=environment, capture_output=True, text=True, check=True)
        text = "\n".join(line.rstrip() for line in shown.stdout.strip().splitlines())
        parts.append(f"## {' '.join(['fiat', *command.split()])}\n\n```text\n{text}\n```\n")
    return "\n".join(parts)


if __name__ == "__main__":
    if "--check" in sys.argv:
        if not PAGE.is_file() or PAGE.read_text(encoding="utf-8") != page():
            sys.exit("docs/commands.md is out of date; run `make docs`")
    else:
        PAGE.write_text(page(), encoding="utf-8")

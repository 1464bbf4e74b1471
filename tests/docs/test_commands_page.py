"""docs/commands.md is what the commands say of themselves."""

import subprocess
import sys
from pathlib import Path

ROOT = Path(__file__).parents[2]


def test_every_command_is_on_the_page() -> None:
    shown = subprocess.run(
        [str(Path(sys.executable).with_name("fiat")), "--help"],
        capture_output=True,
        text=True,
        check=True,
    ).stdout
    page = (ROOT / "docs" / "commands.md").read_text(encoding="utf-8")
    for name in ("doctor", "expand", "tune", "predict", "evaluate", "compare", "report"):
        assert f" {name} " in shown
        assert f"## fiat {name}\n" in page

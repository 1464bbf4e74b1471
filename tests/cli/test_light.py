"""`import fiatkit` and `fiat --help` load no heavy library."""

import json
import subprocess
import sys
from pathlib import Path

from tests.command import fiat

import fiatkit
from fiatkit.cli._app import app

HEAVY = ["torch", "transformers", "peft", "xllamacpp", "openai", "sklearn", "scipy", "numpy"]
HEAVY += ["pydantic", "jinja2", "sacrebleu", "huggingface_hub"]


def loaded_by(code: str) -> set[str]:
    shown = f"{code}\nimport json, sys; sys.stderr.write(json.dumps(sorted(sys.modules)))"
    done = subprocess.run([sys.executable, "-c", shown], capture_output=True, text=True, check=True)
    return set(json.loads(done.stderr))


def test_import_fiatkit_loads_nothing_heavy() -> None:
    loaded = loaded_by("import fiatkit")
    assert "fiatkit" in loaded
    assert not loaded & set(HEAVY)


def test_help_loads_nothing_heavy() -> None:
    code = "import sys; sys.argv = ['fiat', '--help']\n"
    code += "from fiatkit.cli import main\ntry: main()\nexcept SystemExit: pass"
    loaded = loaded_by(code)
    assert "typer" in loaded
    assert not loaded & set(HEAVY)


def test_public_names_exist_and_are_sorted() -> None:
    assert fiatkit.__all__ == sorted(fiatkit.__all__)
    assert all(getattr(fiatkit, name) is not None for name in fiatkit.__all__)
    assert set(dir(fiatkit)) == set(fiatkit.__all__)


def test_the_version_is_told(tmp_path: Path) -> None:
    assert fiat(tmp_path, "--version") == f"fiat {fiatkit.__version__}\n"


def test_help_fills_the_lines_of_any_terminal() -> None:
    """A paragraph of a docstring is broken by the terminal, not where the source breaks it."""
    asked = "Each column's part is proposed from what stands in it. On a terminal you are asked"
    for command in app.registered_commands:
        assert command.help and "\n" not in command.help.split("\n\n")[0]
    (init,) = (command for command in app.registered_commands if command.name == "init")
    assert init.help and f"{asked} about each proposal" in init.help

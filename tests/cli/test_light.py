"""`import fiatkit` and `fiat --help` load no heavy library."""

import json
import subprocess
import sys

import fiatkit

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

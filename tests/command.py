"""The command as a user types it, in a process of its own.

Each process is forked from one that has imported the libraries that are slow to import, which
saves about four seconds of work a call, and nothing of fiatkit. What depends on how Python itself
starts (signals, terminals, encodings) starts `FIAT` instead.
"""

import multiprocessing
import os
import subprocess
import sys
import tempfile
from pathlib import Path

FIAT = str(Path(sys.executable).with_name("fiat"))
SHOWN = {"COLUMNS": "200", "NO_COLOR": "1"}
WIDE = os.environ | SHOWN
SLOW_TO_IMPORT = [
    *("pytest", "pydantic", "typer", "rich.console", "rich.progress", "jinja2", "scipy.stats"),
    *("sklearn.feature_extraction.text", "sklearn.linear_model", "torch", "peft"),
    *("transformers.models.auto.modeling_auto", "transformers.models.auto.tokenization_auto"),
    *("transformers.models.llama.modeling_llama", "transformers.generation.utils"),
]
WARM = multiprocessing.get_context("forkserver")
WARM.set_forkserver_preload(SLOW_TO_IMPORT)


def run(folder: Path, *words: str, **environment: str) -> subprocess.CompletedProcess[str]:
    """Run `fiat` in a folder, with changes to the environment; waits until it has ended."""
    wide = os.environ | SHOWN
    with tempfile.TemporaryDirectory() as place:
        shown = [Path(place, name) for name in ("stdout", "stderr")]
        child = WARM.Process(target=_fiat, args=(folder, words, wide | environment, shown))
        child.start()
        child.join(600)
        assert child.exitcode is not None, f"fiat {' '.join(words)} did not end"
        texts = [path.read_text(encoding="utf-8") for path in shown]
    return subprocess.CompletedProcess(["fiat", *words], child.exitcode, *texts)


def fiat(folder: Path, *words: str, code: int = 0, **environment: str) -> str:
    """Run `fiat` in a folder; returns all that it printed."""
    done = run(folder, *words, **environment)
    assert done.returncode == code, done.stderr
    assert "Traceback" not in done.stderr
    return done.stdout + done.stderr


def _fiat(
    folder: Path, words: tuple[str, ...], environment: dict[str, str], shown: list[Path]
) -> None:
    """What the new process does: what the script `fiat` does, with its output in files."""
    os.environ.clear()
    os.environ.update(environment)
    os.chdir(folder)
    for stream, path in zip((sys.stdout, sys.stderr), shown, strict=True):
        os.dup2(os.open(path, os.O_WRONLY | os.O_CREAT), stream.fileno())
    sys.argv = [FIAT, *words]
    from fiatkit.cli import main

    main()

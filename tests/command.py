"""The command as a user types it, in a process of its own."""

import os
import subprocess
import sys
from pathlib import Path

FIAT = str(Path(sys.executable).with_name("fiat"))
WIDE = os.environ | {"COLUMNS": "200", "NO_COLOR": "1"}


def fiat(folder: Path, *words: str, code: int = 0) -> str:
    """Run `fiat` in a folder; returns all that it printed."""
    done = subprocess.run(
        [FIAT, *words], cwd=folder, env=WIDE, capture_output=True, text=True, timeout=900
    )
    assert done.returncode == code, done.stderr
    assert "Traceback" not in done.stderr
    return done.stdout + done.stderr

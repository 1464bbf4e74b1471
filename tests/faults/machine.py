"""What some faults need of the machine: strace, and a tmpfs to fill or to make read-only.

A test says so with `@pytest.mark.faults("strace")` or `("tmpfs")`; where it is not to be had the
test is skipped with the reason.
"""

from __future__ import annotations

import contextlib
import functools
import shutil
import subprocess
import tempfile
from collections.abc import Iterator
from pathlib import Path


@functools.cache
def missing(need: str) -> str:
    """Why this need cannot be met here, or an empty string."""
    if need == "strace":
        if not shutil.which("strace"):
            return "strace is not installed: apt-get install strace"
        tried = subprocess.run(["strace", "-o", "/dev/null", "true"], capture_output=True)
        return "" if tried.returncode == 0 else "this process may not trace others"
    if need == "tmpfs":
        with tempfile.TemporaryDirectory() as folder:
            try:
                with mounted(Path(folder) / "probe", "size=100k"):
                    return ""
            except (subprocess.CalledProcessError, OSError):
                return "a tmpfs cannot be mounted here: it needs root"
    raise ValueError(need)


@contextlib.contextmanager
def mounted(place: Path, options: str) -> Iterator[Path]:
    """A tmpfs at `place`, with the options of `mount -o`; unmounted at the end."""
    place.mkdir(exist_ok=True)
    subprocess.run(
        ["mount", "-t", "tmpfs", "-o", f"mode=700,{options}", "tmpfs", str(place)],
        check=True,
        capture_output=True,
    )
    try:
        yield place
    finally:
        subprocess.run(["umount", str(place)], check=True)


def remount(place: Path, options: str) -> None:
    """Change the options of a mounted tmpfs."""
    subprocess.run(["mount", "-o", f"remount,{options}", str(place)], check=True)


def strace(log: Path, *options: str) -> list[str]:
    """The words before a command that is to be traced into `log`, with its children."""

    return ["strace", "-f", "-qq", "-o", str(log), *options]


def attach(log: Path, *options: str) -> list[str]:
    """The words of a tracer for a process that runs already, before its number."""
    return ["strace", "-f", "-o", str(log), *options, "-p"]

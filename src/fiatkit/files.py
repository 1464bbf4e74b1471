"""Whole files only: nothing partial is ever visible under a final name."""

from __future__ import annotations

import contextlib
import json
import os
import tempfile
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import Any

from fiatkit.errors import EnvironmentProblem, did_you_mean


def write_whole(path: Path, content: bytes) -> None:
    """Write `content` to `path`: temporary file beside it, fsync, rename, fsync of the folder.

    Raises:
        EnvironmentProblem: the disk is full, or the place cannot be written.
    """
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        handle, name = tempfile.mkstemp(dir=path.parent, prefix=f".{path.name[:40]}.")
        temporary = Path(name)
        try:
            with os.fdopen(handle, "wb") as file:
                file.write(content)
                file.flush()
                os.fsync(file.fileno())
            temporary.chmod(0o644)
            temporary.replace(path)
        except BaseException:
            with contextlib.suppress(OSError):
                temporary.unlink()
            raise
        folder = os.open(path.parent, os.O_RDONLY)
        try:
            os.fsync(folder)
        finally:
            os.close(folder)
    except OSError as error:
        raise EnvironmentProblem(
            f'Cannot write "{path}": {error.strerror or error}.',
            "Free some space or choose another place, then run the same command again.",
        ) from None


def write_json(path: Path, value: Any) -> None:
    """Write `value` as indented JSON, as a whole file."""
    text = json.dumps(value, ensure_ascii=False, indent=1, allow_nan=False)
    write_whole(path, (text + "\n").encode())


def write_jsonl(path: Path, rows: Iterable[Any]) -> None:
    """Write one JSON value a line, as a whole file."""
    lines = (json.dumps(row, ensure_ascii=False, allow_nan=False) + "\n" for row in rows)
    write_whole(path, "".join(lines).encode())


def read_jsonl(path: Path) -> Iterator[Any]:
    """Yield the JSON values of a file that fiatkit wrote; lines end with a newline only."""
    with path.open(encoding="utf-8", newline="\n") as file:
        for line in file:
            if line.strip():
                yield json.loads(line)


def similar_file(path: Path) -> str:
    """'Did you mean "x"?' for a file that is not there, if its folder has one of a near name."""
    if path.exists() or not path.parent.is_dir():
        return ""
    return did_you_mean(path.name, (other.name for other in path.parent.iterdir()))

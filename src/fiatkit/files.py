"""Whole files only: nothing partial is ever visible under a final name."""

from __future__ import annotations

import contextlib
import json
import os
import tempfile
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import Any, BinaryIO

from fiatkit.errors import EnvironmentProblem, did_you_mean


@contextlib.contextmanager
def writing_whole(path: Path) -> Iterator[BinaryIO]:
    """A file to write to: temporary beside `path`, then fsync, rename, fsync of the folder.

    Raises:
        EnvironmentProblem: the disk is full, or the place cannot be written.
    """
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        handle, name = tempfile.mkstemp(dir=path.parent, prefix=f".{path.name[:40]}.")
        temporary = Path(name)
        try:
            with os.fdopen(handle, "wb") as file:
                yield file
                file.flush()
                os.fsync(file.fileno())
            temporary.chmod(0o644)
            temporary.replace(path)
        except BaseException:
            with contextlib.suppress(OSError):
                temporary.unlink()
            raise
        sync_folder(path.parent)
    except OSError as error:
        raise EnvironmentProblem(
            f'Cannot write "{path}": {error.strerror or error}.',
            "Free some space or choose another place, then run the same command again.",
        ) from None


def write_whole(path: Path, content: bytes) -> None:
    """Write `content` to `path` as a whole file."""
    with writing_whole(path) as file:
        file.write(content)


def sync_folder(path: Path) -> None:
    """Make the names in a folder durable."""
    folder = os.open(path, os.O_RDONLY)
    try:
        os.fsync(folder)
    finally:
        os.close(folder)


def check_writable(path: Path) -> None:
    """Write, sync and remove a probe where `path` will be written, before anything is spent.

    Raises:
        EnvironmentProblem: `path` cannot be written: it is a folder, or the place is read-only,
            full, or no folder, or the name is too long.
    """
    problem = ""
    try:
        if path.is_dir():
            problem = "it is a folder"
        path.parent.mkdir(parents=True, exist_ok=True)
        with tempfile.NamedTemporaryFile(dir=path.parent) as probe:
            probe.write(bytes(4096))
            probe.flush()
            os.fsync(probe.fileno())
    except OSError as error:
        problem = error.strerror or str(error)
    if problem:
        raise EnvironmentProblem(
            f'Cannot write "{path}": {problem}.', "Choose another place; nothing was spent."
        )


def write_json(path: Path, value: Any) -> None:
    """Write `value` as indented JSON, as a whole file."""
    text = json.dumps(value, ensure_ascii=False, indent=1, allow_nan=False)
    write_whole(path, (text + "\n").encode())


def write_jsonl(path: Path, rows: Iterable[Any]) -> None:
    """Write one JSON value a line, as a whole file."""
    with writing_whole(path) as file:
        for row in rows:
            file.write((json.dumps(row, ensure_ascii=False, allow_nan=False) + "\n").encode())


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

"""Whole files only: nothing partial is ever visible under a final name."""

from __future__ import annotations

import contextlib
import errno
import fcntl
import json
import os
import socket
import tempfile
import time
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import Any, BinaryIO

from fiatkit.errors import EnvironmentProblem, did_you_mean

LOCK = ".lock"


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
        sync(path.parent)
    except OSError as error:
        raise EnvironmentProblem(
            f'Cannot write "{path}": {error.strerror or error}.',
            "Free some space or choose another place, then run the same command again.",
        ) from None


def write_whole(path: Path, content: bytes) -> None:
    """Write `content` to `path` as a whole file."""
    with writing_whole(path) as file:
        file.write(content)


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


def sync(path: Path) -> None:
    """Bring a file, or a folder's list of names, to the disk. Raises OSError if that fails."""
    handle = os.open(path, os.O_RDONLY)
    try:
        os.fsync(handle)
    finally:
        os.close(handle)


class Lock:
    """A file that one process holds at a time; the lock dies with the process.

    It says who holds it, and keeps a note for the next holder. Its user says in words what is
    wrong when it cannot be had.

    Args:
        path: the file, which is made if it is not there.

    Raises:
        BlockingIOError: another process holds it; `strerror` says which.
        OSError: it cannot be written.
    """

    def __init__(self, path: Path) -> None:
        self._handle = os.open(path, os.O_RDWR | os.O_CREAT, 0o600)
        try:
            fcntl.flock(self._handle, fcntl.LOCK_EX | fcntl.LOCK_NB)
            self.left = self._read()[1]
            since = time.strftime("%Y-%m-%d %H:%M:%S")
            self._holder = f"pid {os.getpid()} on {socket.gethostname()} since {since}"
            self.mark(self.left)
        except BlockingIOError:
            holder = self._read()[0] or "another process"
            self.close()
            raise BlockingIOError(errno.EWOULDBLOCK, holder) from None
        except BaseException:
            self.close()
            raise

    def _read(self) -> tuple[str, str]:
        """Who holds it, and the note."""
        holder, _, note = os.pread(self._handle, 400, 0).decode(errors="replace").partition("\n")
        return holder, note

    def mark(self, note: str) -> None:
        """Replace the note; `left` stays what it was when the lock was taken."""
        text = f"{self._holder}\n{note}".encode()
        os.ftruncate(self._handle, len(text))
        os.pwrite(self._handle, text, 0)

    def close(self) -> None:
        """Let go. May be called twice."""
        if self._handle >= 0:
            os.close(self._handle)
            self._handle = -1


@contextlib.contextmanager
def locked(folder: Path, what: str) -> Iterator[None]:
    """Hold a folder, which is made if it is not there.

    Args:
        folder: what is written in.
        what: its name in messages, such as "run folder".

    Raises:
        EnvironmentProblem: another process holds it, or it cannot be written.
    """
    try:
        folder.mkdir(parents=True, exist_ok=True)
        lock = Lock(folder / LOCK)
    except BlockingIOError as held:
        raise EnvironmentProblem(
            f'The {what} "{folder}" is locked by {held.strerror}.',
            "Wait for it to end, or choose another folder with --out.",
        ) from None
    except OSError as error:
        raise EnvironmentProblem(
            f'Cannot write the {what} "{folder}": {error.strerror or error}.',
            "Choose another with --out.",
        ) from None
    with contextlib.closing(lock):
        yield


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
    try:
        if path.exists() or not path.parent.is_dir():
            return ""
        return did_you_mean(path.name, (other.name for other in path.parent.iterdir()))
    except OSError:  # such as a name that is too long
        return ""

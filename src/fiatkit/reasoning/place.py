"""The place where a store lies: its lock, who may read it, its file system, the room that is left.

Knows files, not SQLite's tables. What is worth a warning is logged; it stops nobody.
"""

from __future__ import annotations

import fcntl
import logging
import os
import re
import resource
import shutil
import socket
import sqlite3
import stat
import time
from pathlib import Path

from fiatkit.errors import EnvironmentProblem, StoreLockedError

MOUNTS = Path("/proc/self/mounts")
SHARED = re.compile(
    r"nfs|cifs|smb|9p|afs|ceph|lustre|gpfs|beegfs|gluster|fuse|davfs|vboxsf|overlay"
)
SAFE_SQLITE = (3, 51, 3)
ROOM_FACTOR = 3
FILES_BESIDE = 24  # the store's, the standard streams, the event loop, packages being read
log = logging.getLogger("fiatkit")


class Lock:
    """The writer's lock, which dies with the process that holds it.

    Its file says who holds the store and, after that one has died, whether it had closed it.

    Raises:
        StoreLockedError: another process holds it.
        EnvironmentProblem: the place cannot be written.
    """

    def __init__(self, path: Path) -> None:
        try:
            path.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
            self._handle = os.open(f"{path}.lock", os.O_RDWR | os.O_CREAT, 0o600)
        except OSError as error:
            raise EnvironmentProblem(
                f'Cannot write the store "{path}": {error.strerror or error}.',
                "Name another place with --store.",
            ) from None
        *owner, self.left = self._read()
        try:
            fcntl.flock(self._handle, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except OSError:
            os.close(self._handle)
            raise StoreLockedError(
                f'The store "{path}" is locked by {" ".join(owner) or "another process"}.',
                "Wait for it to end. Looking (fiat store status) works meanwhile.",
            ) from None
        *_, self.left = self._read()
        since = time.strftime("%Y-%m-%d %H:%M:%S")
        self._owner = f"pid {os.getpid()} on {socket.gethostname()} since {since}"
        try:
            self.mark(self.left)
        except OSError as error:
            os.close(self._handle)
            raise EnvironmentProblem(
                f'Cannot write the store "{path}": {error.strerror or error}.',
                "Free some space, or name another place with --store.",
            ) from None

    def _read(self) -> list[str]:
        return os.pread(self._handle, 400, 0).decode(errors="replace").split("\n")

    def mark(self, state: str) -> None:
        """Note that the file is "open", with answers in it, or "closed"; "" is neither."""
        text = f"{self._owner}\n{state}".encode()
        os.ftruncate(self._handle, len(text))
        os.pwrite(self._handle, text, 0)

    def close(self) -> None:
        """Let go. May be called twice."""
        if self._handle >= 0:
            os.close(self._handle)
            self._handle = -1


def make_private(path: Path) -> None:
    """Make the file readable by its owner only; warn if others can write its folder."""
    folder = path.parent.stat()
    if stat.S_IMODE(folder.st_mode) & (stat.S_IWGRP | stat.S_IWOTH):
        log.warning('Others can write the folder of the store "%s": chmod go-w it.', path)
    elif folder.st_uid != os.geteuid():
        log.warning('The folder of the store "%s" belongs to somebody else.', path)
    if not path.exists():
        try:
            os.close(os.open(path, os.O_RDWR | os.O_CREAT, 0o600))
        except OSError as error:
            raise EnvironmentProblem(
                f'Cannot write the store "{path}": {error.strerror or error}.',
                "Name another place with --store.",
            ) from None


def shared_file_system(path: Path) -> str:
    """The type of the file system if other machines may write it, or layers lie in it; else ""."""
    place, found = str(path.resolve()), ("", "")
    try:
        lines = MOUNTS.read_text(encoding="utf-8").splitlines()
    except OSError:
        return ""
    for line in lines:
        point, kind = line.split(" ")[1:3]
        point = point.encode().decode("unicode_escape")
        if len(point) >= len(found[0]) and f"{place}/".startswith(f"{point.rstrip('/')}/"):
            found = (point, kind)
    return found[1] if SHARED.search(found[1]) else ""


def journal_for(path: Path) -> str:
    """The journal that is safe at this place: WAL needs memory that all its users share."""
    kind = shared_file_system(path)
    if not kind:
        return "wal"
    log.warning(
        'The store "%s" lies on a file system of type %s: a slower kind of journal is used. A '
        "local disk is safer; name another place with --store.",
        path,
        kind,
    )
    return "truncate"


def warn_of_writers(path: Path) -> None:
    """Another program wrote the file although we hold the lock."""
    old = sqlite3.sqlite_version_info < SAFE_SQLITE
    log.warning(
        'Another program is writing the store "%s".%s Stop it, then run fiat store verify.',
        path,
        f" SQLite {sqlite3.sqlite_version} can damage a file that two write at once."
        if old
        else "",
    )


def check_room(path: Path, rows: int, bytes_each: int) -> None:
    """Warn if the disk may not have the room for so many more answers."""
    needed = rows * bytes_each * ROOM_FACTOR
    free = shutil.disk_usage(path.parent).free
    if free < needed:
        log.warning(
            'The store "%s" may need %s MB for %s answers; %s MB are free.',
            path,
            f"{needed / 1e6:,.1f}",
            f"{rows:,}",
            f"{free / 1e6:,.1f}",
        )


def within_file_limit(workers: int) -> int:
    """How many of so many workers, with a connection each, the limit on open files allows.

    The limit is raised as far as this process may.

    Raises:
        EnvironmentProblem: it allows none.
    """
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    wanted = FILES_BESIDE + 2 * workers
    if soft != resource.RLIM_INFINITY and soft < wanted:
        soft = wanted if hard == resource.RLIM_INFINITY else min(wanted, hard)
        resource.setrlimit(resource.RLIMIT_NOFILE, (soft, hard))
        allowed = (soft - FILES_BESIDE) // 2
        if allowed < 1:
            raise EnvironmentProblem(
                f"Only {soft} files may be open at once; {FILES_BESIDE + 2} are needed at least.",
                "Raise the limit, for example with: ulimit -n 256",
            )
        if allowed < workers:
            log.warning("%s calls at once, not %s: %s files may be open.", allowed, workers, soft)
        return min(allowed, workers)
    return workers


def room(path: Path) -> str:
    """How much room is left, as a remark."""
    try:
        return f" ({shutil.disk_usage(path.parent).free / 1e6:,.1f} MB free)"
    except OSError:
        return ""

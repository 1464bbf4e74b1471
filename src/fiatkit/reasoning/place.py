"""The place where a store lies: its lock, who may read it, its file system, the room that is left.

Knows files, not SQLite's tables. What is worth a warning is logged; it stops nobody.
"""

from __future__ import annotations

import logging
import os
import re
import resource
import shutil
import sqlite3
import stat
from pathlib import Path

from fiatkit.errors import EnvironmentProblem, StoreLockedError
from fiatkit.files import Lock

MOUNTS = Path("/proc/self/mounts")
SHARED = re.compile(
    r"nfs|cifs|smb|9p|afs|ceph|lustre|gpfs|beegfs|gluster|fuse|davfs|vboxsf|overlay"
)
SAFE_SQLITE = (3, 51, 3)
ROOM_FACTOR = 3
FILES_BESIDE = 24  # the store's, the standard streams, the event loop, packages being read
log = logging.getLogger("fiatkit")


def lock(path: Path) -> Lock:
    """Take the writer's lock, with the store's folder, which is made if it is not there.

    Its note says "open" as long as the file may have answers in its -wal, "closed" once they are
    in the file itself; "" where no answer was ever put there.

    Raises:
        StoreLockedError: another process holds it.
        EnvironmentProblem: the place cannot be written.
    """
    try:
        path.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
        return Lock(Path(f"{path}.lock"))
    except BlockingIOError as held:
        raise StoreLockedError(
            f'The store "{path}" is locked by {held.strerror}.',
            "Wait for it to end. Looking (fiat store status) works meanwhile.",
        ) from None
    except OSError as error:
        raise EnvironmentProblem(
            f'Cannot write the store "{path}": {error.strerror or error}.',
            "Free some space, or name another place with --store.",
        ) from None


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

"""The lock that run folders and stores share: one holder, named, with a note for the next."""

import os
import stat
import subprocess
import sys
from pathlib import Path

import pytest

from fiatkit.errors import EnvironmentProblem
from fiatkit.files import Lock, locked


def test_a_lock_has_one_holder_and_says_who(tmp_path: Path) -> None:
    path = tmp_path / "lock"
    held = Lock(path)
    with pytest.raises(BlockingIOError) as refused:
        Lock(path)
    assert refused.value.strerror.startswith(f"pid {os.getpid()} on ")
    held.close()
    held.close()
    Lock(path).close()
    assert stat.S_IMODE(path.stat().st_mode) == 0o600


def test_a_note_is_for_the_next_holder_and_outlives_a_killed_one(tmp_path: Path) -> None:
    path = tmp_path / "lock"
    held = Lock(path)
    assert held.left == ""
    held.mark("closed")
    held.mark("open")
    held.close()
    code = (
        "import os, signal, sys; from pathlib import Path; from fiatkit.files import Lock\n"
        "held = Lock(Path(sys.argv[1])); assert held.left == 'open'; held.mark('a longer note')\n"
        "os.kill(os.getpid(), signal.SIGKILL)"
    )
    assert subprocess.run([sys.executable, "-c", code, path]).returncode == -9
    assert Lock(path).left == "a longer note"


def test_a_lock_that_cannot_be_made_is_no_lock_that_is_held(tmp_path: Path) -> None:
    with pytest.raises(FileNotFoundError):
        Lock(tmp_path / "nothing" / "lock")
    (tmp_path / "file").touch()
    with (
        pytest.raises(EnvironmentProblem, match=r'Cannot write the run folder ".*\n.*--out'),
        locked(tmp_path / "file", "run folder"),
    ):
        pass

"""The store's file hurt, shared, or carried into a fork: refused, salvaged, never quietly emptied."""

import contextlib
import os
import random
import shutil
import signal
import sqlite3
import stat
import subprocess
import sys
import traceback
from collections.abc import Callable
from decimal import Decimal
from pathlib import Path

import pytest

from fiatkit.errors import FiatError, StoreCorruptError
from fiatkit.reasoning import RationaleStore, completion_key, recover
from fiatkit.records import Completion, Usage
from tests.command import fiat
from tests.faults import child
from tests.faults.fakeserver import FakeServer
from tests.reasoning.test_migration import GOLDEN
from tests.reasoning.test_store import IDENTITY, put, request

ANSWERS = 60


def long_text(number: int) -> str:
    """Some fit into a page, some need several more."""
    return f"{number} " + "né" * (number * 150)


def filled(path: Path) -> dict[str, Completion | None]:
    """A store, and what it answers."""
    with RationaleStore(path) as store:
        for number in range(ANSWERS):
            key = completion_key(IDENTITY, request(f"q{number}"))
            attempt = store.lease(key, run="r", model="m")
            store.commit(
                attempt,
                IDENTITY,
                request(f"q{number}"),
                Completion(long_text(number), "stop", Usage(3, 1), reasoning="hm" * number),
                cost=Decimal("0.01"),
            )
        store.fail(store.lease("f" * 64, run="r"), "http_500")
        return {key: store.get(key) for (key,) in store._db.execute("SELECT key FROM completions")}


def killed_while_open(path: Path, work: Callable[[RationaleStore], object]) -> None:
    """Work on a store in a process that dies without closing it."""
    process = os.fork()
    if process == 0:
        try:
            work(RationaleStore(path))
            os.kill(os.getpid(), signal.SIGKILL)
        except BaseException:
            traceback.print_exc()
        os._exit(1)
    assert os.WTERMSIG(os.waitpid(process, 0)[1]) == signal.SIGKILL


def answers(path: Path) -> dict[str, Completion | None]:
    with RationaleStore(path) as store:
        assert store.verify() == []
        return {key: store.get(key) for (key,) in store._db.execute("SELECT key FROM completions")}


@pytest.mark.parametrize("damage", ["truncated", "zeroed head", "flipped page", "no tree"])
def test_D04_what_a_damaged_file_still_holds_is_saved(tmp_path: Path, damage: str) -> None:
    path = tmp_path / "store.sqlite"
    before = filled(path)
    raw = bytearray(path.read_bytes())
    if damage == "truncated":
        del raw[len(raw) * 3 // 4 // 4096 * 4096 + 100 :]
    elif damage == "zeroed head":
        raw[:4096] = bytes(4096)
    elif damage == "flipped page":
        at = len(raw) // 2 // 4096 * 4096
        raw[at : at + 4096] = bytes(b ^ 0xFF for b in raw[at : at + 4096])
    else:
        for at in range(0, len(raw), 4096):
            if raw[at] == 5:
                raw[at : at + 4096] = bytes(4096)
    path.write_bytes(raw)
    with pytest.raises(StoreCorruptError, match="fiat store recover"):
        RationaleStore(path)
    assert path.read_bytes() == raw, "left as it was"

    counts = recover(path)
    assert (tmp_path / "store.sqlite.corrupt-1").read_bytes() == raw
    after = answers(path)
    assert after.items() <= before.items()
    least = {"truncated": ANSWERS // 2, "flipped page": ANSWERS - 10}.get(damage, ANSWERS)
    assert counts["completions"] == len(after) >= least
    with RationaleStore(path) as store:
        spent = store.spent("r")
        assert spent.calls == counts["attempts"]
        if damage in ("zeroed head", "no tree"):
            assert (spent.calls, spent.cost) == (ANSWERS + 1, Decimal("0.60"))
    again = recover(path)
    assert again == counts
    assert (tmp_path / "store.sqlite.corrupt-2").exists()


@pytest.mark.parametrize("seed", range(8))
def test_D04_bytes_overwritten_at_random_never_give_a_wrong_answer(
    tmp_path: Path, seed: int
) -> None:
    path = tmp_path / "store.sqlite"
    before = filled(path)
    chance = random.Random(seed)
    raw = bytearray(path.read_bytes())
    for _ in range(3):
        at = chance.randrange(len(raw))
        raw[at : at + 64] = chance.randbytes(64)[: len(raw) - at]
    path.write_bytes(raw)
    with contextlib.suppress(StoreCorruptError):
        assert answers_that_hold(path).items() <= before.items()
    recover(path)
    after = answers(path)
    assert after.items() <= before.items()
    assert len(after) >= ANSWERS - 12


def answers_that_hold(path: Path) -> dict[str, Completion]:
    with RationaleStore(path) as store:
        keys = [key for (key,) in store._db.execute("SELECT key FROM completions")]
        return {key: found for key in keys if (found := store.get(key))}


def test_D04_an_older_file_is_salvaged_too(tmp_path: Path) -> None:
    path = Path(shutil.copy(GOLDEN, tmp_path / "store.sqlite"))
    raw = bytearray(path.read_bytes())
    raw[:100] = bytes(100)
    path.write_bytes(raw)
    assert recover(path) == {"completions": 5, "attempts": 8}
    assert len(answers(path)) == 5


def test_D04_answers_in_the_wal_of_a_damaged_file_are_saved(tmp_path: Path) -> None:
    path = tmp_path / "store.sqlite"
    before = filled(path)
    killed_while_open(path, lambda store: put(store, "newest", "x" * 9000))
    raw = bytearray(path.read_bytes())
    trees = [at for at in range(0, len(raw), 4096) if raw[at] == 5]
    for at in trees:
        raw[at : at + 4096] = bytes(4096)
    path.write_bytes(raw)
    with path.with_name("store.sqlite-wal").open("r+b") as wal:
        wal.seek(32 + 24)
        wal.write(bytes(4))
    with pytest.raises(StoreCorruptError):
        RationaleStore(path)
    assert recover(path)["completions"] == ANSWERS + 1
    assert (tmp_path / "store.sqlite.corrupt-1-wal").exists()
    after = answers(path)
    assert before.items() <= after.items()


def test_D04_a_wal_that_was_deleted_is_noticed(tmp_path: Path) -> None:
    path = tmp_path / "store.sqlite"
    before = filled(path)
    killed_while_open(path, lambda store: put(store, "newest"))
    wal = tmp_path / "store.sqlite-wal"
    kept = wal.read_bytes()
    wal.unlink()
    with pytest.raises(StoreCorruptError, match=r'"store.sqlite-wal".* is gone'):
        RationaleStore(path)
    wal.write_bytes(kept)
    assert len(answers(path)) == ANSWERS + 1
    killed_while_open(path, lambda store: put(store, "another"))
    wal.unlink()
    recover(path)
    assert before.items() <= answers(path).items()


def test_D04_an_emptied_file_is_not_taken_for_a_new_store(tmp_path: Path) -> None:
    path = tmp_path / "store.sqlite"
    filled(path)
    path.write_bytes(b"")
    with pytest.raises(StoreCorruptError, match="it is empty, though answers were put there"):
        RationaleStore(path)
    path.unlink()
    assert answers(path) == {}


def test_D04_a_crash_leaves_nothing_that_looks_like_damage(tmp_path: Path) -> None:
    path = tmp_path / "store.sqlite"
    for number in range(3):
        killed_while_open(path, lambda store: None)
        killed_while_open(path, lambda store, n=number: put(store, f"q{n}"))
        with RationaleStore(path):
            pass
        killed_while_open(path, lambda store: None)
    assert len(answers(path)) == 3


def test_D05_the_second_of_two_runs_ends_with_code_4_and_pays_nothing(tmp_path: Path) -> None:
    path = tmp_path / "store.sqlite"
    with FakeServer() as server, RationaleStore(path):
        outcome = child.run(server.url, path, 2)
        assert (outcome.code, server.receipts) == (4, [])
        assert f"is locked by pid {os.getpid()} on " in outcome.output


@pytest.mark.parametrize("old", [True, False])
def test_D05_another_program_that_writes_is_noticed(
    tmp_path: Path, caplog: pytest.LogCaptureFixture, monkeypatch: pytest.MonkeyPatch, old: bool
) -> None:
    version = (3, 40, 1) if old else (3, 51, 3)
    monkeypatch.setattr("sqlite3.sqlite_version_info", version)
    path = tmp_path / "store.sqlite"
    with RationaleStore(path) as store:
        put(store, "q")
        with RationaleStore.read_only(path) as reader:
            reader.status()
        put(store, "r")
        assert not caplog.records, "neither our own writing nor looking is another program's"
        with sqlite3.connect(path) as other:
            other.execute("UPDATE attempts SET run = 'x'")
        other.close()
        put(store, "s")
        put(store, "t")
    (record,) = caplog.records
    assert "Another program is writing" in record.message
    assert ("can damage a file that two write" in record.message) == old


def test_D06_a_killed_run_leaves_no_lock(tmp_path: Path) -> None:
    path = tmp_path / "store.sqlite"
    killed_while_open(path, lambda store: store.lease("k"))
    with RationaleStore(path) as store:
        assert store.status()["attempts"] == {"ambiguous": 1}


def in_a_fork(work: Callable[[], object]) -> str:
    """What `work` raises in a forked child, "" if nothing."""
    reader, writer = os.pipe()
    process = os.fork()
    if process == 0:
        told = b""
        try:
            work()
        except BaseException as error:
            told = f"{type(error).__name__}: {error}".encode()
        os.write(writer, told or b"-")
        os._exit(0)
    os.close(writer)
    os.waitpid(process, 0)
    told = os.read(reader, 10_000).decode()
    os.close(reader)
    return "" if told == "-" else told


def test_D10_a_fork_may_not_use_the_parents_connection(tmp_path: Path) -> None:
    path = tmp_path / "store.sqlite"
    with RationaleStore(path) as store:
        key = put(store, "q")
        for work in (lambda: store.get(key), lambda: store.lease("k"), lambda: put(store, "r")):
            said = in_a_fork(work)
            assert said.startswith(FiatError.__name__)
            assert f"opened by process {os.getpid()}" in said
        assert in_a_fork(store.close) == ""
        assert "StoreLockedError" in in_a_fork(lambda: RationaleStore(path))
        put(store, "r")
        assert store.verify() == []
    assert len(answers(path)) == 2


def test_D10_a_fork_that_outlives_its_parent_does_not_hold_the_lock(tmp_path: Path) -> None:
    path = tmp_path / "store.sqlite"
    code = (
        "import os, sys, time; from pathlib import Path; from fiatkit.reasoning import RationaleStore\n"
        f"s = RationaleStore(Path({str(path)!r}))\n"
        "if os.fork() == 0: print(os.getpid(), flush=True); os.close(1); time.sleep(60)\n"
    )
    done = subprocess.run([sys.executable, "-c", code], stdout=subprocess.PIPE, text=True)
    orphan = int(done.stdout)
    try:
        RationaleStore(path).close()
    finally:
        os.kill(orphan, signal.SIGKILL)


def test_D14_folder_and_files_are_the_owner_s_alone(tmp_path: Path) -> None:
    path = tmp_path / "new" / "store.sqlite"
    with RationaleStore(path) as store:
        put(store, "q")
        files = sorted(path.parent.iterdir())
        assert [file.name.removeprefix("store.sqlite") for file in files] == [
            "",
            "-shm",
            "-wal",
            ".lock",
        ]
        assert [stat.S_IMODE(file.stat().st_mode) for file in files] == [0o600] * 4
    assert stat.S_IMODE(path.parent.stat().st_mode) == 0o700


@pytest.mark.parametrize(("mode", "warned"), [(0o755, 0), (0o775, 1), (0o757, 1)])
def test_D14_a_folder_that_others_can_write_is_told(
    tmp_path: Path, caplog: pytest.LogCaptureFixture, mode: int, warned: int
) -> None:
    folder = tmp_path / "shared"
    folder.mkdir()
    folder.chmod(mode)
    RationaleStore(folder / "store.sqlite").close()
    assert ["Others can write" in record.message for record in caplog.records] == [True] * warned


@pytest.mark.skipif(os.geteuid() != 0, reason="only root can give a folder away")
def test_D14_a_folder_of_somebody_else_is_told(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    os.chown(tmp_path, 65534, 65534)
    RationaleStore(tmp_path / "store.sqlite").close()
    assert "belongs to somebody else" in caplog.text


def test_D14_the_warning_reaches_the_terminal(tmp_path: Path) -> None:
    tmp_path.chmod(0o777)
    filled(tmp_path / "s.sqlite")
    said = fiat(tmp_path, "store", "compact", "--store", "s.sqlite")
    assert "chmod go-w" in said

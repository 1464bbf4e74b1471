"""The store: durable, checked, locked, never repeating; failures are rows of their own kind."""

import os
import sqlite3
import stat
import subprocess
import sys
from pathlib import Path

import pytest

from fiatkit.errors import DataError, EnvironmentProblem, StoreCorruptError, StoreLockedError
from fiatkit.reasoning import RationaleStore, completion_key, schema, stored_rationales
from fiatkit.records import Completion, Message, ModelIdentity, Query, Request, Sampling, Usage
from fiatkit.tasks import load_task

IDENTITY = ModelIdentity("scripted", "", "s", "1")


def request(text: str) -> Request:
    return Request((Message("user", text),), Sampling())


def put(store: RationaleStore, text: str, answer: str = "yes", finish: str = "stop") -> str:
    key = completion_key(IDENTITY, request(text))
    kept = Completion(answer, finish, Usage(3, 1, 0), "s", 0.5)  # type: ignore[arg-type]
    store.commit(store.lease(key), IDENTITY, request(text), kept)
    return key


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / "deep" / "store.sqlite"


@pytest.mark.parametrize(
    "text",
    ["plain", "a\0b", "\u202eevil\u202c", "</script>{{7*7}}<|im_end|>", "é" * 5000, "\x1b[2J"],
)
def test_G22_any_text_comes_back_byte_for_byte(path: Path, text: str) -> None:
    with RationaleStore(path) as store:
        key = put(store, "q", text)
    with RationaleStore(path) as store:
        found = store.get(key)
    assert found == Completion(text, "stop", Usage(3, 1, 0), "s", 0.5)


def test_G22_half_a_surrogate_is_replaced_and_said(path: Path) -> None:
    with RationaleStore(path) as store:
        found = store.get(put(store, "q", "a\ud800b"))
        assert found is not None
        assert "\ud800" not in found.text
        assert "surrogates replaced" in found.detail
        assert store.verify() == []


def test_settings_are_the_durable_ones(path: Path) -> None:
    with RationaleStore(path) as store:
        put(store, "q")
        mode = store._db.execute("PRAGMA journal_mode").fetchone()[0]
        full = store._db.execute("PRAGMA synchronous").fetchone()[0]
    assert (mode, full) == ("wal", 2)


def test_D05_a_second_writer_is_refused_and_a_reader_is_not(path: Path) -> None:
    with RationaleStore(path) as store:
        put(store, "q")
        code = f"from pathlib import Path; from fiatkit.reasoning import RationaleStore as R; R(Path({str(path)!r}))"
        done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True)
        assert "StoreLockedError" in done.stderr
        assert f"pid {os.getpid()}" in done.stderr
        with RationaleStore.read_only(path) as reader:
            assert reader.status()["completions"] == 1
        with pytest.raises(StoreLockedError):
            RationaleStore(path)


def test_what_is_open_for_looking_has_no_way_to_write(path: Path) -> None:
    RationaleStore(path).close()
    with RationaleStore.read_only(path) as reader:
        for name in ("lease", "commit", "fail", "together", "import_", "merge", "compact"):
            assert hasattr(RationaleStore, name)
            assert not hasattr(reader, name)
        with pytest.raises(sqlite3.OperationalError, match="readonly"):
            reader._db.execute("DELETE FROM completions")


def test_D06_a_dead_process_leaves_no_lock_and_an_ambiguous_lease(path: Path) -> None:
    code = (
        "import os, signal; from pathlib import Path; from fiatkit.reasoning import RationaleStore\n"
        f"s = RationaleStore(Path({str(path)!r})); s.lease('k'); os.kill(os.getpid(), signal.SIGKILL)"
    )
    assert subprocess.run([sys.executable, "-c", code]).returncode == -9
    with RationaleStore(path) as store:
        assert store.status()["attempts"] == {"ambiguous": 1}
        assert store.status()["possibly billed"] == 1


def test_D08_a_row_with_a_wrong_checksum_is_absent_and_counted(path: Path) -> None:
    with RationaleStore(path) as store:
        key, other = put(store, "q"), put(store, "r")
    with sqlite3.connect(path) as raw:
        raw.execute("UPDATE completions SET text = ? WHERE key = ?", (b"no", key))
    with RationaleStore(path) as store:
        assert store.get(key) is None
        assert store.corrupt == 1
        assert store.get(other) is not None
        assert len(store.verify()) == 1
        put(store, "q")
        assert store.verify() == []


def test_D08_a_pinned_checksum() -> None:
    """If this fails, users' paid answers no longer pass their check: do not change the number."""
    values = ("wärm\n".encode(), "stop", 300, 0, None, 0.5, "big-2026", "", 1.25e9)
    later = (7, 10**11, None, '[["a", -0.5]]')
    assert schema.checksum(("a" * 64, *values, *later)) == (
        "2:9b5ae4d362c912215697080af8be568f8658c73504636342716f6adb4de577b3"
    )


@pytest.mark.parametrize("damage", ["truncated", "zeroed head", "not a database"])
def test_D04_a_damaged_file_is_refused_and_left_alone(path: Path, damage: str) -> None:
    with RationaleStore(path) as store:
        for number in range(10):
            put(store, f"q{number}", "x" * 9000)
    raw = path.read_bytes()
    path.with_name(path.name + "-wal").unlink(missing_ok=True)
    hurt = {
        "truncated": raw[: len(raw) // 2],
        "zeroed head": bytes(200) + raw[200:],
        "not a database": b"hello",
    }[damage]
    path.write_bytes(hurt)
    with pytest.raises(StoreCorruptError):
        RationaleStore(path)
    assert path.read_bytes() == hurt


def test_D09_a_newer_store_is_refused(path: Path) -> None:
    RationaleStore(path).close()
    with sqlite3.connect(path) as raw:
        raw.execute("PRAGMA user_version = 99")
    with pytest.raises(StoreCorruptError, match="schema 99"):
        RationaleStore(path)


def test_D11_a_place_that_cannot_be_written(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("x")
    with pytest.raises(EnvironmentProblem, match="--store"):
        RationaleStore(tmp_path / "file" / "store.sqlite")


def test_D14_the_lock_is_private(path: Path) -> None:
    RationaleStore(path).close()
    assert stat.S_IMODE(Path(f"{path}.lock").stat().st_mode) == 0o600


def test_export_and_import_are_inverse_and_never_overwrite(path: Path, tmp_path: Path) -> None:
    file = tmp_path / "out.jsonl"
    with RationaleStore(path) as store:
        keys = [put(store, f"q{i}", f"answer {i} \u2028 é") for i in range(5)]
        assert store.export(file) == 5
    with RationaleStore(tmp_path / "other.sqlite") as other:
        put(other, "q0", "another answer")
        counts = other.import_(file)
        assert counts == {"added": 4, "here already": 0, "in conflict (kept what is here)": 1}
        assert other.get(keys[0]) != other.get(keys[1])
        assert other.verify() == []
        assert other.import_(file)["here already"] == 4
    file.write_text(file.read_text(encoding="utf-8").replace("answer 3", "answer 4", 1))
    with RationaleStore(path) as store, pytest.raises(DataError, match="checksum"):
        store.import_(file)


@pytest.mark.skipif(os.geteuid() != 0, reason="mounting a small tmpfs needs root")
def test_D01_a_full_disk_keeps_what_was_acknowledged(tmp_path: Path) -> None:
    place = tmp_path / "small"
    place.mkdir()
    mounted = subprocess.run(["mount", "-t", "tmpfs", "-o", "size=400k", "tmpfs", str(place)])
    if mounted.returncode != 0:
        pytest.skip("tmpfs cannot be mounted here")
    try:
        kept: list[str] = []
        with RationaleStore(place / "s.sqlite") as store, pytest.raises(EnvironmentProblem):
            for number in range(1000):
                kept.append(put(store, f"q{number}", "x" * 2000))
        assert kept
        with RationaleStore.read_only(place / "s.sqlite") as store:
            assert all(store.get(key) is not None for key in kept)
            assert store.verify() == []
    finally:
        subprocess.run(["umount", str(place)], check=True)


def test_G01_a_store_that_was_killed_before_it_had_tables_holds_nothing(path: Path) -> None:
    """As a kill between making the file and its tables leaves it: looking at it is no error."""
    with RationaleStore(path):
        pass
    lock = Path(f"{path}.lock")
    path.unlink()
    lock.write_text("pid 1 on here\n")
    path.touch()
    task = load_task("sib200")
    query = Query("q", {"text": "x"})
    assert stored_rationales(task, IDENTITY, path, [query]) == {}
    with RationaleStore(path) as store:
        assert store.status()["completions"] == 0
    assert stored_rationales(task, IDENTITY, path, [query]) == {}

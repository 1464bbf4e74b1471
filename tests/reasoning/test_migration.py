"""A store of an older schema: backed up, brought up to date whole or not at all, read as it is."""

import hashlib
import os
import shutil
import signal
import sqlite3
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from fiatkit.reasoning import RationaleStore, completion_key, schema
from fiatkit.reasoning.schema import SCHEMA
from fiatkit.records import Completion, Message, ModelIdentity, Request, Sampling, Usage

GOLDEN = Path(__file__).parents[1] / "golden" / "store_schema_1.sqlite"
IDENTITY = ModelIdentity("openai_compatible", "https://api.example.com/v1", "big", "")


def key(number: int) -> str:
    messages = (Message("system", "Say warm or cold."), Message("user", f"Text: number {number}."))
    return completion_key(IDENTITY, Request(messages, Sampling(max_tokens=64)))


@pytest.fixture
def old(tmp_path: Path) -> Path:
    return Path(shutil.copy(GOLDEN, tmp_path / "store.sqlite"))


def schema_of(path: Path) -> int:
    with sqlite3.connect(path) as raw:
        return int(raw.execute("PRAGMA user_version").fetchone()[0])


def check_answers(store: RationaleStore) -> None:
    """What the release that wrote the golden file had been told."""
    first = Completion("It is warm.\nAnswer: warm", "stop", Usage(40, 0, 32), "big-2026", 0.0)
    odd = Completion("Es ist kalt \u2028 ❄\0", "stop", Usage(41, 1, 32), "big-2026", 0.25)
    assert [store.get(key(0)), store.get(key(1))] == [first, odd]
    assert [store.get(key(n)).finish for n in (2, 3, 4)] == ["length", "empty", "refused"]  # type: ignore[union-attr]
    assert store.get(key(5)) is None
    assert store.verify() == []
    assert store.corrupt == 0


def test_D09_an_older_store_is_backed_up_and_brought_up_to_date(old: Path) -> None:
    with RationaleStore(old) as store:
        check_answers(store)
        outcomes = store.status()["attempts"]
    assert outcomes == {"done": 5, "failed:rate_limit": 1, "ambiguous": 2}
    assert schema_of(old) == SCHEMA
    backup = old.with_name("store.sqlite.schema-1")
    assert schema_of(backup) == 1
    with sqlite3.connect(GOLDEN) as golden, sqlite3.connect(backup) as kept:
        assert list(kept.iterdump()) == list(golden.iterdump())
    with RationaleStore(old) as store:
        check_answers(store)


def test_D09_an_older_store_can_be_looked_at_as_it_is(old: Path) -> None:
    before = old.read_bytes()
    with RationaleStore.read_only(old) as store:
        check_answers(store)
        assert store.spent().calls == 8
        assert [row.group for row in store.ledger(["run", "model"])] == [{"run": "", "model": ""}]
    assert old.read_bytes() == before


def test_D09_a_fresh_store_is_laid_out_like_one_brought_up_to_date(
    old: Path, tmp_path: Path
) -> None:
    fresh = tmp_path / "fresh.sqlite"
    RationaleStore(old).close()
    RationaleStore(fresh).close()

    def layout(path: Path) -> list[Any]:
        with sqlite3.connect(path) as raw:
            return raw.execute("SELECT type, name, sql FROM sqlite_master ORDER BY 2").fetchall()

    assert layout(old) == layout(fresh)


def killed_at(statement: int, path: Path, work: Callable[[], None]) -> bool:
    """Run `work` in a child that kills itself before its n-th SQL statement; False if it ended."""
    child = os.fork()
    if child:
        return os.WIFSIGNALED(os.waitpid(child, 0)[1])
    left = statement

    def count(sql: str) -> None:
        nonlocal left
        left -= 1
        if not left:
            os.kill(os.getpid(), signal.SIGKILL)

    connect = sqlite3.connect

    def traced(*args: Any, **settings: Any) -> sqlite3.Connection:
        db = connect(*args, **settings)
        db.set_trace_callback(count)
        return db

    sqlite3.connect = traced  # type: ignore[assignment]
    try:
        work()
        os._exit(0)
    finally:
        os._exit(1)


def test_D09_kill_9_at_every_statement_of_a_migration_is_safe(tmp_path: Path) -> None:
    old = tmp_path / "store.sqlite"
    versions = []
    for statement in range(1, 100):
        for left in tmp_path.iterdir():
            left.unlink()
        shutil.copy(GOLDEN, old)
        killed = killed_at(statement, old, lambda: RationaleStore(old).close())
        versions.append(schema_of(old))
        with RationaleStore(old) as store:
            check_answers(store)
            assert store.spent().calls == 8
        assert schema_of(tmp_path / "store.sqlite.schema-1") == 1 or not killed
        if not killed:
            break
    assert not killed
    assert versions == sorted(versions), "old up to one statement, new from there on"
    assert {1, SCHEMA} == set(versions)
    assert versions.count(1) >= 10


def test_D09_kill_9_at_every_statement_of_making_a_store_is_safe(tmp_path: Path) -> None:
    path = tmp_path / "store.sqlite"
    for statement in range(1, 100):
        for left in tmp_path.iterdir():
            left.unlink()
        killed = killed_at(statement, path, lambda: RationaleStore(path).close())
        with RationaleStore(path) as store:
            assert store.spent().calls == 0
        if not killed:
            break
    assert not killed
    assert statement > 20


def test_sums_of_the_first_kind_hold_with_later_columns_too(tmp_path: Path) -> None:
    row: tuple[Any, ...] = (
        "k",
        "{}",
        b"a",
        "stop",
        1,
        2,
        3,
        0.5,
        "m",
        "",
        1.0,
        7,
        None,
        None,
        None,
    )
    named = (*row[:11], "reasoning_tokens", 7)
    digest = hashlib.sha256()
    for value in named:
        raw = value if isinstance(value, bytes) else repr(value).encode()
        digest.update(len(raw).to_bytes(8, "big") + raw)
    key = hashlib.sha256(b"{}").hexdigest()
    assert not schema.intact((*row, digest.hexdigest())), "the key is not the request's"
    assert schema._first_checksum(row) == digest.hexdigest()
    assert schema._first_checksum(row) != schema._first_checksum((*row[:11], None, 7, None, None))
    right = (key, *row[1:])
    assert schema.intact((*right, schema._first_checksum(right)))

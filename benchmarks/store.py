"""The store against bare SQLite calls: put, get and resume, a million rows of each.

    python benchmarks/store.py [--rows 1000000] [--folder DIR]

Both write the same bytes with the same durability, in the same folder, one after the other: WAL,
synchronous=FULL, a row for the attempt before the call and one transaction for the answer and the
attempt's end. "resume" is a run over rows that are all in the store: prompts built, keys computed,
answers looked up, checked and parsed; bare, it is the look-up alone.
"""

from __future__ import annotations

import argparse
import random
import resource
import sqlite3
import tempfile
import time
from collections.abc import Callable, Iterator
from pathlib import Path

from fiatkit.models.providers.scripted import Scripted, Settings
from fiatkit.reasoning import RationaleStore, Reasoner, completion_key, rationale_request
from fiatkit.reasoning.key import canonical_request
from fiatkit.records import Completion, Query, Usage
from fiatkit.tasks import load_task

TEXT = "The text speaks of a match and of who won it, so it is about sports.\nTopic: sports"
GETS = 100_000
TASK = load_task("sib200")
MODEL = Scripted(Settings(default=TEXT))


def queries(count: int) -> Iterator[Query]:
    """Rows of SIB-200's length, each another."""
    for number in range(count):
        yield Query(
            f"q{number}", {"text": f"Row {number}. " + "They played in the rain. " * 8}, "en"
        )


def timed(what: str, rows: int, work: Callable[[], object]) -> float:
    """CPU seconds that `work` takes; prints a line with both kinds of seconds."""
    began, cpu = time.perf_counter(), time.process_time()
    work()
    seconds, cpu = time.perf_counter() - began, time.process_time() - cpu
    print(
        f"  {what:<24} {seconds:9.1f} s {seconds / rows * 1e6:9.1f} us a row, "
        f"of these {cpu / rows * 1e6:7.1f} us CPU {rows / seconds:11,.0f} rows/s",
        flush=True,
    )
    return cpu


def bare(folder: Path, rows: int, keys: list[str]) -> tuple[float, float, float]:
    """The same with sqlite3 alone; the values are made beforehand."""
    db = sqlite3.connect(folder / "bare.sqlite", isolation_level=None)
    db.executescript(
        "PRAGMA journal_mode = WAL; PRAGMA synchronous = FULL;"
        "CREATE TABLE answers (seq INTEGER PRIMARY KEY, key TEXT UNIQUE, request TEXT, text BLOB);"
        "CREATE TABLE attempts (seq INTEGER PRIMARY KEY, key TEXT, outcome TEXT, started REAL,"
        " ended REAL); CREATE INDEX by_key ON attempts (key);"
    )
    identity = MODEL.identity
    example = canonical_request(identity, rationale_request(TASK, next(queries(1))))
    text = TEXT.encode()

    def put() -> None:
        for key in keys:
            db.execute("BEGIN IMMEDIATE")
            cursor = db.execute(
                "INSERT INTO attempts (key, outcome, started) VALUES (?, ?, ?)",
                (key, "leased", time.time()),
            )
            db.execute("COMMIT")
            db.execute("BEGIN IMMEDIATE")
            db.execute(
                "INSERT INTO answers (key, request, text) VALUES (?, ?, ?)", (key, example, text)
            )
            db.execute(
                "UPDATE attempts SET outcome = ?, ended = ? WHERE seq = ?",
                ("done", time.time(), cursor.lastrowid),
            )
            db.execute("COMMIT")

    def get(wanted: list[str]) -> None:
        for key in wanted:
            assert db.execute("SELECT * FROM answers WHERE key = ?", (key,)).fetchone()

    print("bare SQLite calls")
    chosen = random.Random(0).choices(keys, k=min(GETS, rows))
    seconds = (
        timed("put", rows, put),
        timed("get, at random", len(chosen), lambda: get(chosen)),
        timed("resume (look-up alone)", rows, lambda: get(keys)),
    )
    db.close()
    (folder / "bare.sqlite").unlink()
    return seconds


def store(folder: Path, rows: int, keys: list[str]) -> tuple[float, float, float]:
    """The same with the store, and a reasoner over it."""
    path = folder / "store.sqlite"
    answer = Completion(TEXT, "stop", Usage(300, 20, 250), "scripted", 0.5)
    opened = RationaleStore(path)

    def put() -> None:
        for query, key in zip(queries(rows), keys, strict=True):
            attempt = opened.lease(key, run="bench", model="scripted")
            opened.commit(attempt, MODEL.identity, rationale_request(TASK, query), answer)

    def get(wanted: list[str]) -> None:
        for key in wanted:
            assert opened.get(key)

    print("the store")
    chosen = random.Random(0).choices(keys, k=min(GETS, rows))
    put_seconds = timed("put", rows, put)
    get_seconds = timed("get, at random", len(chosen), lambda: get(chosen))
    opened.close()
    print(f"  {path.stat().st_size / 1e6:,.0f} MB")

    def resume() -> None:
        with Reasoner(TASK, Scripted(Settings(default=TEXT)), RationaleStore(path)) as reasoner:
            assert TASK.parse_answer(TEXT) == "sports"
            told = reasoner.write(queries(rows), rows)
            assert told == {"ok": rows}
            assert reasoner.tally.calls == 0

    return put_seconds, get_seconds, timed("resume (the whole run)", rows, resume)


def main() -> None:
    """Print the table."""
    reader = argparse.ArgumentParser()
    reader.add_argument("--rows", type=int, default=1_000_000)
    reader.add_argument("--folder", type=Path)
    given = reader.parse_args()
    print(f"SQLite {sqlite3.sqlite_version}, {given.rows:,} rows")
    keys = [completion_key(MODEL.identity, rationale_request(TASK, q)) for q in queries(given.rows)]
    before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    with tempfile.TemporaryDirectory(dir=given.folder) as folder:
        plain = bare(Path(folder), given.rows, keys)
        ours = store(Path(folder), given.rows, keys)
        opening = Path(folder) / "store.sqlite"
        timed("open and check", given.rows, lambda: RationaleStore(opening).close())
    for name, ours_seconds, plain_seconds in zip(
        ("put", "get", "resume"), ours, plain, strict=True
    ):
        print(f"{name}: {ours_seconds / plain_seconds:.2f} times the CPU time of the bare calls")
    grown = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before
    print(f"memory grew by {grown / 1024:.0f} MiB beyond the keys of the benchmark itself")


if __name__ == "__main__":
    main()

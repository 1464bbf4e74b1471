"""Kill a run at each system call in turn, resume it, and check every invariant.

    python -m tests.faults.sweep LOG [--minutes M] [--random 200]

A job of 20 rows against the loopback server is killed at the N-th write, pwrite64, fsync,
fdatasync, rename and sendto, for N = 1, 2, ... until it runs to its end; then it is run again and
both are held against the server's receipts. The kills at random times meet the run as it is, with
the disk waited for on a thread of its own. LOG is a file of the points that passed: the same
command goes on where it stopped, unless the sources have changed.
"""

from __future__ import annotations

import argparse
import contextlib
import hashlib
import json
import os
import random
import signal
import tempfile
import time
from dataclasses import replace
from pathlib import Path

from tests.faults import child
from tests.faults.fakeserver import Asked, FakeServer, Reply, completion, right_text, well
from tests.faults.forks import Forks
from tests.faults.invariants import Case, check, right, snapshot
from tests.faults.machine import attach

CALLS = ("write", "pwrite64", "fsync", "fdatasync", "rename", "sendto")
ROWS = 20
CONCURRENCY = 4
MEMORY = Path("/dev/shm")


def kill_at(forks: Forks, call: str, number: int, folder: Path) -> bool:
    """One point: kill at the `number`-th `call`, resume, check. False if the run came to its end.

    Raises:
        AssertionError: an invariant does not hold.
    """
    store = folder / "store.sqlite"
    inject = f"inject={call}:signal=KILL:when={number}"
    with FakeServer() as server:
        tracer = attach(folder / "strace.log", "-e", f"trace={call}", "-e", inject)
        killed = forks.run(_job(server, store, one_thread=True), folder, tracer)
        assert killed.code in (0, -9), killed.output
        _resume(forks, server, store, killed)
    return killed.code != 0


def kill_at_random(forks: Forks, chance: random.Random, folder: Path) -> None:
    """Kill when a random number of requests has arrived, and a random moment later; resume, check."""
    store = folder / "store.sqlite"
    wanted, later = chance.randint(1, ROWS), chance.uniform(0, 0.03)

    def slowly(asked: Asked) -> Reply:
        return Reply(body=completion(right_text(asked.text)), wait=chance.uniform(0, 0.02))

    def kill(process: int) -> None:
        ends = time.monotonic() + 60
        while len(server.receipts) < wanted and time.monotonic() < ends:
            time.sleep(0.001)
        time.sleep(later)
        with contextlib.suppress(ProcessLookupError):  # it came to its end
            os.kill(process, signal.SIGKILL)

    with FakeServer(slowly) as server:
        killed = forks.run(_job(server, store), folder, during=kill)
        server.script = well
        _resume(forks, server, store, killed)


def _job(server: FakeServer, store: Path, **options: bool) -> list[str]:
    large = {"concurrency": CONCURRENCY}
    return child.command(server.url, store, ROWS, large=large, **options)


def _resume(forks: Forks, server: FakeServer, store: Path, killed: child.Outcome) -> None:
    rows = child.keys(server.url, child.queries(ROWS))
    before = snapshot(store, server)
    after = forks.run(_job(server, store), store.parent)
    known = {identity: digest for identity, digest in after.acked.items()}
    for identity, digest in killed.acked.items():
        assert known.get(identity) == digest, f"INV1: {identity} was acknowledged and is gone"
    check(
        Case(
            server,
            store,
            rows,
            replace(after, output=killed.output + after.output),
            texts=right(rows),
            crashed=True,
            before=before,
            concurrency=CONCURRENCY,
        )
    )


def sweep(log: Path, minutes: float, kills: int) -> tuple[int, int]:
    """Every point that LOG does not hold yet, as long as there is time.

    Returns:
        How many points are done, and how many more are known to be left (random kills; a call
        whose end was not reached counts as one).
    """
    ends = time.monotonic() + 60 * minutes
    passed = _passed(log)
    log.parent.mkdir(parents=True, exist_ok=True)
    left = 0
    with log.open("a") as file, Forks() as forks:

        def note(point: str) -> None:
            passed.add(point)
            file.write(point + "\n")
            file.flush()

        for call in CALLS:
            number = 1
            while f"{call} end" not in passed:
                if f"{call} {number}" not in passed:
                    if time.monotonic() > ends:
                        left += 1
                        break
                    with _folder() as folder:
                        killed = kill_at(forks, call, number, Path(folder))
                    note(f"{call} {number}" if killed else f"{call} end")
                number += 1
        for number in range(kills):
            if f"random {number}" not in passed:
                if time.monotonic() > ends:
                    left += 1
                    continue
                with _folder() as folder:
                    kill_at_random(forks, random.Random(number), Path(folder))
                note(f"random {number}")
    return len(passed) - 1, left


def _folder() -> tempfile.TemporaryDirectory[str]:
    return tempfile.TemporaryDirectory(dir=MEMORY if MEMORY.is_dir() else None)


def _passed(log: Path) -> set[str]:
    """The points that passed with these sources."""
    digest = hashlib.sha256()
    for path in sorted((child.ROOT / "src" / "fiatkit").rglob("*.py")):
        if path.parent.name in ("fiatkit", "reasoning", "providers", "models"):
            digest.update(path.read_bytes())
    head = json.dumps({"sources": digest.hexdigest()})
    lines = log.read_text().splitlines() if log.exists() else []
    if lines[:1] != [head]:
        log.parent.mkdir(parents=True, exist_ok=True)
        log.write_text(head + "\n")
        lines = [head]
    return set(lines)


def main() -> None:
    reader = argparse.ArgumentParser()
    reader.add_argument("log", type=Path)
    reader.add_argument("--minutes", type=float, default=60)
    reader.add_argument("--random", type=int, default=200)
    given = reader.parse_args()
    done, left = sweep(given.log, given.minutes, given.random)
    print(f"{done} points, 0 lost acknowledged rows, ledger difference 0; {left} left")


if __name__ == "__main__":
    main()

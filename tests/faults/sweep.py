"""Kill a run at each system call in turn, resume it, and check every invariant.

    python -m tests.faults.sweep LOG [--minutes M] [--random 200]

A job of 20 rows against the loopback server is killed at the N-th write, pwrite64, fsync,
fdatasync, rename and sendto, for N = 1, 2, ... until it runs to its end; then it is run again and
both are held against the server's receipts. LOG is a file of the points that passed: the same
command goes on where it stopped, unless the sources have changed.
"""

from __future__ import annotations

import argparse
import hashlib
import json
import random
import subprocess
import tempfile
import time
from dataclasses import replace
from pathlib import Path

from tests.faults import child
from tests.faults.fakeserver import Asked, FakeServer, Reply, completion, right_text, well
from tests.faults.invariants import Case, check, right, snapshot
from tests.faults.machine import strace

CALLS = ("write", "pwrite64", "fsync", "fdatasync", "rename", "sendto")
ROWS = 20
CONCURRENCY = 4
MEMORY = Path("/dev/shm")


def kill_at(call: str, number: int, folder: Path) -> bool:
    """One point: kill at the `number`-th `call`, resume, check. False if the run came to its end.

    Raises:
        AssertionError: an invariant does not hold.
    """
    store = folder / "store.sqlite"
    inject = f"inject={call}:signal=KILL:when={number}"
    tracer = strace(folder / "strace.log", "-e", f"trace={call}", "-e", inject)
    with FakeServer() as server:
        done = subprocess.run(
            [*tracer, *_job(server, store)],
            cwd=child.ROOT,
            env=child.environment() | {"PYTHONDONTWRITEBYTECODE": "1"},
            capture_output=True,
            text=True,
            timeout=120,
        )
        assert done.returncode in (0, -9), done.stderr
        _resume(server, store, child.read(done.returncode, done.stdout, done.stderr))
    return done.returncode != 0


def kill_at_random(chance: random.Random, folder: Path) -> None:
    """Kill when a random number of requests has arrived, and a random moment later; resume, check."""
    store = folder / "store.sqlite"
    wanted, later = chance.randint(1, ROWS), chance.uniform(0, 0.03)

    def slowly(asked: Asked) -> Reply:
        return Reply(body=completion(right_text(asked.text)), wait=chance.uniform(0, 0.02))

    with FakeServer(slowly) as server:
        running = subprocess.Popen(
            _job(server, store),
            cwd=child.ROOT,
            env=child.environment(),
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
        )
        while running.poll() is None and len(server.receipts) < wanted:
            time.sleep(0.001)
        time.sleep(later)
        running.kill()
        stdout, stderr = running.communicate()
        server.script = well
        _resume(server, store, child.read(running.returncode, stdout, stderr))


def _job(server: FakeServer, store: Path) -> list[str]:
    return child.command(server.url, store, ROWS, large={"concurrency": CONCURRENCY})


def _resume(server: FakeServer, store: Path, killed: child.Outcome) -> None:
    rows = child.keys(server.url, child.queries(ROWS))
    before = snapshot(store, server)
    after = child.run(server.url, store, ROWS, large={"concurrency": CONCURRENCY})
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
    with log.open("a") as file:

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
                        killed = kill_at(call, number, Path(folder))
                    note(f"{call} {number}" if killed else f"{call} end")
                number += 1
        for number in range(kills):
            if f"random {number}" not in passed:
                if time.monotonic() > ends:
                    left += 1
                    continue
                with _folder() as folder:
                    kill_at_random(random.Random(number), Path(folder))
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

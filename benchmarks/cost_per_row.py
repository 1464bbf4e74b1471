"""What a row costs as runs grow: time and memory through the scripted model, into a real store.

    python benchmarks/cost_per_row.py [--rows 1000,10000,100000,1000000] [--folder DIR]

Each size is a run of its own process: rows taken one by one, prompts built, keys computed, every
answer committed. Flat means: the same CPU time a row at every size, and memory that does not grow
with the rows (at most 64 MiB between 1e5 and 1e6).
"""

from __future__ import annotations

import argparse
import resource
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path

from fiatkit.models.providers.scripted import Scripted, Settings
from fiatkit.reasoning import RationaleStore, Reasoner
from fiatkit.records import Query
from fiatkit.tasks import load_task

TEXT = "The text speaks of a match and of who won it, so it is about sports.\nAnswer: sports"


def queries(count: int) -> Iterator[Query]:
    """Rows of SIB-200's length, each another, made when they are asked for."""
    for number in range(count):
        yield Query(
            f"q{number}", {"text": f"Row {number}. " + "They played in the rain. " * 8}, "en"
        )


def one(rows: int, folder: Path) -> None:
    """One run; prints its figures."""
    model = Scripted(Settings(default=TEXT))
    with Reasoner(load_task("sib200"), model, RationaleStore(folder / "s.sqlite")) as reasoner:
        began, cpu = time.perf_counter(), time.process_time()
        assert reasoner.write(queries(rows), rows) == {"ok": rows}
        wall, cpu = time.perf_counter() - began, time.process_time() - cpu
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024
    each, used = wall / rows * 1e6, cpu / rows * 1e6
    print(f"{rows:>10,} {wall:>9.1f} {each:>12.0f} {used:>12.0f} {peak:>10.0f}", flush=True)


def main() -> None:
    """Print the table."""
    reader = argparse.ArgumentParser()
    reader.add_argument("--rows", default="1000,10000,100000,1000000")
    reader.add_argument("--folder", type=Path)
    reader.add_argument("--one", type=int)
    given = reader.parse_args()
    if given.one:
        one(given.one, given.folder)
        return
    print("      rows   seconds     us a row    CPU us a row   RSS MiB")
    for rows in given.rows.split(","):
        with tempfile.TemporaryDirectory(dir=given.folder) as folder:
            words = [sys.executable, __file__, "--one", rows, "--folder", folder]
            subprocess.run(words, check=True)


if __name__ == "__main__":
    main()

"""Rows a second against what the endpoint's slots and latency allow, beside two peers.

    make bench-expand            # this table and the four others, see README.md
    python benchmarks/expand_vs_ideal.py [--rows 10000] [--sides fiatkit openai sockets]

An endpoint on loopback, a process of its own, answers each request after 200 ms, 64 at a time, and
writes down each request that arrives. Each side asks it for the same rows with the prompt of
sib200: fiatkit with ledger, budget and durable commits; a bare loop over the openai SDK; and
bespokelabs-curator, in an environment of its own. Bare sockets with requests written out before
tell how much of slots / latency the endpoint itself gives. A side's figures are kept as soon as
they are measured, and measured again only if their file is removed.
"""

import argparse
import json
import subprocess
import sys
import tempfile
from collections import Counter
from pathlib import Path

from fiatkit.reasoning import rationale_request
from fiatkit.records import Query
from fiatkit.tasks import load_task

HERE = Path(__file__).parent
CURATOR = HERE / ".peers" / "curator" / "bin" / "python"
LATENCY, SLOTS = 0.2, 64
COMMANDS = {
    "fiatkit": [sys.executable, "expand_sides.py", "fiatkit"],
    "openai": [sys.executable, "expand_sides.py", "openai"],
    "curator": [str(CURATOR), "curator_expand.py"],
    "sockets": [sys.executable, "expand_sides.py", "sockets"],
}


def write_rows(count: int, path: Path) -> None:
    """Rows of SIB-200's length, each another, with the messages that fiatkit sends for them."""
    task = load_task("sib200")
    with path.open("w") as file:
        for number in range(count):
            text = f"Row {number}. " + "They played in the rain. " * 8
            query = Query(f"q{number}", {"text": text}, "eng_Latn")
            messages = [
                {"role": message.role, "content": message.content}
                for message in rationale_request(task, query).messages
            ]
            row = {"id": query.id, "text": text, "language": "eng_Latn", "messages": messages}
            file.write(json.dumps(row) + "\n")


def run(side: str, rows: Path, folder: Path) -> dict:
    """One side against an endpoint of its own; its figures and what the endpoint received."""
    receipts = folder / "receipts"
    words = [sys.executable, str(HERE / "peers" / "slow_endpoint.py"), str(receipts)]
    server = subprocess.Popen([*words, str(LATENCY), str(SLOTS)], stdout=subprocess.PIPE, text=True)
    try:
        assert server.stdout
        url = f"http://127.0.0.1:{server.stdout.readline().strip()}/v1"
        python, script, *more = COMMANDS[side]
        command = [python, str(HERE / "peers" / script), *more, url, str(rows), str(SLOTS)]
        done = subprocess.run([*command, str(folder)], capture_output=True, text=True)
    finally:
        server.kill()
        server.wait()
    lines = [line for line in done.stdout.splitlines() if line.startswith('{"seconds"')]
    if not lines:
        return {"failed": (done.stderr or done.stdout)[-600:]}
    counts = Counter(receipts.read_text().splitlines())
    return json.loads(lines[-1]) | {
        "receipts": counts.total(),
        "repeated": sum(count - 1 for count in counts.values()),
    }


def measured(side: str, count: int, kept: Path) -> dict:
    """A side's figures, from its file if there is one."""
    path = kept / f"{side}-{count}.json"
    if not path.is_file():
        with tempfile.TemporaryDirectory(dir=kept) as folder:
            rows = Path(folder) / "rows.jsonl"
            write_rows(count, rows)
            found = run(side, rows, Path(folder))
        if "failed" in found:
            return found
        path.write_text(json.dumps(found))
    return json.loads(path.read_text())


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--rows", type=int, default=10_000)
    parser.add_argument("--sides", nargs="+", default=list(COMMANDS), choices=list(COMMANDS))
    kept = Path(tempfile.gettempdir(), "fiatkit-expand")
    parser.add_argument("--kept", type=Path, default=kept, help="folder of the measured sides")
    given = parser.parse_args()
    given.kept.mkdir(parents=True, exist_ok=True)
    ideal = SLOTS / LATENCY
    print(
        f"{given.rows:,} rows, {SLOTS} slots, {LATENCY * 1000:.0f} ms: {ideal:.0f} rows/s at most"
    )
    print("| | rows/s | share of slots / latency | CPU ms a row | MiB at 1,000 rows, at the end |"
          " received, repeated |\n|---|---|---|---|---|---|")  # fmt: skip
    for side in given.sides:
        found = measured(side, given.rows, given.kept)
        if "failed" in found:
            print(f"| {side} | failed: {found['failed']!r} |")
            continue
        rate = given.rows / found["seconds"]
        cpu = found["cpu"] / given.rows * 1000
        early = "-" if found["early"] is None else f"{found['early']:.0f}"
        print(
            f"| {side} | {rate:.0f} | {rate / ideal:.1%} | {cpu:.2f} | {early}, "
            f"{found['end']:.0f} | {found['receipts']:,}, {found['repeated']} |",
            flush=True,
        )


if __name__ == "__main__":
    main()

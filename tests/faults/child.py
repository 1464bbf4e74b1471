"""One run as a process of its own: rows of one task, answered by an endpoint, kept in a store.

    python -m tests.faults.child URL STORE [--rows N] [--options JSON]

prints a line of JSON for every row as soon as the engine has told it (an acknowledgement), then
one of what it all came to, and ends with the exit code that the command line would have. It needs
little time to start: neither torch nor the user's files are read.
"""

from __future__ import annotations

import argparse
import asyncio
import hashlib
import json
import os
import resource
import signal
import subprocess
import sys
from collections.abc import Callable
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

from fiatkit.errors import FiatError
from fiatkit.models import create_chat_model
from fiatkit.reasoning import RationaleStore, completion_key, rationale_request
from fiatkit.reasoning.engine import Answered, Engine
from fiatkit.reasoning.policy import Policy
from fiatkit.reasoning.prices import Price
from fiatkit.reasoning.rationales import rationale_of
from fiatkit.records import Query, Request
from fiatkit.settings import parse
from fiatkit.tasks import Task
from tests.faults.fakeserver import KEY, receipt_key

ROOT = Path(__file__).parents[2]
TASK = parse(
    Task,
    {
        "name": "faults",
        "fields": ["text"],
        "target": "label",
        "labels": ["warm", "cold"],
        "reasoning": {"instruction": "Say warm or cold.", "max_tokens": 32},
        "tuning": {"instruction": "Say."},
    },
    "faults",
)


def queries(count: int) -> list[Query]:
    """Rows with distinct texts."""
    return [Query(f"q{i}", {"text": f"number {i}."}) for i in range(count)]


def large(url: str, **settings: Any) -> dict[str, Any]:
    """The `large:` block for a server at `url`."""
    return {"provider": "openai_compatible", "model": "m", "base_url": url, **settings}


@dataclass(frozen=True)
class Keys:
    """One row's request as the store knows it, and as the server's receipts do."""

    store: str
    receipt: str


def keys(url: str, rows: list[Query], max_tokens: int | None = None) -> dict[str, Keys]:
    """Both keys of each row's request, by the row's id; with other `max_tokens` than the task's."""
    identity = create_chat_model(large(url)).identity
    found = {}
    for query in rows:
        request = rationale_request(TASK, query)
        if max_tokens:
            request = replace(request, sampling=replace(request.sampling, max_tokens=max_tokens))
        messages = [{"role": m.role, "content": m.content} for m in request.messages]
        found[query.id] = Keys(
            completion_key(identity, request), receipt_key(messages, request.sampling.max_tokens)
        )
    return found


def text_sum(text: str) -> str:
    """What an acknowledgement says of a text."""
    return hashlib.sha256(text.encode()).hexdigest()


@dataclass
class Outcome:
    """What a child left behind."""

    code: int
    acked: dict[str, str] = field(default_factory=dict)
    states: dict[str, str] = field(default_factory=dict)
    end: dict[str, Any] = field(default_factory=dict)
    output: str = ""


def command(url: str, store: Path, rows: int = 20, **options: Any) -> list[str]:
    """The command line of a child.

    `options` are the engine's; besides these `large` (settings of the provider), `policy` and
    `price`, as plain values.
    """
    words = [sys.executable, "-m", "tests.faults.child", url, str(store), "--rows", str(rows)]
    return [*words, "--options", json.dumps(options)]


def environment() -> dict[str, str]:
    """The environment of a child, with the canary as its key."""
    return os.environ | {"OPENAI_API_KEY": KEY, "PYTHONPATH": f"{ROOT / 'src'}:{ROOT}"}


def read(code: int, stdout: str, stderr: str) -> Outcome:
    """The outcome from an exit code and what was printed, the last line perhaps torn."""
    found = Outcome(code, output=stdout + stderr)
    for line in stdout.splitlines(keepends=True):
        if not line.endswith("\n"):
            break
        value = json.loads(line)
        if "end" in value:
            found.end = value["end"]
        else:
            found.states[value["id"]] = value["state"]
            if value["state"] == "ok":
                found.acked[value["id"]] = value["sum"]
    return found


def run(url: str, store: Path, rows: int = 20, **options: Any) -> Outcome:
    """Run a child to its end."""
    done = subprocess.run(
        command(url, store, rows, **options),
        cwd=ROOT,
        env=environment(),
        capture_output=True,
        text=True,
        timeout=120,
    )
    return read(done.returncode, done.stdout, done.stderr)


def rest(process: subprocess.Popen[str]) -> tuple[str, str]:
    """What a child prints until its end; communicate() loses what a readline() has read ahead."""
    assert process.stdout is not None and process.stderr is not None
    out, err = process.stdout.read(), process.stderr.read()
    process.wait(timeout=60)
    return out, err


def here(url: str, store: Path, rows: int = 20, **options: Any) -> Outcome:
    """The same run in this process, with short pauses between tries."""
    lines: list[str] = []
    said: list[str] = []
    code = 0
    try:
        work(url, store, rows, {"first_pause": 0.01, **options}, lines.append, said.append)
    except FiatError as error:
        code = error.exit_code
        said.append(str(error))
    return read(code, "".join(f"{line}\n" for line in lines), "\n".join(said))


def work(
    url: str,
    store_path: Path,
    count: int,
    options: dict[str, Any],
    put: Callable[[str], None],
    say: Callable[[str], None],
) -> None:
    """Answer `count` rows; `put` receives each acknowledgement, and what it all came to.

    With the option `one_thread` the disk is waited for on the main thread, since strace counts the
    calls of each thread apart, and so would never reach the first ones of a second thread.
    """
    if options.pop("one_thread", False):
        asyncio.to_thread = _at_once
    model = create_chat_model(large(url, **options.pop("large", {})))
    policy = Policy.model_validate(options.pop("policy", {}))
    prices = {"m": Price.model_validate(options.pop("price"))} if "price" in options else {}
    rows = queries(count)
    if texts := options.pop("texts", None):
        rows = [Query(query.id, {"text": text}) for query, text in zip(rows, texts, strict=True)]

    def told(answered: Answered) -> None:
        found = rationale_of(TASK, answered)
        put(json.dumps({"id": found.query_id, "state": found.status, "sum": text_sum(found.text)}))

    async def ask(engine: Engine) -> None:
        requests: list[tuple[str, Request]] = [(q.id, rationale_request(TASK, q)) for q in rows]
        try:
            await engine.answer(iter(requests), told)
        finally:
            await model.close()

    with RationaleStore(store_path) as store:
        engine = Engine(model, store, policy=policy, prices=prices, say=say, **options)
        try:
            asyncio.run(ask(engine))
        finally:
            end = {
                "calls": engine.tally.calls,
                "from_store": engine.tally.from_store,
                "failed": engine.tally.failed,
                "retries": engine.tally.retries,
                "possibly_billed": engine.tally.possibly_billed,
                "cost": str(engine.tally.cost),
                "unknown_cost": engine.tally.unknown_cost,
                "other_models": engine.tally.other_models,
                "told": engine.tally.sentence(model.identity),
                "peak_rss_kib": resource.getrusage(resource.RUSAGE_SELF).ru_maxrss,
            }
            put(json.dumps({"end": end}))


async def _at_once(work: Callable[..., Any], *arguments: Any) -> Any:
    return work(*arguments)


def _put(line: str) -> None:
    os.write(1, f"{line}\n".encode())


def _say(line: str) -> None:
    sys.stderr.write(f"{line}\n")
    sys.stderr.flush()


def main() -> None:
    """Run by the command line's own rules for signals and exit codes."""
    from fiatkit import cli

    # As from a terminal: a shell's background job, and so what it starts, ignores Ctrl-C.
    signal.signal(signal.SIGINT, signal.default_int_handler)
    reader = argparse.ArgumentParser()
    reader.add_argument("url")
    reader.add_argument("store", type=Path)
    reader.add_argument("--rows", type=int, default=20)
    reader.add_argument("--options", default="{}")
    given = reader.parse_args()

    def run_it(**_: object) -> None:
        work(given.url, given.store, given.rows, json.loads(given.options), _put, _say)

    cli.run_as_command(run_it, debug=False)


if __name__ == "__main__":
    main()

"""A large model in process against llama.cpp itself: rows a second, the real prompt, real rows.

    make bench-inprocess      # about 15 minutes on two cores with nothing else running

(a) one call a row at xllamacpp's server with one slot, whose prompt cache keeps the prefix;
(b) the same server with more slots, asked by as many threads; each slot reads the prefix itself;
(c) the ceiling: llama-batched-bench's loop for as many tokens as (a) read and wrote a row.
Reading the prefix is counted everywhere; loading the model nowhere. Each line of the table is
kept as soon as it is measured, and measured again only if its file is removed.
"""

import argparse
import asyncio
import http.client
import json
import os
import statistics
import tempfile
import time
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

from _llama_decode import Lockstep

from fiatkit.config import DataSettings
from fiatkit.models import catalogue, create_chat_model
from fiatkit.models.providers.llama_cpp import Settings, Worker, _body
from fiatkit.reasoning import rationale_request
from fiatkit.records import Request
from fiatkit.tasks import load_data, load_task

CONTEXT, BATCH = 1024, 512
THREADS = len(os.sched_getaffinity(0))
Row = dict[str, Any]


def requests_of(count: int) -> list[Request]:
    """The first training rows of sib200_major, as `fiat expand` would send them."""
    folder = Path(os.environ["FIATKIT_DATA"], "sib200_major")
    files = {split: folder / f"{split}.jsonl" for split in ("train", "dev", "test")}
    task = load_task("sib200")
    rows = load_data(task, DataSettings(**files)).train
    return [rationale_request(task, example.query) for example in rows[:count]]


def ids_of(model: str, requests: list[Request]) -> list[list[int]]:
    path = catalogue.get(model).gguf
    worker = Worker(str(path), Settings(model=model, context=CONTEXT, slots=1))
    try:
        return [worker.prompt_ids(request) for request in requests]
    finally:
        worker.stop()


def bare(model: str, requests: list[Request], slots: int) -> Row:
    """(a) and (b): xllamacpp's server in this process, asked from as many threads as slots."""
    import xllamacpp

    params = xllamacpp.CommonParams()
    params.model.path = str(catalogue.get(model).gguf)
    params.n_ctx, params.n_parallel = CONTEXT * slots, slots
    params.n_batch = params.n_ubatch = BATCH
    params.cache_ram_mib, params.verbosity = 0, 0
    params.cpuparams.n_threads = params.cpuparams_batch.n_threads = THREADS
    params.hostnames, params.port, params.ui = ["127.0.0.1"], 0, False
    bodies = [_body(r, ids) for r, ids in zip(requests, ids_of(model, requests), strict=True)]
    server = xllamacpp.Server(params)
    place = urlsplit(server.listening_address)

    def ask(body: dict[str, Any]) -> Row:
        connection = http.client.HTTPConnection(place.hostname or "", place.port, timeout=900)
        connection.request("POST", "/completion", json.dumps(body))
        answer = json.loads(connection.getresponse().read())
        connection.close()
        return {"text": answer["content"], **answer["timings"]}

    began = time.monotonic()
    with ThreadPoolExecutor(slots) as threads:
        answers = list(threads.map(ask, bodies))
    return {
        "seconds": time.monotonic() - began,
        "texts": [answer["text"] for answer in answers],
        "read": sum(answer["prompt_n"] for answer in answers),
        "written": sum(answer["predicted_n"] for answer in answers),
    }


def ours(name: str, requests: list[Request], slots: int) -> Row:
    """The provider as a run uses it: it takes as many rows at once as it has slots."""

    async def ask() -> Row:
        values = {"provider": "llama_cpp", "model": name, "context": CONTEXT, "slots": slots}
        model = create_chat_model({**values, "batch": BATCH, "threads": THREADS})
        model._worker = Worker(str(model.path), model.settings)
        began = time.monotonic()
        try:
            answers = await asyncio.gather(*(model.complete(request) for request in requests))
            seconds = time.monotonic() - began
        finally:
            await model.close()
        return {
            "seconds": seconds,
            "texts": [answer.text for answer in answers],
            "read": sum(a.usage.prompt_tokens - a.usage.cached_tokens for a in answers),
            "written": sum(a.usage.completion_tokens for a in answers),
        }

    return asyncio.run(ask())


def ceiling(model: str, requests: list[Request], slots: int, one: Row) -> Row:
    """(c): seconds of all rows, from a few groups of rows at lock step."""
    ids = ids_of(model, requests)
    pairs = enumerate(zip(*ids, strict=False))
    end = next(i for i, column in pairs if len(set(column)) > 1)
    shared = ids[0][:end]
    read = round(statistics.mean(len(row) for row in ids) - len(shared))
    written = round(one["written"] / len(requests))
    loop = Lockstep(catalogue.get(model).gguf, slots, CONTEXT, BATCH, THREADS)
    first = loop.prefix(shared)
    group = statistics.median(loop.rows(read, written) for _ in range(max(3, 8 // slots)))
    count = len(requests)
    seconds = first + group * count / slots
    return {"seconds": seconds, "read": len(shared) + read * count, "written": written * count}


def measured(name: str, model: str, requests: list[Request], kept: Path) -> Row:
    """One line of the table, from its file if there is one."""
    path = kept / f"{model}-{name.replace(' ', '-')}-{len(requests)}.json"
    if not path.is_file():
        kind, slots = name.split()
        if kind == "ceiling":
            row = ceiling(model, requests, int(slots), measured("bare 1", model, requests, kept))
        else:
            row = {"bare": bare, "fiatkit": ours}[kind](model, requests, int(slots))
        path.write_text(json.dumps(row), encoding="utf-8")
    found: Row = json.loads(path.read_text(encoding="utf-8"))
    return found


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--model", default="qwen2.5-coder-0.5b")
    parser.add_argument("--rows", type=int, default=200)
    parser.add_argument("--slots", type=int, nargs="+", default=[4, 8, 16])
    parser.add_argument("--only", help="measure one line, for example 'fiatkit 8', and stop")
    kept = Path(tempfile.gettempdir(), "fiatkit-inprocess")
    parser.add_argument("--kept", type=Path, default=kept, help="folder of the measured lines")
    given = parser.parse_args()
    given.kept.mkdir(parents=True, exist_ok=True)
    requests = requests_of(given.rows)
    if given.only:
        row = measured(given.only, given.model, requests, given.kept)
        print(f"{given.only}: {len(requests) / row['seconds']:.3f} rows/s", flush=True)
        return

    def line(kind: str, slots: int) -> Row:
        return measured(f"{kind} {slots}", given.model, requests, given.kept)

    one = line("bare", 1)
    print("| | slots | rows/s | against (a) | against (c) | read, written a row | as (a) |")
    print("|---|---|---|---|---|---|---|")
    lines = [("(a) one call a row", "bare", 1), ("fiatkit", "fiatkit", 1)]
    for slots in given.slots:
        lines += [("(b) xllamacpp's server", "bare", slots), ("fiatkit", "fiatkit", slots)]
        lines += [("(c) batched-bench's loop", "ceiling", slots)]
    count = len(requests)
    for label, kind, slots in lines:
        row = line(kind, slots)
        top = line("ceiling", slots)["seconds"] / row["seconds"]
        same = [a == b for a, b in zip(row.get("texts", []), one["texts"], strict=False)]
        shown = f"{sum(same) / count:.0%}" if same else "-"
        tokens = f"{row['read'] / count:.0f}, {row['written'] / count:.0f}"
        times = one["seconds"] / row["seconds"]
        rate = count / row["seconds"]
        print(f"| {label} | {slots} | {rate:.3f} | {times:.2f} | {top:.0%} | {tokens} | {shown} |")


if __name__ == "__main__":
    main()

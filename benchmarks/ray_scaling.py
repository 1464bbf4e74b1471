"""One Ray worker against two, on latency-bound work: `python benchmarks/ray_scaling.py`.

A scripted large model answers each call after 200 ms, 8 calls at a time on each worker. The goal is
at least 1.9 times the rows a second with two. Starting the cluster and its workers is not counted.
"""

from __future__ import annotations

import asyncio
import statistics
import tempfile
import time
from pathlib import Path

import ray

from fiatkit.models.cluster import Cluster, RaySettings
from fiatkit.reasoning import RationaleStore
from fiatkit.reasoning.engine import Engine
from fiatkit.records import Message, Request, Sampling

ROWS, ROUNDS = 400, 3
LARGE = {"provider": "scripted", "latency": 0.2, "concurrency": 8}
GOAL = 1.9


def rows_a_second(workers: int, folder: Path, name: str) -> float:
    """Answer ROWS rows on so many workers, into a store of their own."""
    cluster = Cluster(LARGE, RaySettings(workers=workers))
    requests = [
        (str(i), Request((Message("user", f"{name} {i}"),), Sampling())) for i in range(ROWS)
    ]

    async def run() -> float:
        began = time.monotonic()
        await Engine(cluster, store).answer(requests, lambda answered: None)
        seconds = time.monotonic() - began
        await cluster.close()
        return seconds

    with RationaleStore(folder / f"{name}.sqlite") as store:
        seconds = asyncio.run(run())
        assert store.status()["completions"] == ROWS
    return ROWS / seconds


def main() -> None:
    ray.init(
        num_cpus=2,
        include_dashboard=False,
        log_to_driver=False,
        logging_level="ERROR",
        _node_ip_address="127.0.0.1",
    )
    found: dict[int, list[float]] = {1: [], 2: []}
    with tempfile.TemporaryDirectory() as folder:
        for turn in range(ROUNDS):
            for workers, rates in found.items():
                rates.append(rows_a_second(workers, Path(folder), f"{workers}-{turn}"))
    ray.shutdown()
    ideal = {workers: workers * 8 / 0.2 for workers in found}
    print("| workers | rows/s, median | all | share of slots / latency |\n|---|---|---|---|")
    for workers, rates in found.items():
        median = statistics.median(rates)
        shown = ", ".join(f"{rate:.1f}" for rate in rates)
        print(f"| {workers} | {median:.1f} | {shown} | {median / ideal[workers]:.1%} |")
    times = statistics.median(found[2]) / statistics.median(found[1])
    print(f"\n2 workers / 1 worker: {times:.2f} (goal: at least {GOAL})")


if __name__ == "__main__":
    main()

"""Runs on a local Ray cluster of two workers, as a process of its own: `ray_child.py FOLDER`.

Prints one line of JSON. One worker is killed in the middle of the first run; the second run joins
the running cluster by its address, as a user's command.
"""

import asyncio
import json
import os
import signal
import sqlite3
import subprocess
import sys
from pathlib import Path
from typing import Any

import ray
from tests.command import FIAT
from tests.faults.child import TASK, queries

from fiatkit.models import create_chat_model
from fiatkit.models.cluster import Cluster, RaySettings
from fiatkit.models.protocol import ChatModel
from fiatkit.reasoning import RationaleStore, rationale_request
from fiatkit.reasoning.engine import Answered, Engine

ROWS = 200
LARGE = {
    "provider": "scripted",
    "answers": {"number (\\d+)": "It is \\1.\\nAnswer: warm"},
    "latency": 0.1,
    "concurrency": 4,
}


def fill(model: ChatModel, path: Path, pids: list[int]) -> dict[str, Any]:
    """Have every row answered; kill a worker when 40 are. What the store holds then."""
    told: list[str] = []

    def tell(answered: Answered) -> None:
        told.append(answered.id)
        if len(told) == 40 and pids:
            os.kill(pids[0], signal.SIGKILL)

    async def run() -> None:
        try:
            await Engine(model, store).answer(
                ((q.id, rationale_request(TASK, q)) for q in queries(ROWS)), tell
            )
        finally:
            await model.close()

    with RationaleStore(path) as store:
        asyncio.run(run())
    assert sorted(told) == sorted(q.id for q in queries(ROWS))
    return content(path)


def content(path: Path) -> dict[str, Any]:
    """Answers, and attempts by outcome."""
    with sqlite3.connect(path) as raw:
        answers = sorted(raw.execute("SELECT key, cast(text AS TEXT), finish FROM completions"))
        outcomes = dict(raw.execute("SELECT outcome, count(*) FROM attempts GROUP BY outcome"))
    return {"answers": answers, "outcomes": outcomes}


def main(folder: Path) -> None:
    ray.init(
        num_cpus=2,
        include_dashboard=False,
        log_to_driver=False,
        logging_level="ERROR",
        _node_ip_address="127.0.0.1",
    )
    address = ray.get_runtime_context().gcs_address
    cluster = Cluster(LARGE, RaySettings(workers=2))
    found = {
        "alone": fill(create_chat_model(LARGE), folder / "alone.sqlite", []),
        "slots": cluster.slots,
        "cluster": fill(cluster, folder / "cluster.sqlite", cluster.pids),
    }
    words = [FIAT, "expand", "run.yaml", "--engine", "ray", "--ray-address", address]
    done = subprocess.run(words, cwd=folder, capture_output=True, text=True)
    found["joined"] = [done.returncode, done.stdout + done.stderr]
    words = [FIAT, "expand", "run.yaml", "--store", "single.sqlite"]
    assert subprocess.run(words, cwd=folder, capture_output=True).returncode == 0
    same = [
        content(folder / name)["answers"] for name in ("runs/rationales.sqlite", "single.sqlite")
    ]
    found["joined_is_same"] = bool(same[0]) and same[0] == same[1]
    ray.shutdown()
    sys.stdout.write(json.dumps(found) + "\n")


if __name__ == "__main__":
    main(Path(sys.argv[1]))

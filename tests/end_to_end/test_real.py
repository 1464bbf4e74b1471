"""A whole comparison on real weights: SmolLM2 reasons in llama.cpp, and SmolLM2 is tuned."""

import json
import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

from fiatkit.reasoning import RationaleStore

pytestmark = pytest.mark.weights
FIAT = str(Path(sys.executable).with_name("fiat"))
EXAMPLE = Path(__file__).parents[2] / "examples" / "hotel_reviews"
RUN = """
version: 1
task: {task}
data: {{file: {data}, dev_rows: 6, test_rows: 12}}
large: {{provider: llama_cpp, model: smollm2-135m}}
small: {{model: smollm2-135m}}
recipes: [icl, fiat]
sizes: [12]
tuning: {{epochs: 2}}
"""


def test_compare_killed_and_run_again(tmp_path: Path) -> None:
    """kill -9 among the rationales; the second run repeats no committed answer."""
    text = RUN.format(task=EXAMPLE / "task.yaml", data=EXAMPLE / "reviews.csv")
    (tmp_path / "run.yaml").write_text(text)
    store = tmp_path / "runs" / "rationales.sqlite"
    with subprocess.Popen(
        [FIAT, "compare", "run.yaml"], cwd=tmp_path, stderr=subprocess.DEVNULL
    ) as first:
        deadline = time.monotonic() + 240
        while time.monotonic() < deadline and first.poll() is None:
            time.sleep(0.3)
            if store.is_file() and _count(store) >= 5:
                os.kill(first.pid, signal.SIGKILL)
                break
        first.wait()
    assert first.returncode == -signal.SIGKILL
    before = tmp_path / "before.jsonl"
    with RationaleStore.read_only(store) as opened:
        kept = opened.export(before)
    assert kept >= 5

    done = subprocess.run(
        [FIAT, "compare", "run.yaml"], cwd=tmp_path, capture_output=True, text=True, timeout=600
    )
    assert done.returncode in (0, 3), done.stderr
    with RationaleStore.read_only(store) as opened:
        after = tmp_path / "after.jsonl"
        opened.export(after)
        status = opened.status()
        assert opened.verify() == []
    assert after.read_bytes().startswith(before.read_bytes())
    assert status["attempts"]["done"] == status["completions"]
    assert status["attempts"].get("ambiguous", 0) <= 1
    cell = tmp_path / "runs" / "run" / "cells" / "fiat-n12-s0" / "cell.json"
    record = json.loads(cell.read_text())
    assert sum(record["counts"].values()) == 12
    assert 0 <= record["scores"]["accuracy"]["value"] <= 100
    assert (tmp_path / "runs" / "run" / "report.html").is_file()


def _count(store: Path) -> int:
    try:
        with RationaleStore.read_only(store) as opened:
            return int(opened.status()["completions"])
    except Exception:
        return 0

"""Ray workers: the driver keeps the store, a lost worker's rows are answered elsewhere.

A cluster takes its time to start: run with `make test-slow`.
"""

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest
from tests.end_to_end.conftest import RUN, TASK, rows

from fiatkit.errors import UsageError
from fiatkit.models.cluster import RaySettings
from fiatkit.settings import parse

ROOT = Path(__file__).parents[2]
PATIENT = {
    "RAY_raylet_start_wait_time_s": "600",
    "RAY_agent_register_timeout_ms": "600000",
    "RAY_USAGE_STATS_ENABLED": "0",
}


@pytest.mark.slow
def test_a_killed_workers_rows_run_elsewhere_and_the_store_is_the_same(
    tmp_path: Path, tiny_chat_model: Path
) -> None:
    pytest.importorskip("ray", reason='needs pip install "fiatkit[ray]"')
    (tmp_path / "task.yaml").write_text(TASK)
    (tmp_path / "rows.csv").write_text(rows())
    (tmp_path / "run.yaml").write_text(RUN.format(model=tiny_chat_model, plain=tiny_chat_model))
    environment = os.environ | PATIENT | {"PYTHONPATH": f"{ROOT / 'src'}:{ROOT}"}
    done = subprocess.run(
        [sys.executable, "-m", "tests.models.ray_child", str(tmp_path)],
        cwd=ROOT,
        env=environment,
        capture_output=True,
        text=True,
        timeout=1500,
    )
    assert done.returncode == 0, done.stderr[-3000:]
    found = json.loads(done.stdout.splitlines()[-1])
    assert found["slots"] == 8
    assert found["alone"]["outcomes"] == {"done": 200}
    assert len(found["cluster"]["answers"]) == 200
    assert found["cluster"]["answers"] == found["alone"]["answers"]
    outcomes = found["cluster"]["outcomes"]
    assert outcomes.pop("done") == 200
    assert outcomes.keys() == {"failed:worker_lost"} and outcomes["failed:worker_lost"] >= 1
    code, told = found["joined"]
    assert code == 0, told
    assert found["joined_is_same"]


def test_the_block_is_checked() -> None:
    assert parse(RaySettings, {"workers": 3, "address": "auto"}, "ray").cpus == 1
    for wrong in ({"workers": 0}, {"cpus": -1}, {"adress": "auto"}):
        with pytest.raises(UsageError):
            parse(RaySettings, wrong, "ray")

"""Each tracker in its own process, against its real library; and trackers that fail or hang."""

import importlib.util
import json
import os
import sqlite3
import time
from contextlib import closing
from pathlib import Path

import pytest

from fiatkit import registry
from fiatkit.errors import MissingExtraError, UnknownNameError
from fiatkit.experiment.trackers import ROOM, Comparison, check
from fiatkit.experiment.trackers._child import follow
from fiatkit.experiment.trackers._followed import Followed

TOY = Comparison("abc123", "run", 'A toy: "first" & second')
needs = {
    name: pytest.mark.skipif(
        importlib.util.find_spec(name) is None, reason=f"{name} is not installed: fiatkit[track]"
    )
    for name in ("mlflow", "trackio", "wandb")
}


def one_cell(name: str, folder: Path) -> list[str]:
    """Follow a comparison of one cell, stopped after its first step and resumed; what was told."""
    told: list[str] = []
    done = folder / "done"
    first = Followed(name, TOY, done, told.append)
    first.send("begin", cell="fiat-n8-s0", parameters={"recipe": "fiat", "size": 8})
    first.send("log", step=1, values={"loss": 2.0})
    first.close(60)
    report = folder / "report.md"
    report.write_text("a report")
    second = Followed(name, TOY, done, told.append)
    second.send("begin", cell="fiat-n8-s0", parameters={"recipe": "fiat", "size": 8})
    second.send("log", step=2, values={"loss": 1.0})
    second.send("end", values={"accuracy": 75.0, "accuracy.low": 60.0, "accuracy/zh-Hans": 50.0})
    second.send("keep", files=[str(report)])
    second.close(60)
    assert done.read_text() == "fiat-n8-s0\n"
    third = Followed(name, TOY, done, told.append)
    third.send("begin", cell="fiat-n8-s0", parameters={"recipe": "fiat", "size": 8})
    third.send("log", step=3, values={"loss": 99.0})
    third.send("end", values={"accuracy": 99.0})
    third.close(60)
    return told


@needs["trackio"]
def test_trackio_gets_steps_scores_and_report_in_one_run(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("TRACKIO_DIR", str(tmp_path / "tracked"))
    assert one_cell("trackio", tmp_path) == []
    (database,) = (tmp_path / "tracked").glob("A-toy-first-second*.db")
    with closing(sqlite3.connect(database)) as opened:
        rows = opened.execute("SELECT run_name, step, metrics FROM metrics ORDER BY id").fetchall()
        configs = opened.execute("SELECT run_name, config FROM configs").fetchall()
    cell = [(step, json.loads(m)) for name, step, m in rows if name == "fiat-n8-s0 abc123"]
    assert [(step, values["loss"]) for step, values in cell[:2]] == [(1, 2.0), (2, 1.0)]
    assert cell[2][1] == {"accuracy": 75.0, "accuracy.low": 60.0, "accuracy/zh-Hans": 50.0}
    assert len(cell) == 3, "what was tracked to its end is not tracked again"
    assert json.loads(dict(configs)["fiat-n8-s0 abc123"])["size"] == 8
    assert [p.read_text() for p in (tmp_path / "tracked").rglob("*") if p.is_file() and p.stat().st_size == 8] == ["a report"]  # fmt: skip


@needs["mlflow"]
def test_mlflow_gets_steps_scores_and_report_in_one_run(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("MLFLOW_TRACKING_URI", f"sqlite:///{tmp_path}/m.db")
    monkeypatch.chdir(tmp_path)
    assert one_cell("mlflow", tmp_path) == []
    with closing(sqlite3.connect(tmp_path / "m.db")) as opened:
        runs = dict(opened.execute("SELECT name, run_uuid FROM runs").fetchall())
        status = dict(opened.execute("SELECT name, status FROM runs").fetchall())
        cell = runs["fiat-n8-s0"]
        metrics = opened.execute("SELECT key, step, value FROM metrics WHERE run_uuid = ?", (cell,)).fetchall()  # fmt: skip
        parameters = dict(opened.execute("SELECT key, value FROM params WHERE run_uuid = ?", (cell,)).fetchall())  # fmt: skip
        parent = opened.execute("SELECT value FROM tags WHERE run_uuid = ? AND key = 'mlflow.parentRunId'", (cell,)).fetchone()  # fmt: skip
    assert set(runs) == {"run", "fiat-n8-s0"}
    assert set(status.values()) == {"FINISHED"}
    assert sorted(metrics) == [
        ("accuracy", 0, 75.0),
        ("accuracy.low", 0, 60.0),
        ("accuracy/zh-Hans", 0, 50.0),
        ("loss", 1, 2.0),
        ("loss", 2, 1.0),
    ]
    assert parameters == {"recipe": "fiat", "size": "8"}
    assert parent == (runs["run"],)
    assert [path.read_text() for path in tmp_path.rglob("artifacts/report.md")] == ["a report"]


@needs["wandb"]
def test_wandb_writes_offline_runs(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("WANDB_MODE", raising=False)
    monkeypatch.setenv("WANDB_DIR", str(tmp_path))
    assert one_cell("wandb", tmp_path) == []
    files = sorted(tmp_path.glob("wandb/offline-run-*/run-*.wandb"))
    cells = [file for file in files if file.name == "run-abc123-fiat-n8-s0.wandb"]
    assert len(cells) == 2, "one before the stop and one after it, of the same run"
    written = b"".join(file.read_bytes() for file in cells)
    for name in (b"loss", b"accuracy.low", b"recipe"):
        assert name in written
    assert any(file.name == "run-abc123-report.wandb" for file in files)


def library(folder: Path, monkeypatch: pytest.MonkeyPatch, text: str) -> None:
    """A package `trackio` of our own, which the tracker's process finds first."""
    (folder / "trackio.py").write_text(text)
    monkeypatch.setenv("PYTHONPATH", f"{folder}{os.pathsep}{os.environ.get('PYTHONPATH', '')}")


def test_a_tracker_that_fails_is_told_once_and_switched_off(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("SOME_TOKEN", "canary-4711")
    library(
        tmp_path,
        monkeypatch,
        "def init(*a, **k):\n    raise OSError(28, 'No space left: https://me:word@host canary-4711')",
    )
    told: list[str] = []
    followed = Followed("trackio", TOY, tmp_path / "done", told.append)
    followed.send("begin", cell="a", parameters={})
    until = time.monotonic() + 60
    while not told and time.monotonic() < until:
        followed.send("log", step=1, values={"loss": 1.0})
        time.sleep(0.01)
    followed.send("log", step=2, values={"loss": 1.0})
    followed.close()
    assert told == [
        "trackio is switched off (OSError: [Errno 28] No space left: https://host ***). "
        "The run goes on."
    ]


def test_a_tracker_that_hangs_stops_nothing(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    library(tmp_path, monkeypatch, "import time\ndef init(*a, **k):\n    time.sleep(1000)")
    told: list[str] = []
    followed = Followed("trackio", TOY, tmp_path / "done", told.append)
    followed.send("begin", cell="a", parameters={})
    for step in range(30_000):  # more than a pipe holds and more than may wait
        followed.send("log", step=step, values={"loss": 1.0})
    followed.close(0.1)
    assert told == ["trackio is switched off (it does not keep up). The run goes on."]


def test_a_tracker_that_is_slow_at_the_end_is_left_to_itself(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    library(tmp_path, monkeypatch, "import time\ndef init(*a, **k):\n    time.sleep(5)")
    told: list[str] = []
    followed = Followed("trackio", TOY, tmp_path / "done", told.append)
    followed.send("begin", cell="a", parameters={})
    followed.close(0.1)
    assert told == ["trackio is still sending; it is left to it."]


def test_cells_that_were_tracked_to_their_end_are_skipped(tmp_path: Path) -> None:
    class Kept:
        def __init__(self) -> None:
            self.told: list[str] = []

        def begin(self, cell: str, parameters: object) -> None:
            self.told.append(f"begin {cell}")

        def log(self, step: int, values: object) -> None:
            self.told.append(f"log {step}")

        def end(self, values: object) -> None:
            self.told.append("end")

        def keep(self, files: object) -> None: ...

        def close(self) -> None:
            self.told.append("close")

    (tmp_path / "done").write_text("a\n")
    kept = Kept()
    messages = [{"do": "begin", "cell": cell, "parameters": {}} for cell in "ab"]
    for message in list(messages):
        place = messages.index(message) + 1
        messages[place:place] = [
            {"do": "log", "step": 1, "values": {}},
            {"do": "end", "values": {}},
        ]
    follow(kept, messages, tmp_path / "done")
    assert kept.told == ["begin b", "log 1", "end", "close"]
    assert (tmp_path / "done").read_text() == "a\nb\n"


def test_names_and_packages_are_checked_at_the_start(monkeypatch: pytest.MonkeyPatch) -> None:
    assert registry.names(ROOM) == ["mlflow", "trackio", "wandb"]
    with pytest.raises(UnknownNameError, match='no tracker "mlfow"'):
        check(["mlfow"])
    monkeypatch.setattr(importlib.util, "find_spec", lambda name: None)
    with pytest.raises(MissingExtraError, match="wandb"):
        check(["wandb"])

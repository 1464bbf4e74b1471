"""The README's second section, run as it stands: a CSV becomes a task by YAML alone."""

import json
import os
import re
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
README = (ROOT / "README.md").read_text(encoding="utf-8")
EXAMPLE = ROOT / "examples" / "hotel_reviews"


def block(name: str) -> str:
    found = re.search(rf"<!-- {re.escape(name)} -->\n```\w+\n(.*?)```", README, re.DOTALL)
    assert found, name
    return found.group(1)


@pytest.mark.parametrize("name", ["task.yaml", "run.yaml"])
def test_the_readme_shows_the_files_of_the_example(name: str) -> None:
    assert block(name) == (EXAMPLE / name).read_text(encoding="utf-8")


def test_there_are_fewer_than_ten_commands() -> None:
    commands = [line for line in block("commands").splitlines() if line.strip()]
    assert 0 < len(commands) < 10


@pytest.mark.weights
def test_the_commands_run_as_they_stand(tmp_path: Path) -> None:
    for name in ("reviews.csv", "new_reviews.csv"):
        shutil.copy(EXAMPLE / name, tmp_path)
    for name in ("task.yaml", "run.yaml"):
        (tmp_path / name).write_text(block(name), encoding="utf-8")
    path = f"{Path(sys.executable).parent}{os.pathsep}{os.environ['PATH']}"
    done = subprocess.run(
        ["bash", "-euc", block("commands")],
        cwd=tmp_path,
        env=os.environ | {"PATH": path},
        capture_output=True,
        text=True,
        timeout=900,
    )
    assert done.returncode == 0, done.stderr
    for name in ("icl", "instruct", "fiat"):
        assert name in done.stdout
    assert (tmp_path / "runs" / "run" / "report.html").is_file()
    lines = (tmp_path / "answers.jsonl").read_text(encoding="utf-8").splitlines()
    answers = [json.loads(line) for line in lines]
    assert [a["id"] for a in answers] == ["101", "102", "103", "104"]
    assert {a["answer"] for a in answers if a["status"] == "ok"} <= {"room", "food", "staff"}
    assert sum(a["status"] == "ok" for a in answers) >= 3


@pytest.mark.weights
def test_the_python_runs_as_it_stands(tmp_path: Path) -> None:
    for name in ("reviews.csv", "new_reviews.csv", "task.yaml"):
        shutil.copy(EXAMPLE / name, tmp_path)
    done = subprocess.run(
        [sys.executable, "-c", block("python")],
        cwd=tmp_path,
        capture_output=True,
        text=True,
        timeout=900,
    )
    assert done.returncode == 0, done.stderr
    assert "Best: " in done.stdout
    assert "fiat on 20 rows" in done.stdout
    assert "\n104 " in done.stdout

"""The README's second section, run as it stands: a CSV becomes a task by YAML alone."""

import json
import os
import re
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from fiatkit.reasoning import RationaleStore

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


def run(command: list[str], folder: Path) -> str:
    path = f"{Path(sys.executable).parent}{os.pathsep}{os.environ['PATH']}"
    done = subprocess.run(
        command,
        cwd=folder,
        env=os.environ | {"PATH": path},
        capture_output=True,
        text=True,
        timeout=900,
    )
    assert done.returncode == 0, done.stderr
    return done.stdout


def completions(folder: Path) -> int:
    with RationaleStore.read_only(folder / "runs" / "rationales.sqlite") as store:
        assert store.verify() == []
        return int(store.status()["completions"])


@pytest.mark.weights
def test_the_commands_and_then_the_python_run_as_they_stand(tmp_path: Path) -> None:
    """Both in one folder, as somebody who reads on would: the second pays for nothing again."""
    for name in ("reviews.csv", "new_reviews.csv"):
        shutil.copy(EXAMPLE / name, tmp_path)
    for name in ("task.yaml", "run.yaml"):
        (tmp_path / name).write_text(block(name), encoding="utf-8")
    told = run(["bash", "-euc", block("commands")], tmp_path)
    for name in ("icl", "instruct", "fiat"):
        assert name in told
    assert (tmp_path / "runs" / "run" / "report.html").is_file()
    lines = (tmp_path / "answers.jsonl").read_text(encoding="utf-8").splitlines()
    answers = [json.loads(line) for line in lines]
    assert [a["id"] for a in answers] == ["101", "102", "103", "104"]
    assert {a["answer"] for a in answers if a["status"] == "ok"} <= {"room", "food", "staff"}
    assert sum(a["status"] == "ok" for a in answers) >= 3

    paid = completions(tmp_path)
    told = run([sys.executable, "-c", block("python")], tmp_path)
    assert "Best: " in told
    assert "fiat on 20 rows" in told
    assert "\n104 " in told
    assert completions(tmp_path) == paid

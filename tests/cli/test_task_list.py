"""fiat tasks: what is listed can be shown, and what is shown is a task."""

import subprocess
from pathlib import Path

import pytest
from tests.command import run

from fiatkit.tasks import load_task, task_names, template_names, template_task


def fiat(*words: str, columns: int = 100) -> subprocess.CompletedProcess[str]:
    return run(Path.cwd(), *words, COLUMNS=str(columns))


@pytest.mark.parametrize("columns", [80, 180])
def test_the_list_names_every_task_and_template(columns: int) -> None:
    shown = fiat("tasks", "list", columns=columns).stdout
    assert all(name in shown for name in (*task_names(), *template_names()))


def test_what_show_prints_is_the_task(tmp_path: Path) -> None:
    path = tmp_path / "task.yaml"
    path.write_text(fiat("tasks", "show", "multi_label").stdout, encoding="utf-8")
    assert load_task(str(path)) == template_task("multi_label")


def test_an_unknown_name_gets_a_suggestion() -> None:
    done = fiat("tasks", "show", "multilabel")
    assert done.returncode == 2
    assert 'Did you mean "multi_label"?' in done.stderr

"""A user's mistake is one clear message on stderr, without a traceback, with the right exit code."""

import os
import subprocess
import sys
from pathlib import Path

import pytest
from tests.command import fiat, run

from fiatkit.config import read_config
from fiatkit.experiment import make_plan

TASK = """
version: 1
name: toy
fields: [text]
target: label
labels: [a, b]
reasoning: {instruction: Say a or b., marker: "Answer:"}
tuning: {instruction: Say a or b.}
"""
RUN = """
version: 1
task: task.yaml
data: {file: rows.csv}
large: {provider: scripted}
small: {model: smollm2-135m}
"""
ROWS = "id,text,label\n" + "".join(f"{i},text number {i},{'ab'[i % 2]}\n" for i in range(40))


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    (tmp_path / "task.yaml").write_text(TASK)
    (tmp_path / "run.yaml").write_text(RUN)
    (tmp_path / "rows.csv").write_text(ROWS)
    return tmp_path


def mistake(folder: Path, *words: str, code: int = 2) -> str:
    done = run(folder, *words)
    assert done.returncode == code, done.stderr
    assert "Traceback" not in done.stderr
    return " ".join(done.stderr.split())


def test_no_run_file(folder: Path) -> None:
    assert 'Cannot read "none.yaml"' in mistake(folder, "compare", "none.yaml")


def test_unknown_key_gets_a_suggestion(folder: Path) -> None:
    (folder / "run.yaml").write_text(RUN + "seed: [1]\n")
    text = mistake(folder, "compare", "run.yaml")
    assert 'unknown key "seed"' in text
    assert 'Did you mean "seeds"?' in text


def test_unknown_recipe_gets_a_suggestion(folder: Path) -> None:
    (folder / "run.yaml").write_text(RUN + "recipes: [fiatt]\n")
    text = mistake(folder, "compare", "run.yaml")
    assert 'no recipe "fiatt"' in text
    assert 'Did you mean "fiat"?' in text


def test_unknown_task_gets_a_suggestion(folder: Path) -> None:
    (folder / "run.yaml").write_text(RUN.replace("task.yaml", "sib20"))
    assert 'Did you mean "sib200"?' in mistake(folder, "compare", "run.yaml")


def test_too_few_rows(folder: Path) -> None:
    (folder / "run.yaml").write_text(RUN + "sizes: [1000]\n")
    assert "1000 training rows were asked for" in mistake(folder, "compare", "run.yaml")


def test_label_outside_the_set_names_file_line_and_nearest(folder: Path) -> None:
    (folder / "rows.csv").write_text(ROWS + "99,odd one,A\n")
    text = mistake(folder, "compare", "run.yaml")
    assert "rows.csv" in text
    assert "42" in text
    assert '"A"' in text


def test_doctor_tells_the_same_problem(folder: Path) -> None:
    (folder / "run.yaml").write_text(RUN + "recipes: [icl]\n")
    (folder / "rows.csv").write_text(ROWS + "99,,a\n")
    done = run(folder, "doctor", "run.yaml")
    assert done.returncode == 2
    assert "problem" in done.stdout
    assert "rows.csv" in done.stdout


def test_doctor_tells_every_problem(folder: Path) -> None:
    """A bad row, a size, a model and a key of the large model: none hides another."""
    (folder / "rows.csv").write_text(ROWS + "99,,a\n")
    text = RUN.replace("smollm2-135m", "smolm2-135m") + "sizes: [1000]\n"
    (folder / "run.yaml").write_text(text.replace("scripted", "scripted, modle: x"))
    done = run(folder, "doctor", "run.yaml")
    assert done.returncode == 2, done.stderr
    for told in ("1 bad row", "1000 training rows", '"smolm2-135m"', 'unknown key "modle"'):
        assert told in done.stdout
    assert done.stdout.endswith("\n4 problems stand in the way of the run.\n")
    assert "train: 22 rows" in done.stdout


def test_sizes_may_be_all(folder: Path) -> None:
    (folder / "run.yaml").write_text(RUN + "sizes: [10, all]\n")
    plan = make_plan(read_config(folder / "run.yaml"))
    assert plan.sizes == (10, 22)
    assert {cell.size for cell in plan.cells} == {None, 10, 22}
    (folder / "run.yaml").write_text(RUN + "sizes: [al]\n")
    assert "at least 1, or all (given: 'al')" in mistake(folder, "compare", "run.yaml")


def test_I08_an_encoding_is_named_on_the_command_line(folder: Path) -> None:
    gold = "id,text,label\n1,größer,a\n2,kleiner,b\n".encode("cp1252")
    (folder / "gold.csv").write_bytes(gold)
    (folder / "p.jsonl").write_text(
        '{"id": "gold.csv:2", "answer": "a"}\n{"id": "gold.csv:3", "answer": null}\n'
    )
    words = ("evaluate", "p.jsonl", "--gold", "gold.csv", "--task", "task.yaml")
    assert "--encoding latin-1" in mistake(folder, *words)
    assert "there is no encoding" in mistake(folder, *words, "--encoding", "latin-one")
    done = run(folder, *words, "--encoding", "cp1252")
    assert done.returncode == 0, done.stderr
    assert "50.0" in done.stdout
    assert "no label" not in done.stdout
    (folder / "p.jsonl").write_text(
        '{"id": "gold.csv:2", "answer": "[A]"}\n{"id": "gold.csv:3", "answer": "b"}\n'
    )
    told = run(folder, *words, "--encoding", "cp1252").stdout
    assert '1 answer, "[A]", is no label of the task; it counts as wrong.' in told
    (folder / "mail.csv").write_bytes(ROWS.replace("text number", "grüße").encode("cp1252"))
    assert run(folder, "init", "mail.csv", "--out", "x", "--encoding", "cp1252").returncode == 0
    plan = make_plan(read_config(folder / "x" / "run.yaml"))
    assert plan.data.train[0].query.fields["text"].startswith("grüße")


def test_debug_shows_the_traceback_without_secrets_and_keeps_the_exit_code(
    folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("MY_API_KEY", "swordfish-1234")
    done = run(folder, "compare", "swordfish-1234.yaml", "--debug")
    assert done.returncode == 2
    assert "Traceback" in done.stderr and "SettingsError" in done.stderr
    assert "swordfish" not in done.stderr
    assert '"***.yaml"' in done.stderr


UNEXPECTED = """
import sys
from pathlib import Path
import fiatkit.report
from fiatkit.cli import main

def broken(*given):
    raise RuntimeError(f"no such thing at https://me:hunter2@host/ with swordfish-1234\\n\\x1b[2J")

fiatkit.report.load_run = broken
sys.argv = ["fiat", *sys.argv[1:]]
main()
"""


def test_R07_an_unexpected_error_is_a_line_a_log_and_how_to_go_on(tmp_path: Path) -> None:
    environment = os.environ | {"MY_API_KEY": "swordfish-1234", "TMPDIR": str(tmp_path)}

    def end(*words: str) -> str:
        done = subprocess.run(
            [sys.executable, "-c", UNEXPECTED, "report", "my runs/a", *words],
            env=environment,
            capture_output=True,
            text=True,
            timeout=120,
        )
        assert done.returncode == 1
        assert "swordfish" not in done.stderr and "hunter2" not in done.stderr
        return done.stderr

    lines = end("--out", "swordfish-1234.html").splitlines()
    log = next(tmp_path.glob("fiatkit-*.log"))
    assert lines == [
        "Internal error: RuntimeError: no such thing at https://host/ with ***\\x0a\\x1b[2J",
        f"Details, without passwords and keys: {log} (please report it)",
        "What was finished is kept; the same command goes on from there: "
        "fiat report 'my runs/a' --out ***.html",
    ]
    assert log.stat().st_mode & 0o077 == 0, "its owner's alone"
    kept = log.read_text()
    assert "Traceback" in kept and "RuntimeError" in kept and "in broken" in kept
    assert "swordfish" not in kept and "hunter2" not in kept
    assert "Traceback" in end("--debug")


def test_unknown_flag(folder: Path) -> None:
    assert "No such option" in mistake(folder, "compare", "run.yaml", "--outt", "x")


def test_report_of_a_folder_without_a_run(folder: Path) -> None:
    assert "run.json" in mistake(folder, "report", ".")


def test_store_that_does_not_exist(folder: Path) -> None:
    assert "nowhere.sqlite" in mistake(folder, "store", "status", "--store", "nowhere.sqlite")


def test_a_value_that_looks_like_a_date_and_is_none_is_told(tmp_path: Path) -> None:
    (tmp_path / "run.yaml").write_text("version: 1\ntitle: 2020-13-45\n")
    told = fiat(tmp_path, "doctor", "run.yaml", code=2)
    assert "month must be in 1..12" in told and "quotes" in told


def test_a_name_that_is_too_long_is_told(tmp_path: Path) -> None:
    assert "File name too long" in fiat(tmp_path, "doctor", "x" * 300 + ".yaml", code=2)

"""fiat init: from a file to a run, by flags and by questions; nothing of the user's is replaced."""

import os
import pty
import subprocess
from pathlib import Path

import pytest
from tests.command import FIAT, WIDE, fiat

from fiatkit.config import read_config
from fiatkit.experiment import make_plan
from fiatkit.experiment.doctor import _data
from fiatkit.tasks import load_task


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    lines = ["nr,lang,message,mood,seen"]
    for number in range(48):
        words = f"message number {number} about the {['sun', 'ice'][number % 2]}"
        lines.append(
            f"{number},{['en', 'es'][number // 2 % 2]},{words},{['warm', 'cold'][number % 2]},x"
        )
    (tmp_path / "mail.csv").write_text("\n".join(lines) + "\n")
    return tmp_path


def test_the_written_files_run_at_once(folder: Path, tiny_chat_model: Path) -> None:
    models = ("--large", "scripted", "--small", str(tiny_chat_model))
    shown = fiat(folder, "init", "mail.csv", "--out", "mail", *models)
    assert "mood  (2 different values)" in shown
    assert "not used  seen" in shown
    task = load_task(str(folder / "mail" / "task.yaml"))
    assert (task.id, task.language, task.target) == ("nr", "lang", "mood")
    told = fiat(folder, "doctor", "mail/run.yaml")
    assert "train: 27 rows" in told
    assert "problem" not in told
    run = folder / "mail" / "run.yaml"  # fewer recipes: the test is of the files
    text = run.read_text().replace("[icl, lora, instruct, fiat]", "[icl, fiat]")
    run.write_text(text.replace("epochs: 4", "epochs: 1"))
    told = fiat(folder, "compare", "mail/run.yaml")
    assert "fiat" in told
    assert (folder / "runs" / "run" / "report.html").is_file()


def test_nothing_is_replaced_without_force(folder: Path) -> None:
    (folder / "task.yaml").write_text("mine")
    told = fiat(folder, "init", "mail.csv", code=2)
    assert "task.yaml" in told
    assert "--force" in told
    assert (folder / "task.yaml").read_text() == "mine"
    assert not (folder / "run.yaml").exists()
    fiat(folder, "init", "mail.csv", "--force", "--language", "none")
    assert load_task(str(folder / "task.yaml")).language is None


def typed(folder: Path, keys: str) -> tuple[int, str]:
    """Exit code and screen of `fiat init` with these keys typed on a terminal."""
    master, slave = pty.openpty()
    with subprocess.Popen(
        [FIAT, "init", "mail.csv"], cwd=folder, env=WIDE, stdin=slave, stdout=slave, stderr=slave
    ) as child:
        os.close(slave)
        os.write(master, keys.encode())
        shown = b""
        try:
            while piece := os.read(master, 4096):
                shown += piece
        except OSError:
            pass  # the child has closed its side
    os.close(master)
    return child.returncode, shown.decode()


def test_an_early_end_says_that_nothing_was_written(folder: Path) -> None:
    code, shown = typed(folder, "mood\n\x04")  # the end of the input, as Ctrl-D types it
    assert code == 130, shown
    assert "Stopped; nothing was written." in shown
    assert "kept" not in shown
    assert not (folder / "task.yaml").exists()


def test_questions_on_a_terminal(folder: Path) -> None:
    """Every answer but two is the proposal; a wrong one is told and asked again."""
    answers = ["moood", "mood", "", "", "", "none", "", "macro_f1", "", ""]
    code, shown = typed(folder, "".join(f"{answer}\n" for answer in answers))
    assert code == 0, shown
    assert 'Did you mean "mood"?' in shown
    assert "  message  message number 0 about the sun" in shown  # what the columns hold
    task = load_task(str(folder / "task.yaml"))
    assert (task.target, task.metrics, task.group) == ("mood", ["macro_f1"], [])


def test_rows_that_do_not_fit_are_left_out_if_they_are_few(folder: Path) -> None:
    path = folder / "mail.csv"
    path.write_text(path.read_text() + "90,en,one more about the sun,,x\n91,en,,warm,x\n")
    fiat(folder, "init", "mail.csv")
    plan = make_plan(read_config(folder / "run.yaml"))
    (note,) = plan.data.notes
    assert note.startswith("2 bad rows were skipped (skip_bad), such as ")
    assert "mail.csv, line 50: mood is empty" in note
    path.write_text(path.read_text() + "".join(f"a{i},en,,cold,x\n" for i in range(40)))
    assert "bad rows" in fiat(folder, "init", "mail.csv", "--force", code=2)


def test_too_few_rows_and_a_wrong_model(folder: Path) -> None:
    assert "PROVIDER:MODEL" in fiat(folder, "init", "mail.csv", "--large", "gpt", code=2)
    assert 'no model (nor a folder of that name) "smol"' in fiat(
        folder, "init", "mail.csv", "--small", "smol", code=2
    )
    for alone in ("openai_compatible", "openai_compatible:"):
        told = fiat(folder, "init", "mail.csv", "--large", alone, code=2)
        assert "Give openai_compatible:MODEL." in told
    lines = (folder / "mail.csv").read_text().splitlines()
    (folder / "few.csv").write_text("\n".join(lines[:12]) + "\n")
    assert "at least 20" in fiat(folder, "init", "few.csv", code=2)


def test_an_endpoint_is_written_as_told(folder: Path) -> None:
    large = ("--large", "openai_compatible:big", "--base-url", "https://llm.example.com/v1")
    fiat(folder, "init", "mail.csv", "--out", "deep/er", *large)
    values = read_config(folder / "deep" / "er" / "run.yaml").large.values_for_provider()
    assert values["base_url"] == "https://llm.example.com/v1"
    assert (values["provider"], values["model"]) == ("openai_compatible", "big")


def test_labels_that_differ_in_space_are_told_with_their_rows(folder: Path) -> None:
    path = folder / "mail.csv"
    path.write_text(path.read_text() + "90,en,one more about the sun,warm ,x\n")
    told = fiat(folder, "init", "mail.csv", code=2)
    assert '"mail.csv", column mood: "warm" and "warm " differ in nothing but case' in told
    assert '"warm " stands in line 50.' in told
    assert not (folder / "task.yaml").exists()


def test_few_test_rows_of_a_language_are_noted(folder: Path) -> None:
    path = folder / "mail.csv"
    path.write_text(path.read_text().replace("0,en,", "0,fr,").replace("1,en,", "1,fr,"))
    fiat(folder, "init", "mail.csv")
    plan = make_plan(read_config(folder / "run.yaml"))
    count = sum(row.query.language == "fr" for row in plan.data.test)
    notes = [finding.text for finding in _data(plan) if finding.kind == "note"]
    assert 0 < count < 5
    assert any(note.endswith(f"weighs the same in the score: fr {count}") for note in notes)

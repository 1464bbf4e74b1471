"""Faults of a tuning as a user meets them: by the command, in processes of their own."""

import json
import os
import shutil
import signal
import subprocess
from pathlib import Path
from typing import Any

import pytest
import yaml
from tests.command import FIAT, WIDE, fiat, run

from fiatkit import artefact
from fiatkit.config import read_config
from fiatkit.errors import ModelFileError, UsageError
from fiatkit.experiment import Cell, compare, make_plan
from fiatkit.experiment.progress import Silent
from fiatkit.experiment.single import tune_one
from fiatkit.experiment.usable import usable_pairs
from fiatkit.files import locked
from fiatkit.records import Rationale

TUNE = ("tune", "run.yaml", "--recipe", "lora", "--out", "model", "--size", "16")


def change(folder: Path, **updates: object) -> None:
    """Change keys of run.yaml."""
    path = folder / "run.yaml"
    values = yaml.safe_load(path.read_text()) | updates
    path.write_text(yaml.safe_dump(values))


def test_T05_a_model_no_better_than_the_most_frequent_answer_is_told_and_may_be_refused(
    run_folder: Path,
) -> None:
    """It cannot be better: its learning rate is next to nothing."""
    change(
        run_folder,
        recipes=["lora"],
        sizes=[16],
        seeds=[0],
        tuning={"learning_rate": 1e-12, "epochs": 1},
    )
    done = run(run_folder, *TUNE, "--require-better-than-baseline")
    assert done.returncode == 3
    assert "model is no better than the baseline: dev accuracy 50.0, and 50.0" in done.stderr
    assert not (run_folder / "model").exists()
    shown = fiat(run_folder, *TUNE)
    assert "no better than the baseline" in shown
    assert "goes on after step 2" in shown, "what was tuned is not tuned again"
    assert (run_folder / "model").is_dir()
    assert not (run_folder / "model.checkpoints").exists()

    done = run(run_folder, "compare", "run.yaml", "--require-better-than-baseline")
    assert done.returncode == 3
    assert "lora-n16-s0 is no better than the baseline" in done.stderr
    page = (run_folder / "runs" / "run" / "report.html").read_text(encoding="utf-8")
    assert "no better than the baseline: dev accuracy 50.0" in page
    assert run(run_folder, "compare", "run.yaml").returncode == 0
    assert run(run_folder, "compare", "run.yaml", "--require-better-than-baseline").returncode == 3


def test_T07_too_few_rows_are_told_before_any_model_is_asked_or_loaded(run_folder: Path) -> None:
    change(run_folder, small={"model": str(run_folder)}, tuning={"batch_rows": 17})
    plan = make_plan(read_config(run_folder / "run.yaml"))
    cell = Cell("fiat", 16, 0)
    train = plan.train_rows(cell)
    good = {e.id: Rationale(e.id, "Answer: warm", "warm", "ok", "") for e in train}
    failed = {e.id: Rationale(e.id, "", None, "failed:truncated", "") for e in train}
    with pytest.raises(UsageError, match=r"16 training rows .* \(tuning.batch_rows: 17\)"):
        usable_pairs(plan, cell, train, good)
    with pytest.raises(
        UsageError, match=r"None of the 16 .*\(16 training rows left out: rationale_tr"
    ):
        usable_pairs(plan, cell, train, failed)
    change(run_folder, tuning={"batch_rows": 4})
    plan = make_plan(read_config(run_folder / "run.yaml"))
    some = {e.id: (failed if e.target == "cold" else good)[e.id] for e in train}
    with pytest.raises(UsageError, match='No training row of the label "cold" \\(8 rows\\)'):
        usable_pairs(plan, cell, train, some)
    assert len(usable_pairs(plan, cell, train, good)[0]) == 16


def test_T07_by_the_command_it_is_exit_2_and_nothing_is_spent(run_folder: Path) -> None:
    change(run_folder, tuning={"batch_rows": 9})
    done = run(run_folder, "compare", "run.yaml")
    assert done.returncode == 2
    assert "fewer than one step takes (tuning.batch_rows: 9)" in done.stderr
    assert not (run_folder / "runs" / "rationales.sqlite").exists()


@pytest.mark.parametrize("size", ["0", "-5"])
def test_T07_a_size_that_is_none_is_refused(run_folder: Path, size: str) -> None:
    """Minus five would be all rows but the last five."""
    done = run(run_folder, *TUNE[:-1], size)
    assert done.returncode == 2
    assert f"{size} training rows were asked for; at least 1 is needed." in done.stderr


@pytest.mark.parametrize("length", [250, 300])
def test_a_name_that_is_too_long_is_told(run_folder: Path, length: int) -> None:
    """The artefact's own, or that of the checkpoints beside it."""
    done = run(run_folder, "tune", "run.yaml", "--recipe", "lora", "--out", "x" * length)
    assert done.returncode == 4
    assert "File name too long" in done.stderr


def test_T09_sigterm_ends_a_tuning_with_143_and_the_same_command_goes_on(run_folder: Path) -> None:
    change(run_folder, tuning={"epochs": 400, "learning_rate": 0.01})
    child = subprocess.Popen([FIAT, *TUNE], cwd=run_folder, env=WIDE, stderr=subprocess.PIPE)
    assert child.stderr is not None
    for line in child.stderr:
        if b"lora on 16 rows" in line:
            break
    child.send_signal(signal.SIGTERM)
    assert child.wait(60) == 143
    left = list((run_folder / "model.checkpoints").glob("step-*"))
    assert len(left) == 1
    assert not (run_folder / "model").exists()
    change(run_folder, tuning={"epochs": 401, "learning_rate": 0.01})
    done = run(run_folder, *TUNE)
    assert done.returncode == 2
    assert "tuning.epochs (400, now 401)" in done.stderr


def test_T10_two_trainers_may_not_share_an_output_folder(run_folder: Path) -> None:
    with locked(run_folder / "model.checkpoints", "checkpoint folder"):
        done = run(run_folder, *TUNE)
    assert done.returncode == 4
    assert f"is locked by pid {os.getpid()} on " in done.stderr
    assert " since " in done.stderr
    with locked(run_folder / "runs" / "run", "run folder"):
        done = run(run_folder, "compare", "run.yaml")
    assert done.returncode == 4
    assert f"is locked by pid {os.getpid()} on " in done.stderr


def test_T03_a_forced_resume_is_recorded_in_the_artefact(run_folder: Path) -> None:
    change(run_folder, tuning={"learning_rate": 1e-12, "epochs": 1})
    assert run(run_folder, *TUNE, "--require-better-than-baseline").returncode == 3
    change(run_folder, tuning={"learning_rate": 1e-11, "epochs": 1})
    done = run(run_folder, *TUNE)
    assert done.returncode == 2
    assert "tuning.learning_rate (1e-12, now 1e-11)" in done.stderr
    assert "resumed by force after step 2" in fiat(run_folder, *TUNE, "--force-resume")
    prepared = json.loads((run_folder / "model" / "preparation.json").read_text())
    assert prepared["tuned_on"]["forced"] == ["tuning.learning_rate (1e-12, now 1e-11)"]


def test_T14_a_kill_behind_the_artefact_leaves_checkpoints_that_the_same_command_removes(
    run_folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Those of another tuning stay: there may be hours of work in them, and so does what is none."""
    change(run_folder, tuning={"learning_rate": 0.01, "epochs": 1})
    out, folder = run_folder / "model", run_folder / "model.checkpoints"
    left = run_folder / "left"
    save = artefact.save

    def save_and_keep(*args: Any, **known: Any) -> None:
        save(*args, **known)
        shutil.copytree(folder, left)

    def tune_again() -> str:
        return tune_one(config, "lora", 16, 0, out, Silent()).notes[-1]

    config = read_config(run_folder / "run.yaml")
    monkeypatch.setattr(artefact, "save", save_and_keep)
    tune_one(config, "lora", 16, 0, out, Silent())
    assert not folder.exists()
    shutil.copytree(left, folder)
    assert "command; the checkpoints that it was made from had been left" in tune_again()
    assert not folder.exists()
    marker = next(left.glob("step-*/checkpoint.json"))
    values = json.loads(marker.read_text())
    marker.write_text(json.dumps(values | {"about": values["about"] | {"seed": 5}}))
    shutil.copytree(left, folder)
    finished = f'"{out}" is finished already, by this very command.'
    assert tune_again() == finished
    assert folder.exists()
    shutil.rmtree(folder)
    shutil.copytree(left, folder)
    (folder / "notes.txt").write_text("mine")
    assert tune_again() == finished
    assert (folder / "notes.txt").is_file()


def test_T14_a_finished_artefact_is_told_again_to_its_own_command_and_refused_to_others(
    run_folder: Path, tiny_chat_model: Path
) -> None:
    """What was killed behind the last rename, or is run twice, ends as if it had not been."""
    own = run_folder / "small"
    shutil.copytree(tiny_chat_model, own)
    settings = {"learning_rate": 0.01, "epochs": 1}
    change(run_folder, tuning=settings, small={"model": "small"})
    words = ("tune", "run.yaml", "--out", "model", "--size", "16")
    first = run(run_folder, *words).stdout.splitlines()[-1]
    assert first.startswith("Artefact: model (epoch 1, dev accuracy ")
    files = {path: path.stat().st_mtime_ns for path in (run_folder / "model").iterdir()}
    again = fiat(run_folder, *words)
    assert '"model" is finished already, by this very command.' in again
    assert first in again.splitlines()
    assert {path: path.stat().st_mtime_ns for path in (run_folder / "model").iterdir()} == files
    refused = '"model" exists already.'

    def is_refused(*more: str) -> bool:
        done = run(run_folder, *words, *more)
        return done.returncode == 2 and refused in done.stderr

    assert is_refused("--seed", "1")
    assert is_refused("--size", "8")
    assert is_refused("--recipe", "instruct")
    change(run_folder, tuning=settings | {"rank": 4})
    assert is_refused()
    change(run_folder, tuning=settings | {"checkpoint_every": 1})  # which decides nothing
    assert run(run_folder, *words).returncode == 0
    rows = (run_folder / "rows.csv").read_text()
    (run_folder / "rows.csv").write_text(rows.replace("number 3,", "number three,"))
    assert is_refused()
    (run_folder / "rows.csv").write_text(rows)
    (own / "tokenizer_config.json").write_text((own / "tokenizer_config.json").read_text() + " ")
    assert is_refused()


def test_A11_a_base_that_changes_while_it_is_tuned_is_noticed_at_the_end(
    run_folder: Path, tiny_chat_model: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Put back, the same command goes on from the last checkpoint to the very same artefact."""
    monkeypatch.chdir(run_folder)
    own, out = run_folder / "small", run_folder / "model"
    shutil.copytree(tiny_chat_model, own)
    tuning = {"learning_rate": 0.01, "epochs": 1}
    change(run_folder, tuning=tuning, small={"model": str(own)}, recipes=["lora"], sizes=[16])
    config = read_config(run_folder / "run.yaml")
    tune_one(config, "lora", 16, 0, run_folder / "whole", Silent())
    file = own / "tokenizer_config.json"
    text = file.read_text()

    class Meddler(Silent):
        def measured(self, step: int, values: Any) -> None:
            file.write_text(text + " ")

    for work in (
        lambda: tune_one(config, "lora", 16, 0, out, Meddler()),
        lambda: compare(make_plan(config), Meddler()),
    ):
        file.write_text(text)
        with pytest.raises(ModelFileError, match=r"was changed while .* \(tokenizer_config.json\)"):
            work()
        assert not list(run_folder.glob("**/manifest.json"))[1:]
    file.write_text(text)
    told: list[str] = []
    monkeypatch.setattr(Silent, "say", lambda self, line: told.append(line))
    tune_one(config, "lora", 16, 0, out, Silent())
    assert "goes on after step 2" in told[0]
    weights = "adapter_model.safetensors"
    assert (out / weights).read_bytes() == (run_folder / "whole" / weights).read_bytes()


def test_a_folder_of_someone_elses_is_not_taken_for_checkpoints(run_folder: Path) -> None:
    """It would be removed with them."""
    folder = run_folder / "model.checkpoints"
    (folder / "epoch-3").mkdir(parents=True)
    (folder / "epoch-3" / "weights.bin").write_text("hours of work")
    done = run(run_folder, *TUNE)
    assert done.returncode == 2
    assert 'model.checkpoints", which holds something else: "epoch-3".' in done.stderr
    assert (folder / "epoch-3" / "weights.bin").read_text() == "hours of work"
    assert not (run_folder / "model").exists()


def test_T01_checkpoints_that_a_kill_leaves_behind_a_finished_cell_are_removed(
    run_folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(run_folder)
    change(run_folder, recipes=["lora"], sizes=[16], seeds=[0], tuning={"epochs": 1})
    plan = make_plan(read_config(run_folder / "run.yaml"))
    compare(plan)
    left = plan.out / "cells" / "lora-n16-s0" / "checkpoints"
    assert (left.parent / "cell.json").is_file()
    assert not left.exists()
    (left / "step-00000002").mkdir(parents=True)
    compare(plan)
    assert not left.exists()


def test_the_last_epoch_is_kept_where_the_metric_is_not_defined_on_the_dev_rows(
    run_folder: Path,
) -> None:
    """As AUC-PR is not where no dev row has the positive label."""
    text = (run_folder / "task.yaml").read_text()
    (run_folder / "task.yaml").write_text(f"{text}metrics: [auc_pr]\n")
    lines = (run_folder / "rows.csv").read_text().splitlines(keepends=True)
    cold = [line for line in lines if line.endswith(",cold\n")]
    (run_folder / "dev.csv").write_text(lines[0] + "".join(cold[:4]))
    others = [line for line in lines if line not in cold[:4]]
    (run_folder / "train.csv").write_text("".join(others[:33]))
    (run_folder / "test.csv").write_text(lines[0] + "".join(others[33:]))
    data = {"train": "train.csv", "dev": "dev.csv", "test": "test.csv"}
    change(run_folder, data=data, tuning={"epochs": 3, "learning_rate": 0.01})
    shown = fiat(run_folder, *TUNE)
    assert "auc_pr is not defined on the dev rows: the last epoch is kept" in shown
    assert "Artefact: model (epoch 3)" in shown

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
from fiatkit.errors import UsageError
from fiatkit.experiment import Cell, make_plan
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
    """Those of another tuning stay: there may be hours of work in them."""
    change(run_folder, tuning={"learning_rate": 0.01, "epochs": 1})
    out, folder = run_folder / "model", run_folder / "model.checkpoints"
    left = run_folder / "left"
    save = artefact.save

    def save_and_keep(*args: Any, **known: Any) -> None:
        save(*args, **known)
        shutil.copytree(folder, left)

    def tune_again() -> str:
        with pytest.raises(UsageError) as refused:
            tune_one(config, "lora", 16, 0, out, Silent())
        return refused.value.message

    config = read_config(run_folder / "run.yaml")
    monkeypatch.setattr(artefact, "save", save_and_keep)
    tune_one(config, "lora", 16, 0, out, Silent())
    assert not folder.exists()
    shutil.copytree(left, folder)
    assert "is finished; the checkpoints" in tune_again()
    assert not folder.exists()
    marker = next(left.glob("step-*/checkpoint.json"))
    values = json.loads(marker.read_text())
    marker.write_text(json.dumps(values | {"about": values["about"] | {"seed": 5}}))
    shutil.copytree(left, folder)
    assert tune_again() == f'"{out}" exists already.'
    assert folder.exists()

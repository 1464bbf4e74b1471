"""Tunings in processes of their own, killed by SIGKILL where they are told.

A tuning is told by a dict with `folder`, `model`, `settings`, and perhaps one of

- `die_after`: the step after which to die, before a checkpoint of it is saved;
- `die_at`: the number of the file operation in the checkpoint folder at which to die;
- `saves`: how many checkpoints to save, of numbers that say their step, without any tuning;
- `artefact`: die at the first file operation whose file or folder has this name, while an artefact
  is saved; with an empty one it is saved whole.

A tuning that ends writes `result.json`: the adapter's sha256, losses, history, best score.
"""

import hashlib
import json
import multiprocessing
import os
import signal
import sys
import traceback
from multiprocessing.connection import Connection
from pathlib import Path
from typing import Any

import torch

from fiatkit import registry
from fiatkit.models.local import SmallModel
from fiatkit.records import Part, SmallPrompt, TrainingPair
from fiatkit.tuning import Checkpoints, TuningSettings, tune
from fiatkit.tuning.checkpoints import State
from fiatkit.tuning.tuner import encode_rows, target_loss
from tests.artefact.conftest import make
from tests.command import WARM

WORDS = ["sun", "ice", "sol", "hielo", "hot tea", "cold rain", "warm"]


def pairs(count: int) -> list[TrainingPair]:
    return [
        TrainingPair(
            SmallPrompt(f"r{i}", (Part("query", WORDS[i % 7] * (i % 3 + 1)), Part("cue", "\n"))),
            ["cold", "warm now"][i % 2],
        )
        for i in range(count)
    ]


def die() -> None:
    os.kill(os.getpid(), signal.SIGKILL)


def die_at_operation(folder: Path, number: int, named: str = "") -> None:
    """Die just before a file operation in `folder`: the one of this number, counted from 1, among
    those on a file or folder of this name, if one is given."""
    seen = 0

    def hook(event: str, found: tuple[Any, ...]) -> None:
        nonlocal seen
        if event in ("open", "os.mkdir", "os.rename", "os.remove", "os.rmdir"):
            paths = [
                Path(os.fsdecode(n)) for n in found if isinstance(n, str | bytes | os.PathLike)
            ]
            if any(path.is_relative_to(folder) and named in ("", path.name) for path in paths):
                seen += 1
                if seen == number:
                    die()

    sys.addaudithook(hook)


def save_artefact(told: dict[str, Any]) -> None:
    """Tune on two rows and save the artefact."""
    folder = Path(told["folder"])
    folder.mkdir(parents=True, exist_ok=True)
    if told["artefact"]:
        die_at_operation(folder, 1, told["artefact"])
    make(folder / "model", Path(told["model"]), "lora")


def save_only(told: dict[str, Any]) -> None:
    """Save checkpoints one after the other, saying each that is acknowledged."""
    folder = Path(told["folder"])
    folder.mkdir(parents=True)
    kept = Checkpoints(folder / "checkpoints", {}, say=lambda text: None)
    if "die_at" in told:
        die_at_operation(folder / "checkpoints", told["die_at"])
    for step in range(1, told["saves"] + 1):
        kept.save(step, State({"weight/a": torch.full((64, 64), float(step))}, {"step": step}))
        (folder / "saved").write_text(str(step))


def run(told: dict[str, Any]) -> None:
    """One tuning from beginning to end, unless it dies."""
    folder = Path(told["folder"])
    folder.mkdir(parents=True, exist_ok=True)
    small = SmallModel.load(told["model"])
    rows = pairs(told.get("rows", 16))
    dev = encode_rows(small, rows[:3], 400)[0]
    if "die_at" in told:
        die_at_operation(folder / "checkpoints", told["die_at"])

    def dev_score() -> float:
        with torch.inference_mode():
            return -float(target_loss(small, dev))

    def step(done: int, total: int, loss: float) -> None:
        if done == told.get("die_after"):
            die()

    kept = Checkpoints(folder / "checkpoints", {}, say=lambda text: None)
    settings = TuningSettings(**told["settings"])
    result = tune(
        small, rows, settings, seed=3, dev_score=dev_score, on_progress=step, checkpoints=kept
    )
    out = folder / "adapter"
    registry.get("tuning.methods", settings.method).save(small.model, out)
    weights = next(out.glob("*.safetensors")).read_bytes()
    found = {
        "sha256": hashlib.sha256(weights).hexdigest(),
        "losses": result.losses,
        "history": result.history,
        "best": [result.best_epoch, result.best_score],
        "resumed": [entry["step"] for entry in result.resumed],
    }
    (folder / "result.json").write_text(json.dumps(found))


def ends(*told: dict[str, Any]) -> list[str]:
    """Run one after the other, each in a fork of a process that has fiatkit loaded and no threads
    yet. How each ended: "done", "failed", or the signal's name."""
    heard, said = multiprocessing.Pipe(duplex=False)
    child = WARM.Process(target=_series, args=(told, said))
    child.start()
    assert heard.poll(3600), "the tunings did not end"
    found: list[str] = heard.recv()
    child.join()
    return found


def _series(told: tuple[dict[str, Any], ...], said: Connection) -> None:
    said.send([_end(each) for each in told])


def _end(told: dict[str, Any]) -> str:
    child = os.fork()
    if not child:
        try:
            if "artefact" in told:
                save_artefact(told)
            else:
                (save_only if "saves" in told else run)(told)
            os._exit(0)
        except BaseException:
            traceback.print_exc()
            os._exit(1)
    code = os.waitstatus_to_exitcode(os.waitpid(child, 0)[1])
    return "done" if code == 0 else signal.Signals(-code).name if code < 0 else "failed"

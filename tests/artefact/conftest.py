"""A small artefact of each kind, made once, and a copy of it for each test to damage."""

import contextlib
import dataclasses
import hashlib
import resource
import shutil
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from tests.end_to_end.conftest import TASK

from fiatkit import artefact
from fiatkit.artefact import manifest
from fiatkit.models.local import SmallModel
from fiatkit.records import Part, SmallPrompt, TrainingPair
from fiatkit.tasks import Task
from fiatkit.tuning import TuningSettings, tune

PROMPT = SmallPrompt("q", (Part("query", "Text: the sun"), Part("cue", "\n\nAnswer:")))


def scores(small: SmallModel) -> Any:
    encoded = small.encode(PROMPT, max_length=100, reserve=8)
    return small.score_labels([encoded], ["warm", "cold"], batch_tokens=100)


def toy_task() -> dict[str, Any]:
    import yaml

    return Task.model_validate(yaml.safe_load(TASK)).model_dump(mode="json")


def prepared(base: Path, method: str) -> dict[str, Any]:
    """A preparation for a toy task."""
    return {
        "fiatkit": "0.1.0",
        "prompts_version": 1,
        "task": toy_task(),
        "recipe": {"name": "lora", "label": "é", "rationale": "none", "instruction": False}
        | {"method": method},
        "large": None,
        "small": str(base),
        "max_length": 100,
        "tuned_on": {"rows": 2, "seed": 0},
    }


def make(
    folder: Path, base: Path, method: str, *, rank: int = 4, epochs: int = 3, text: str = ""
) -> Any:
    """Tune, save, and return what the tuned model says.

    With `text` it learns to write that, in place of the labels.
    """
    small = SmallModel.load(str(base), device="cpu")
    settings = TuningSettings(method=method, epochs=epochs, learning_rate=0.01, rank=rank)
    targets = [text] if text else ["warm", "cold"]
    tune(small, [TrainingPair(PROMPT, target) for target in targets], settings, seed=0)
    preparation = prepared(base, method)
    if text:
        preparation["task"] |= {"labels": None, "answer": "text", "metrics": ["exact_match"]}
        preparation["task"]["max_answer_tokens"] = 12
    score = {"value": 62.0, "low": 54.1, "high": 69.1, "n": 200, "groups": 133}
    artefact.save(folder, small, preparation, scores={"dev": {"accuracy": score}})
    return scores(small)


@pytest.fixture(scope="session")
def made(
    tiny_chat_model: Path, tmp_path_factory: pytest.TempPathFactory
) -> Callable[[str], tuple[Path, Any]]:
    found: dict[str, tuple[Path, Any]] = {}

    def get(method: str) -> tuple[Path, Any]:
        if method not in found:
            folder = tmp_path_factory.mktemp(f"made-{method}") / "model"
            found[method] = (folder, make(folder, tiny_chat_model, method))
        return found[method]

    return get


@pytest.fixture(params=["lora", "full"])
def saved(
    request: pytest.FixtureRequest, made: Callable[[str], tuple[Path, Any]], tmp_path: Path
) -> tuple[Path, Any]:
    """A copy of an artefact of either kind, and what its model said when it was saved."""
    folder, before = made(request.param)
    return Path(shutil.copytree(folder, tmp_path / "model")), before


@pytest.fixture
def lora(made: Callable[[str], tuple[Path, Any]], tmp_path: Path) -> Path:
    """A copy of a LoRA artefact."""
    return Path(shutil.copytree(made("lora")[0], tmp_path / "model"))


@contextlib.contextmanager
def file_size_limit(most: int) -> Iterator[None]:
    """No file may grow above `most` bytes: who writes more meets an error, as on a full disk."""
    before = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (most, before[1]))
    try:
        yield
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, before)


def reseal(folder: Path, **changed: Any) -> None:
    """Write the manifest anew with right sums, as somebody would who knows how."""
    old = manifest.read(folder)
    files = [file for file in sorted(folder.iterdir()) if file.name != manifest.MANIFEST]
    sums = {file.name: hashlib.sha256(file.read_bytes()).hexdigest() for file in files}
    dataclasses.replace(old, **({"files": sums} | changed)).write(folder)


def tensors(path: Path) -> dict[str, np.ndarray]:
    """The tensors of a safetensors file."""
    from safetensors.numpy import load_file

    return load_file(path)

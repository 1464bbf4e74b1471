"""A tuning that is killed and run again ends as if it had not been: same bytes, losses, scores."""

import json
from pathlib import Path
from typing import Any

import pytest

from fiatkit.artefact import manifest
from fiatkit.errors import ArtefactError
from fiatkit.tuning import Checkpoints
from tests.tuning.killed import ends

STEPS = 12  # 3 epochs of 4 steps
SETTINGS = {"epochs": 3, "batch_rows": 4, "rank": 4, "learning_rate": 0.01}


def result(folder: Path) -> dict[str, Any]:
    found: dict[str, Any] = json.loads((folder / "result.json").read_text())
    return found


def killed_at_every_step(folder: Path, model: str, every: int, rows: int = 16) -> None:
    """Kill a tuning after each of its steps in turn; each goes on to the very same end."""
    common = {"model": model, "settings": SETTINGS | {"checkpoint_every": every}, "rows": rows}
    told = [common | {"folder": str(folder / "whole")}]
    for step in range(1, STEPS + 1):
        once = common | {"folder": str(folder / str(step))}
        told += [once | {"die_after": step}, once]
    assert ends(*told) == ["done", *["SIGKILL", "done"] * STEPS]
    whole = result(folder / "whole")
    assert whole.pop("resumed") == []
    assert len(whole["losses"]) == STEPS
    assert len(set(whole["losses"])) == STEPS
    for step in range(1, STEPS + 1):
        again = result(folder / str(step))
        last = (step - 1) // every * every
        assert again.pop("resumed") == ([last] if last else [])
        assert again == whole


def test_T01_killed_at_every_step_and_resumed(tmp_path: Path, tiny_chat_model: Path) -> None:
    killed_at_every_step(tmp_path, str(tiny_chat_model), 5)


def test_T01_killed_after_each_step_of_one_and_the_same_tuning(
    tmp_path: Path, tiny_chat_model: Path
) -> None:
    common = {"model": str(tiny_chat_model), "settings": SETTINGS | {"checkpoint_every": 1}}
    whole = common | {"folder": str(tmp_path / "whole")}
    often = common | {"folder": str(tmp_path / "often")}
    # A step is repeated if its process died before its checkpoint was saved: die one step later.
    kills = [often | {"die_after": step} for step in range(2, STEPS + 1)]
    assert ends(whole, *kills, often) == ["done", *["SIGKILL"] * len(kills), "done"]
    stopped, straight = result(tmp_path / "often"), result(tmp_path / "whole")
    assert stopped.pop("resumed") == list(range(1, STEPS))
    assert straight.pop("resumed") == []
    assert stopped == straight


def test_T01_a_tuning_of_upper_layers_is_killed_and_resumed(
    tmp_path: Path, tiny_chat_model: Path
) -> None:
    """The frozen layers are computed anew after a kill, in the same batches."""
    settings = SETTINGS | {"checkpoint_every": 5, "layers": "top-1"}
    common = {"model": str(tiny_chat_model), "settings": settings}
    whole, once = (common | {"folder": str(tmp_path / name)} for name in ("whole", "once"))
    assert ends(whole, once | {"die_after": 7}, once) == ["done", "SIGKILL", "done"]
    again = result(tmp_path / "once")
    assert again | {"resumed": []} == result(tmp_path / "whole")
    assert again["resumed"] == [5]


@pytest.mark.slow
@pytest.mark.weights
def test_T01_killed_at_every_step_of_a_real_model_and_resumed(tmp_path: Path) -> None:
    killed_at_every_step(tmp_path, "smollm2-135m", 1, rows=16)


def test_T01_killed_inside_a_checkpoint_save(tmp_path: Path, tiny_chat_model: Path) -> None:
    settings = SETTINGS | {"epochs": 1, "checkpoint_every": 1}
    common = {"model": str(tiny_chat_model), "settings": settings}
    told = [common | {"folder": str(tmp_path / "whole")}]
    for operation in (2, 9, 15, 30, 60):
        once = common | {"folder": str(tmp_path / str(operation))}
        told += [once | {"die_at": operation}, once]
    assert ends(*told) == ["done", *["SIGKILL", "done"] * 5]
    whole = result(tmp_path / "whole")
    for operation in (2, 9, 15, 30, 60):
        again = result(tmp_path / str(operation))
        assert again | {"resumed": []} == whole


def test_T01_a_kill_at_any_file_operation_of_a_save_leaves_the_last_checkpoint(
    tmp_path: Path,
) -> None:
    """Each operation of four saves in turn: what was acknowledged is there, whole and newest."""
    count = 130
    told = [
        {"folder": str(tmp_path / str(number)), "saves": 4, "die_at": number}
        for number in range(1, count + 1)
    ]
    found = ends(*told)
    killed = found.count("SIGKILL")
    assert found == ["SIGKILL"] * killed + ["done"] * (count - killed)
    assert 40 < killed < count, "the sweep covers all operations"
    steps = set()
    for number in range(1, killed + 1):
        folder = tmp_path / str(number)
        saved = int((folder / "saved").read_text()) if (folder / "saved").is_file() else 0
        said: list[str] = []
        state = Checkpoints(folder / "checkpoints", {}, say=said.append).newest()
        step = state.values["step"] if state else 0
        assert step in (saved, saved + 1)
        assert state is None or bool((state.tensors["weight/a"] == step).all())
        assert not any("skipped" in line for line in said[-1:])
        steps.add(step)
    assert steps == {0, 1, 2, 3, 4}


def test_T14_an_artefact_without_its_manifest_is_none_and_is_made_again(
    tmp_path: Path, tiny_chat_model: Path
) -> None:
    """Killed before the adapter's config is there, before the manifest, before the last rename."""
    names = ["adapter_config.json", "preparation.json", "manifest.json", "model"]
    told = []
    for name in names:
        once = {"folder": str(tmp_path / name), "model": str(tiny_chat_model)}
        told += [once | {"artefact": name}, once | {"artefact": ""}]
    assert ends(*told[::2]) == ["SIGKILL"] * 4
    for name in names:
        folder = tmp_path / name / "model"
        assert not folder.exists()
        with pytest.raises(ArtefactError, match="is no artefact"):
            manifest.read(folder)
    assert (tmp_path / "manifest.json" / ".model.part" / "adapter_model.safetensors").is_file()
    assert ends(*told[1::2]) == ["done"] * 4
    for name in names:
        assert manifest.read(tmp_path / name / "model").method == "lora"

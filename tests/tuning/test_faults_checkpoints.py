"""Checkpoints that are damaged, foreign or cannot be saved; memory that runs out; signals."""

import json
import os
import shutil
import signal
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import pytest
import torch

from fiatkit.errors import CheckpointError, EnvironmentProblem, NonFiniteLossError
from fiatkit.models.local import SmallModel
from fiatkit.tuning import Checkpoints, TuningResult, TuningSettings, tune
from fiatkit.tuning import checkpoints as module
from fiatkit.tuning.checkpoints import MARKER, TENSORS, VALUES, State
from fiatkit.tuning.tuner import Row, target_loss
from tests.faults import machine
from tests.tuning.killed import pairs

SETTINGS: dict[str, Any] = {
    "epochs": 2,
    "batch_rows": 4,
    "rank": 4,
    "learning_rate": 0.01,
    "checkpoint_every": 1,
}
STEPS = 8  # 2 epochs of 16 rows


class Stop(Exception):
    """Ends a tuning from outside."""


def tuned(
    model: Path,
    kept: Checkpoints,
    stop_after: int = 0,
    seed: int = 3,
    dev_score: Callable[[], float] | None = None,
    **settings: Any,
) -> tuple[TuningResult, SmallModel]:
    """Tune a fresh tiny model; `stop_after` leaves that many checkpoints behind, and no end."""

    def told(done: int, total: int, loss: float) -> None:
        if done == stop_after + 1 and stop_after:
            raise Stop

    small = SmallModel.load(str(model))
    result = tune(
        small,
        pairs(16),
        TuningSettings(**SETTINGS | settings),
        seed=seed,
        dev_score=dev_score,
        on_progress=told,
        checkpoints=kept,
    )
    return result, small


def weights(small: SmallModel) -> torch.Tensor:
    return torch.cat([p.detach().flatten() for p in small.model.parameters() if p.requires_grad])


@pytest.fixture
def said() -> list[str]:
    return []


@pytest.fixture
def kept(tmp_path: Path, said: list[str]) -> Callable[..., Checkpoints]:
    """Opens the same checkpoint folder again and again."""

    def make(**options: Any) -> Checkpoints:
        about = options.pop("about", {"data": "d1"})
        return Checkpoints(tmp_path / "kept", about, say=said.append, **options)

    return make


@pytest.fixture
def begun(tiny_chat_model: Path, kept: Callable[..., Checkpoints]) -> Path:
    """The folder of a tuning that was stopped after three of its eight steps."""
    with pytest.raises(Stop):
        tuned(tiny_chat_model, kept(), stop_after=3)
    folder = kept().folder
    assert sorted(path.name for path in folder.iterdir()) == ["step-00000002", "step-00000003"]
    return folder


def cut(path: Path) -> None:
    path.write_bytes(path.read_bytes()[:100])


def flip(path: Path) -> None:
    content = bytearray(path.read_bytes())
    content[-5] ^= 1
    path.write_bytes(bytes(content))


def nothing(path: Path, key: str) -> None:
    path.write_text(json.dumps(json.loads(path.read_text()) | {key: None}))


@pytest.mark.parametrize(
    ("damage", "reason"),
    [
        (lambda folder: cut(folder / TENSORS), f"{TENSORS} is not as it was saved"),
        (lambda folder: flip(folder / TENSORS), f"{TENSORS} is not as it was saved"),
        (lambda folder: flip(folder / VALUES), f"{VALUES} is not as it was saved"),
        (lambda folder: (folder / VALUES).write_bytes(b""), f"{VALUES} is not as it was saved"),
        (lambda folder: (folder / TENSORS).unlink(), f"{TENSORS} is missing"),
        (lambda folder: (folder / MARKER).unlink(), f"{MARKER} is missing"),
        (lambda folder: cut(folder / MARKER), "it cannot be read"),
        (lambda folder: nothing(folder / MARKER, "about"), f"{MARKER} is not as it was saved"),
        (lambda folder: nothing(folder / MARKER, "step"), f"{MARKER} is not as it was saved"),
    ],
)
def test_T02_a_damaged_checkpoint_is_skipped_aloud_for_the_one_before(
    begun: Path,
    kept: Callable[..., Checkpoints],
    said: list[str],
    damage: Callable[[Path], Any],
    reason: str,
) -> None:
    damage(begun / "step-00000003")
    state = kept(about=_about(begun)).newest()
    assert state is not None
    assert len(state.values["losses"]) == 2
    assert "step-00000003" in said[-2]
    assert reason in said[-2]
    assert "after step 2" in said[-1]


def _about(folder: Path) -> dict[str, Any]:
    found: dict[str, Any] = json.loads((folder / "step-00000002" / MARKER).read_text())["about"]
    return found


def test_T02_without_a_whole_checkpoint_the_tuning_starts_over_aloud_with_the_same_end(
    tiny_chat_model: Path, begun: Path, kept: Callable[..., Checkpoints], said: list[str]
) -> None:
    for folder in begun.iterdir():
        flip(folder / TENSORS)
    result, small = tuned(tiny_chat_model, kept())
    assert "starts over" in said[-1]
    assert result.resumed == ()
    fresh = SmallModel.load(str(tiny_chat_model))
    tune(fresh, pairs(16), TuningSettings(**SETTINGS), seed=3)
    assert torch.equal(weights(small), weights(fresh))


@pytest.mark.parametrize(
    ("changed", "field"),
    [
        ({"about": {"data": "d2"}}, "data (d1, now d2)"),
        ({"learning_rate": 0.02}, "tuning.learning_rate (0.01, now 0.02)"),
        ({"seed": 4}, "seed (3, now 4)"),
        ({"version": "0.0.1"}, "torch ("),
        ({"base": "0123abc"}, "base ("),
    ],
)
def test_T03_a_checkpoint_of_another_tuning_is_refused_and_the_difference_named(
    tiny_chat_model: Path,
    begun: Path,
    kept: Callable[..., Checkpoints],
    monkeypatch: pytest.MonkeyPatch,
    changed: dict[str, Any],
    field: str,
) -> None:
    about = changed.pop("about", {"data": "d1"})
    if version := changed.pop("version", ""):
        monkeypatch.setattr("importlib.metadata.version", lambda name: version)
    if base := changed.pop("base", ""):
        load = SmallModel.load

        def other(ref: str) -> SmallModel:
            small = load(ref)
            small.identity["revision"] = base
            return small

        monkeypatch.setattr(SmallModel, "load", other)
    with pytest.raises(CheckpointError) as refused:
        tuned(tiny_chat_model, kept(about=about), **changed)
    assert field in refused.value.message
    assert "--force-resume" in refused.value.hint
    result, _ = tuned(tiny_chat_model, kept(about=about, force=True), **changed)
    assert len(result.losses) == STEPS
    assert any(field in found for found in result.resumed[0]["forced"])
    assert any("resumed by force after step 3" in note for note in result.notes())


def test_T03_a_base_with_another_config_is_another_base_though_its_weights_are_the_same(
    tiny_chat_model: Path, tmp_path: Path, kept: Callable[..., Checkpoints]
) -> None:
    base = tmp_path / "base"
    shutil.copytree(tiny_chat_model, base)
    with pytest.raises(Stop):
        tuned(base, kept(), stop_after=3)
    config = json.loads((base / "config.json").read_text())
    (base / "config.json").write_text(json.dumps(config | {"hidden_act": "relu"}))
    with pytest.raises(CheckpointError, match=r"these differ: base/config\.json \("):
        tuned(base, kept())
    result, _ = tuned(base, kept(force=True))
    assert result.resumed[0]["forced"][0].startswith("base/config.json (")


def test_T04_weights_that_are_not_finite_are_never_saved(
    tiny_chat_model: Path, kept: Callable[..., Checkpoints]
) -> None:
    small = SmallModel.load(str(tiny_chat_model))

    def overflow(done: int, total: int, loss: float) -> None:
        weight = next(p for p in small.model.parameters() if p.requires_grad)
        weight.data[0, 0] = float("inf")

    with pytest.raises(NonFiniteLossError, match="not finite after step 1"):
        tune(
            small,
            pairs(16),
            TuningSettings(**SETTINGS),
            seed=3,
            on_progress=overflow,
            checkpoints=kept(),
        )
    assert not kept().folder.exists()


@pytest.mark.faults("tmpfs")
def test_T08_a_full_disk_keeps_the_last_good_checkpoint(
    tmp_path: Path, tiny_chat_model: Path, said: list[str]
) -> None:
    def state(step: int) -> State:
        return State({"weight/a": torch.full((25_000,), float(step))}, {"step": step})

    with machine.mounted(tmp_path / "small", "size=250k") as place:
        kept = Checkpoints(place / "kept", {}, say=said.append)
        kept.save(1, state(1))
        kept.save(2, state(2))
        with pytest.raises(EnvironmentProblem, match="last good one: step-00000002") as problem:
            kept.save(3, state(3))
        assert "run the same command again" in problem.value.hint
        found = Checkpoints(place / "kept", {}, say=said.append).newest()
        assert found is not None
        assert found.values["step"] == 2
        assert not any(path.name.endswith(".part") for path in (place / "kept").iterdir())
        machine.remount(place, "size=500k")
        kept.save(3, state(3))
        names = sorted(path.name for path in (place / "kept").iterdir())
        assert names == ["step-00000002", "step-00000003"]


def test_T08_older_checkpoints_go_only_when_the_new_one_is_verified(
    kept: Callable[..., Checkpoints], monkeypatch: pytest.MonkeyPatch
) -> None:
    checkpoints = kept()
    for step in (1, 2):
        checkpoints.save(step, State({"weight/a": torch.ones(5)}, {}))

    def torn(path: Path) -> None:
        flip(path)

    monkeypatch.setattr(module, "sync", lambda path: torn(path) if path.is_file() else None)
    with pytest.raises(EnvironmentProblem, match="cannot be saved"):
        checkpoints.save(3, State({"weight/a": torch.ones(5)}, {}))
    assert sorted(p.name for p in checkpoints.folder.iterdir()) == [
        "step-00000001",
        "step-00000002",
    ]


def test_T08_one_of_the_same_step_stays_until_the_state_at_the_epochs_end_is_saved(
    kept: Callable[..., Checkpoints], monkeypatch: pytest.MonkeyPatch
) -> None:
    def state(epochs: int) -> State:
        return State({"weight/a": torch.ones(5)}, {"epochs": epochs})

    checkpoints = kept()
    checkpoints.save(8, state(0))
    with monkeypatch.context() as full:
        full.setattr(module, "sync", lambda path: flip(path) if path.is_file() else None)
        with pytest.raises(EnvironmentProblem, match="last good one: step-00000008"):
            checkpoints.save(8, state(1))
    found = kept().newest()
    assert found is not None
    assert found.values["epochs"] == 0
    checkpoints.save(8, state(1))
    found = kept().newest()
    assert found is not None
    assert found.values["epochs"] == 1


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT, signal.SIGHUP])
def test_T09_a_signal_saves_a_checkpoint_at_the_next_boundary_and_then_acts(
    tiny_chat_model: Path,
    kept: Callable[..., Checkpoints],
    monkeypatch: pytest.MonkeyPatch,
    number: signal.Signals,
) -> None:
    """Also when a checkpoint is not due for long."""
    calls = []

    def loss(small: SmallModel, rows: Sequence[Row], smoothing: float) -> torch.Tensor:
        calls.append(rows)
        if len(calls) == 3:
            os.kill(os.getpid(), number)
        return target_loss(small, rows, smoothing)

    acted: list[int] = []

    def handler(received: int, frame: object) -> None:
        acted.append(len(calls))
        raise Stop

    before = signal.signal(number, handler)
    try:
        monkeypatch.setattr("fiatkit.tuning.tuner.target_loss", loss)
        with pytest.raises(Stop):
            tuned(tiny_chat_model, kept(), checkpoint_every=100)
        assert signal.getsignal(number) is handler
    finally:
        signal.signal(number, before)
    assert acted == [3], "the third step was taken, no other was begun"
    assert [path.name for path in kept().folder.iterdir()] == ["step-00000003"]
    monkeypatch.undo()
    result, small = tuned(tiny_chat_model, kept())
    assert result.resumed[0]["step"] == 3
    fresh = SmallModel.load(str(tiny_chat_model))
    tune(fresh, pairs(16), TuningSettings(**SETTINGS), seed=3)
    assert torch.equal(weights(small), weights(fresh))


def test_T09_a_signal_while_dev_is_scored_need_not_wait(
    tiny_chat_model: Path, kept: Callable[..., Checkpoints]
) -> None:
    scored = []

    def dev_score() -> float:
        os.kill(os.getpid(), signal.SIGTERM)
        scored.append(True)
        return 1.0

    def handler(received: int, frame: object) -> None:
        raise Stop

    before = signal.signal(signal.SIGTERM, handler)
    try:
        with pytest.raises(Stop):
            tuned(tiny_chat_model, kept(), dev_score=dev_score, checkpoint_every=100)
    finally:
        signal.signal(signal.SIGTERM, before)
    assert scored == []
    assert [path.name for path in kept().folder.iterdir()] == ["step-00000004"]


def test_T06_where_memory_runs_out_less_goes_through_at_once_with_the_same_end(
    tiny_chat_model: Path, kept: Callable[..., Checkpoints], monkeypatch: pytest.MonkeyPatch
) -> None:
    def scarce(small: SmallModel, rows: Sequence[Row], smoothing: float) -> torch.Tensor:
        if len(rows) > 1:
            raise torch.OutOfMemoryError("CUDA out of memory. Tried to allocate 20.00 MiB")
        return target_loss(small, rows, smoothing)

    plain, _ = tuned(tiny_chat_model, kept(about={"plain": 1}))
    kept().remove()
    monkeypatch.setattr("fiatkit.tuning.tuner.target_loss", scarce)
    result, _ = tuned(tiny_chat_model, kept())
    assert [entry["step"] for entry in result.halved] == [1, 1]
    assert result.losses == pytest.approx(plain.losses, rel=1e-3)
    assert any("memory ran out at step 1" in note for note in result.notes())


def test_T06_after_three_halvings_it_ends_with_advice(
    tiny_chat_model: Path, kept: Callable[..., Checkpoints], monkeypatch: pytest.MonkeyPatch
) -> None:
    tries = []

    def none_left(small: SmallModel, rows: Sequence[Row], smoothing: float) -> torch.Tensor:
        tries.append(rows)
        raise torch.OutOfMemoryError("CUDA out of memory. Tried to allocate 20.00 MiB")

    monkeypatch.setattr("fiatkit.tuning.tuner.target_loss", none_left)
    with pytest.raises(EnvironmentProblem, match="after 3 halvings") as problem:
        tuned(tiny_chat_model, kept())
    assert len(tries) == 4
    assert "tuning.max_length" in problem.value.hint
    assert problem.value.exit_code == 4


def test_T11_another_number_of_threads_is_told_with_what_it_changes(
    tiny_chat_model: Path, begun: Path, kept: Callable[..., Checkpoints], said: list[str]
) -> None:
    load = SmallModel.load
    threads = torch.get_num_threads()

    def on_three_threads(ref: str) -> SmallModel:
        small = load(ref)
        torch.set_num_threads(3)
        return small

    try:
        with pytest.MonkeyPatch.context() as patched:
            patched.setattr(SmallModel, "load", on_three_threads)
            result, _ = tuned(tiny_chat_model, kept())
    finally:
        torch.set_num_threads(threads)
    assert result.environment["threads"] == 3
    assert result.environment["torch"] == torch.__version__
    told = next(line for line in said if "resumed with 3" in line)
    assert "the gradient of the next step differs by " in told
    assert told in result.notes()


def test_T11_the_same_number_of_threads_is_not_mentioned(
    tiny_chat_model: Path, begun: Path, kept: Callable[..., Checkpoints]
) -> None:
    result, _ = tuned(tiny_chat_model, kept())
    assert result.resumed[0]["apart"] == ""
    assert result.notes() == []

"""The tuner: gradients equal to the plain way, loss where it belongs, seeds, stops, best epoch."""

from collections.abc import Callable
from pathlib import Path

import pytest
import torch

from fiatkit.errors import NonFiniteLossError, UsageError
from fiatkit.models.local import SmallModel
from fiatkit.records import Part, SmallPrompt, TrainingPair
from fiatkit.tuning import Checkpoints, TuningSettings, tune
from fiatkit.tuning.tuner import Row, encode_rows, steps, target_loss, weighted


def pair(number: int, text: str, target: str) -> TrainingPair:
    return TrainingPair(
        SmallPrompt(f"r{number}", (Part("query", text), Part("cue", "\n\nAnswer:"))), target
    )


PAIRS = [
    pair(i, f"{'sun' if i % 2 else 'ice'} " * (i + 1), ["cold", "warm now"][i % 2])
    for i in range(8)
]


@pytest.fixture(params=["tiny_chat_model", "tiny_plain_model"])
def load(request: pytest.FixtureRequest) -> Callable[[], SmallModel]:
    path: Path = request.getfixturevalue(request.param)
    return lambda: SmallModel.load(str(path))


def gradients(model: torch.nn.Module) -> dict[str, torch.Tensor]:
    return {n: p.grad.clone() for n, p in model.named_parameters() if p.grad is not None}


def plain_loss(small: SmallModel, rows: list[Row]) -> torch.Tensor:
    """The plain way: labels over the whole row, the head on every position, padding masked."""
    total = torch.zeros(())
    for row in rows:
        ids = torch.tensor([[*row.prompt, *row.target]])
        labels = torch.tensor([[-100] * len(row.prompt) + list(row.target)])
        mean = small.model(input_ids=ids, labels=labels).loss
        total = total + mean * len(row.target)
    return total


def test_loss_and_gradient_equal_the_plain_way(load: Callable[[], SmallModel]) -> None:
    small = load()
    small.model.requires_grad_(True)
    rows, _, _ = encode_rows(small, PAIRS, 400)
    ours = target_loss(small, rows)
    ours.backward()
    ours_gradients = gradients(small.model)
    small.model.zero_grad()
    theirs = plain_loss(small, rows)
    theirs.backward()
    assert float(ours) == pytest.approx(float(theirs), rel=1e-5)
    for name, gradient in gradients(small.model).items():
        torch.testing.assert_close(ours_gradients[name], gradient, rtol=1e-3, atol=1e-5)


def test_T12_the_target_ends_with_a_trained_stop_token(load: Callable[[], SmallModel]) -> None:
    small = load()
    rows, _, _ = encode_rows(small, PAIRS, 400)
    assert all(row.target[-1] == small.stop_id for row in rows)
    assert all(small.stop_id not in row.target[:-1] for row in rows)


def test_T13_padding_is_masked_by_position_where_pad_is_the_stop_token(
    load: Callable[[], SmallModel],
) -> None:
    small = load()
    assert small.tokenizer.pad_token_id == small.stop_id
    rows, _, _ = encode_rows(small, PAIRS, 400)
    with torch.inference_mode():
        together = float(target_loss(small, rows))
        alone = sum(float(target_loss(small, [row])) for row in rows)
    assert together == pytest.approx(alone, rel=1e-5)


def test_parts_of_a_step_give_the_gradient_of_the_whole(load: Callable[[], SmallModel]) -> None:
    weights = []
    for batch_tokens in (10_000, 40):
        small = load()
        settings = TuningSettings(epochs=1, batch_rows=8, batch_tokens=batch_tokens, method="full")
        tune(small, PAIRS, settings, seed=0)
        weights.append([p.detach().clone() for p in small.model.parameters()])
    for one, other in zip(*weights, strict=True):
        torch.testing.assert_close(one, other, rtol=1e-4, atol=1e-5)


def test_the_same_seed_gives_the_same_bytes_and_another_seed_does_not(
    load: Callable[[], SmallModel],
) -> None:
    found = []
    for seed in (1, 1, 2):
        small = load()
        tune(small, PAIRS, TuningSettings(epochs=2, batch_rows=4), seed=seed)
        found.append(torch.cat([p.detach().flatten() for p in small.model.parameters()]))
    assert torch.equal(found[0], found[1])
    assert not torch.equal(found[0], found[2])


def test_lora_leaves_the_base_as_it_was(load: Callable[[], SmallModel]) -> None:
    small = load()
    before = {n: p.detach().clone() for n, p in small.model.named_parameters()}
    tune(small, PAIRS, TuningSettings(epochs=2, learning_rate=0.01), seed=0)
    after = {n.replace(".base_layer", ""): p for n, p in small.core.named_parameters()}
    assert all(torch.equal(after[name], weight) for name, weight in before.items())
    trainable = [n for n, p in small.model.named_parameters() if p.requires_grad]
    assert trainable and all("lora_" in name for name in trainable)


def check_overfits(small: SmallModel, settings: TuningSettings) -> None:
    """Tune on eight rows until the model writes each target and stops."""
    result = tune(small, PAIRS, settings, seed=0)
    assert result.history[-1]["loss"] < 0.05
    encoded = [small.encode(p.prompt, max_length=400, reserve=8) for p in PAIRS]
    written = small.generate(encoded, max_new_tokens=8, batch_tokens=500)
    assert [text.strip() for text, stopped in written if stopped] == [p.target for p in PAIRS]


def test_a_tiny_model_overfits_eight_rows(load: Callable[[], SmallModel]) -> None:
    check_overfits(load(), TuningSettings(method="full", epochs=80, learning_rate=0.01))


def test_lora_learns_on_a_tiny_model(load: Callable[[], SmallModel]) -> None:
    result = tune(load(), PAIRS, TuningSettings(epochs=20, learning_rate=0.05), seed=0)
    assert result.history[-1]["loss"] < result.history[0]["loss"] / 2


@pytest.mark.weights
def test_lora_overfits_eight_rows_on_real_weights() -> None:
    check_overfits(SmallModel.load("smollm2-135m"), TuningSettings(epochs=16, learning_rate=1e-3))


def test_the_best_epoch_is_kept(load: Callable[[], SmallModel]) -> None:
    small = load()
    scores = iter([10.0, 90.0, 50.0])
    kept: list[torch.Tensor] = []

    def dev_score() -> float:
        kept.append(torch.cat([p.detach().flatten() for p in small.model.parameters()]))
        return next(scores)

    settings = TuningSettings(epochs=3, learning_rate=0.01)
    result = tune(small, PAIRS, settings, seed=0, dev_score=dev_score)
    assert (result.best_epoch, result.best_score) == (2, 90.0)
    now = torch.cat([p.detach().flatten() for p in small.model.parameters()])
    assert torch.equal(now, kept[1])
    assert not torch.equal(now, kept[2])


def test_patience_stops_early(load: Callable[[], SmallModel]) -> None:
    settings = TuningSettings(epochs=9, patience=2)
    result = tune(load(), PAIRS, settings, seed=0, dev_score=lambda: 1.0)
    assert len(result.history) == 3


def test_without_clip_a_step_is_that_of_a_limit_that_is_never_reached(
    load: Callable[[], SmallModel], tmp_path: Path
) -> None:
    found = []
    for clip in (None, 1e9, 1e-3):
        small = load()
        kept = Checkpoints(tmp_path / str(clip), {}, say=lambda text: None)
        settings = TuningSettings(epochs=1, learning_rate=0.01, clip=clip)
        tune(small, PAIRS, settings, seed=0, checkpoints=kept)
        found.append(torch.cat([p.detach().flatten() for p in small.model.parameters()]))
    assert torch.equal(found[0], found[1])
    assert not torch.equal(found[0], found[2])


def test_T04_a_loss_that_is_not_finite_stops_within_one_step(
    load: Callable[[], SmallModel], monkeypatch: pytest.MonkeyPatch
) -> None:
    small = load()
    calls = []

    def broken(model: SmallModel, rows: list[Row], smoothing: float) -> torch.Tensor:
        calls.append(rows)
        loss = target_loss(model, rows, smoothing)
        return loss * float("nan") if len(calls) == 2 else loss

    before: list[torch.Tensor] = []

    def told(done: int, total: int, loss: float) -> None:
        before.append(torch.cat([p.detach().flatten() for p in small.model.parameters()]))

    monkeypatch.setattr("fiatkit.tuning.tuner.target_loss", broken)
    with pytest.raises(NonFiniteLossError, match=r"rows r\d"):
        tune(small, PAIRS, TuningSettings(epochs=2, batch_rows=4), seed=0, on_progress=told)
    assert len(calls) == 2
    now = torch.cat([p.detach().flatten() for p in small.model.parameters()])
    assert torch.equal(now, before[0]), "the weights are those after the last good step"


def test_T07_no_usable_row_is_told_before_training(load: Callable[[], SmallModel]) -> None:
    with pytest.raises(UsageError, match="longer than 16 tokens"):
        tune(load(), [pair(0, "word " * 99, "x")], TuningSettings(max_length=16), seed=0)
    with pytest.raises(UsageError, match="None of the 0"):
        tune(load(), [], TuningSettings(), seed=0)


def test_rows_that_are_too_long_are_counted(load: Callable[[], SmallModel]) -> None:
    long = pair(99, "word " * 300, "x")
    result = tune(load(), [*PAIRS, long], TuningSettings(epochs=1, max_length=200), seed=0)
    assert result.skipped == {"too_long": 1}


def test_balanced_classes_weigh_the_same_in_loss_and_gradient(
    load: Callable[[], SmallModel],
) -> None:
    """One warm row among four cold ones counts as much as all of these."""
    small = load()
    small.model.requires_grad_(True)
    pairs = [pair(i, "sun " * (i + 1), "warm now" if i == 0 else "cold") for i in range(5)]
    rows, _, _ = encode_rows(small, pairs, 400)
    rows = weighted(rows, pairs, TuningSettings(class_weights="balanced"))
    assert [row.weight for row in rows] == [2.5] + [0.625] * 4
    ours = target_loss(small, rows)
    ours.backward()
    found = gradients(small.model)
    small.model.zero_grad()
    theirs = sum((plain_loss(small, [row]) * row.weight for row in rows), torch.zeros(()))
    theirs.backward()
    assert float(ours) == pytest.approx(float(theirs), rel=1e-5)
    for name, gradient in gradients(small.model).items():
        torch.testing.assert_close(found[name], gradient, rtol=1e-3, atol=1e-5)


def test_weights_and_smoothing_reach_the_loss_that_is_stepped_on(
    load: Callable[[], SmallModel],
) -> None:
    """The first step's loss is that of the untouched model, with the settings' own weights."""
    found: list[float] = []
    for values in (
        {},
        {"class_weights": "balanced"},
        {"class_weights": {"cold": 1, "warm now": 9}},
        {"label_smoothing": 0.3},
    ):
        settings = TuningSettings.model_validate({"epochs": 1, "batch_rows": 8, **values})
        small = load()
        rows, _, _ = encode_rows(small, PAIRS[:7], 400)
        rows = weighted(rows, PAIRS, settings)
        with torch.inference_mode():
            whole = float(target_loss(small, rows, settings.label_smoothing))
        result = tune(small, PAIRS[:7], settings, seed=0)
        mean = whole / sum(len(row.target) for row in rows)
        assert result.history[0]["loss"] == pytest.approx(mean, rel=1e-4)
        assert all(mean != pytest.approx(other, rel=1e-3) for other in found)
        found.append(mean)


def test_each_epoch_sees_each_row_once_in_an_order_of_its_own() -> None:
    rows = [Row(str(i), (1,) * (i % 7 + 1), (2,)) for i in range(50)]
    first, second = (list(steps(rows, 8, 0, epoch)) for epoch in (1, 2))
    for epoch in (first, second):
        assert sorted(row.query_id for step in epoch for row in step) == sorted(
            str(i) for i in range(50)
        )
        assert all(len(step) <= 8 for step in epoch)
    assert first != second
    assert first == list(steps(rows, 8, 0, 1))


def test_T12_a_target_of_fifty_thousand_tokens_is_dropped_and_counted(
    load: Callable[[], SmallModel],
) -> None:
    poisoned = pair(99, "sun", "endless " * 50_000)
    result = tune(load(), [*PAIRS, poisoned], TuningSettings(epochs=1), seed=0)
    assert result.skipped == {"too_long": 1}
    assert result.tokens < 1000


def test_T13_a_tokenizer_without_a_pad_token_trains_alike(load: Callable[[], SmallModel]) -> None:
    losses = []
    for padded in (True, False):
        small = load()
        if not padded:
            small.tokenizer.pad_token = None
            small.model.config.pad_token_id = None
        losses.append(tune(small, PAIRS, TuningSettings(epochs=1), seed=0).losses)
    assert losses[0] == losses[1]

"""Tuning an encoder-decoder: loss and gradient of transformers itself, and what is saved answers
the same."""

from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from fiatkit import artefact
from fiatkit.models.local import SmallModel
from fiatkit.records import Part, SmallPrompt, TrainingPair
from fiatkit.tuning import TuningSettings, tune
from fiatkit.tuning.tuner import Row, encode_rows, target_loss
from tests.artefact.conftest import prepared

PAIRS = [
    TrainingPair(
        SmallPrompt(
            f"r{i}",
            (Part("query", f"{'sun' if i % 2 else 'ice'} " * (i + 1)), Part("cue", "\n\nAnswer:")),
        ),
        ["cold", "warm now"][i % 2],
    )
    for i in range(6)
]


@pytest.fixture(params=["tiny_t5_model", "tiny_mt5_model"])
def folder(request: pytest.FixtureRequest) -> Path:
    path: Path = request.getfixturevalue(request.param)
    return path


def padded(rows: list[tuple[int, ...]], fill: int) -> torch.Tensor:
    width = max(map(len, rows))
    return torch.tensor([[*row, *[fill] * (width - len(row))] for row in rows])


def plain_loss(small: SmallModel, rows: list[Row]) -> torch.Tensor:
    """What the documentation of transformers says: ids, mask, labels with -100 as padding."""
    ids = padded([row.prompt for row in rows], 0)
    mask = padded([(1,) * len(row.prompt) for row in rows], 0)
    labels = padded([row.target for row in rows], -100)
    found: Any = small.model(input_ids=ids, attention_mask=mask, labels=labels).loss
    return found * sum(len(row.target) for row in rows)


def gradients(model: torch.nn.Module) -> dict[str, torch.Tensor]:
    return {n: p.grad.clone() for n, p in model.named_parameters() if p.grad is not None}


def test_loss_and_gradient_equal_the_plain_way(folder: Path) -> None:
    small = SmallModel.load(str(folder))
    small.model.requires_grad_(True)
    rows, _, _ = encode_rows(small, PAIRS, 400)
    ours = target_loss(small, rows)
    ours.backward()
    found = gradients(small.model)
    small.model.zero_grad()
    theirs = plain_loss(small, rows)
    theirs.backward()
    assert float(ours.detach()) == pytest.approx(float(theirs.detach()), rel=1e-5)
    expected = gradients(small.model)
    assert set(found) == set(expected) == {name for name, _ in small.model.named_parameters()}
    for name, gradient in expected.items():
        torch.testing.assert_close(found[name], gradient, rtol=1e-3, atol=1e-4)


def test_T13_padding_changes_no_loss_though_it_is_the_start_token(folder: Path) -> None:
    small = SmallModel.load(str(folder))
    rows, _, _ = encode_rows(small, PAIRS, 400)
    with torch.inference_mode():
        together = float(target_loss(small, rows))
        alone = sum(float(target_loss(small, [row])) for row in rows)
    assert together == pytest.approx(alone, rel=1e-5)


def test_T12_the_target_ends_with_a_trained_stop_token(folder: Path) -> None:
    small = SmallModel.load(str(folder))
    rows, _, _ = encode_rows(small, PAIRS, 400)
    assert all(row.target.index(small.stop_id) == len(row.target) - 1 for row in rows)


def answers(small: SmallModel) -> tuple[Any, list[tuple[str, bool]]]:
    encoded = [small.encode(pair.prompt, max_length=400, reserve=8) for pair in PAIRS]
    return (
        small.score_labels(encoded, ["warm now", "cold"], batch_tokens=200),
        small.generate(encoded, max_new_tokens=16, batch_tokens=200),
    )


@pytest.mark.parametrize("method", ["lora", "full"])
def test_tuned_saved_and_loaded_it_answers_the_same(
    folder: Path, tmp_path: Path, method: str
) -> None:
    small = SmallModel.load(str(folder))
    before, _ = answers(small)
    base = {name: weight.clone() for name, weight in small.core.named_parameters()}
    settings = TuningSettings.model_validate(
        {"method": method, "epochs": 30, "learning_rate": 0.02, "batch_rows": 6}
    )
    result = tune(small, PAIRS, settings, seed=0)
    assert result.history[-1]["loss"] < result.history[0]["loss"] / 4
    scores, texts = answers(small)
    assert np.abs(scores - before).max() > 1
    if method == "full":
        assert [text for text, stopped in texts if stopped] == [pair.target for pair in PAIRS]
    else:
        tuned = {n.replace(".base_layer", ""): w for n, w in small.core.named_parameters()}
        assert all(torch.equal(tuned[name], weight) for name, weight in base.items())

    artefact.save(tmp_path / "model", small, prepared(folder, method))
    loaded, _ = artefact.load(tmp_path / "model")
    again, texts_again = answers(loaded)
    np.testing.assert_array_equal(again, scores)
    assert texts_again == texts


def test_the_same_seed_gives_the_same_bytes(folder: Path) -> None:
    found = []
    for seed in (1, 1, 2):
        small = SmallModel.load(str(folder))
        small.core.config.dropout_rate = 0.1
        for module in small.core.modules():
            if isinstance(module, torch.nn.Dropout):
                module.p = 0.1
        tune(small, PAIRS, TuningSettings(epochs=2, batch_rows=3), seed=seed)
        found.append(torch.cat([w.detach().flatten() for w in small.model.parameters()]))
    assert torch.equal(found[0], found[1])
    assert not torch.equal(found[0], found[2])

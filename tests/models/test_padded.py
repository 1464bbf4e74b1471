"""Rows that cannot be packed: read together, each has the numbers of the model's own forward."""

from pathlib import Path
from typing import Any

import pytest
import torch
from tests.conftest import CHATML, make_model

from fiatkit import registry
from fiatkit.errors import ModelFileError
from fiatkit.models import _scoring, local
from fiatkit.models._causal import Caching, CausalReading, WholeReading
from fiatkit.models._packed_causal import PackedCausal
from fiatkit.models.local import Encoded, SmallModel
from fiatkit.tuning import TuningSettings

LABELS = ["warm", "cold", "late it is"]
LENGTHS = (3, 9, 9, 30, 44, 60)
KINDS: dict[str, dict[str, Any]] = {
    "Gemma2": {"head_dim": 8, "query_pre_attn_scalar": 8, "sliding_window": 40},
    "GptOss": {
        "head_dim": 8,
        "num_local_experts": 2,
        "num_experts_per_tok": 1,
        "sliding_window": 8,
    },
    "GPTNeo": {
        "num_layers": 2,
        "num_heads": 4,
        "attention_types": [[["global", "local"], 1]],
        "window_size": 40,
    },
    "Lfm2": {"layer_types": ["conv", "full_attention"]},
    "Jamba": {"attn_layer_period": 2, "attn_layer_offset": 1, "num_experts": 2},
    "FalconH1": {
        "mamba_d_ssm": 32,
        "mamba_n_heads": 4,
        "mamba_d_head": 8,
        "mamba_d_state": 8,
        "head_dim": 8,
    },
    "Mamba": {"state_size": 4},
}


def loaded(folder: Path, kind: str, **more: Any) -> SmallModel:
    return SmallModel.load(str(make_model(folder, CHATML, kind, **more)), device="cpu")


def prompts(small: SmallModel) -> list[Encoded]:
    generator = torch.Generator().manual_seed(1)
    return [
        Encoded(str(n), tuple(torch.randint(3, 300, (length,), generator=generator).tolist()))
        for n, length in enumerate(LENGTHS)
    ]


def own_scores(small: SmallModel, encoded: list[Encoded]) -> torch.Tensor:
    """By the whole forward of transformers or peft, one row after the other."""
    found = torch.zeros(len(encoded), len(LABELS))
    with torch.inference_mode():
        for line, prompt in enumerate(encoded):
            for column, label in enumerate(LABELS):
                target = small.encode_target(label)
                ids = torch.tensor([[*prompt.ids, *target[:-1]]])
                logs = small.model(input_ids=ids, use_cache=False).logits[0].log_softmax(-1)
                steps = logs[-len(target) :].gather(1, torch.tensor(target)[:, None])
                found[line, column] = steps.sum()
    return found


def own_answers(small: SmallModel, encoded: list[Encoded], limit: int) -> list[str]:
    """Greedily, every token by the whole forward of one row."""
    found = []
    with torch.inference_mode():
        for prompt in encoded:
            ids = list(prompt.ids)
            while len(ids) < len(prompt.ids) + limit and ids[-1] != small.stop_id:
                logits = small.model(input_ids=torch.tensor([ids]), use_cache=False).logits
                ids.append(int(logits[0, -1].argmax()))
            new = [token for token in ids[len(prompt.ids) :] if token != small.stop_id]
            found.append(small.tokenizer.decode(new, skip_special_tokens=True))
    return found


def check_exact(small: SmallModel) -> None:
    encoded = prompts(small)
    assert not small.packs
    scores = torch.tensor(small.score_labels(encoded, LABELS, batch_tokens=4096)).float()
    assert torch.allclose(scores, own_scores(small, encoded), atol=1e-3)
    answers = small.generate(encoded, max_new_tokens=12, batch_tokens=4096)
    assert [text for text, _ in answers] == own_answers(small, encoded, 12)


@pytest.mark.parametrize("kind", KINDS)
def test_unequal_rows_are_answered_as_each_alone(tmp_path: Path, kind: str) -> None:
    check_exact(loaded(tmp_path, kind, **KINDS[kind]))


@pytest.mark.parametrize("window", [8, 40])
def test_unequal_rows_behind_trained_embeddings_are_answered_as_each_alone(
    tmp_path: Path, window: int
) -> None:
    small = loaded(tmp_path, "Mistral", sliding_window=window)
    assert small.packs
    settings = TuningSettings(method="prompt_tuning", virtual_tokens=5)
    small.model = registry.get("tuning.methods", "prompt_tuning").attach(small.model, settings, "x")
    small.model.eval()
    small.check_packing([((5, 6), (7, small.stop_id))])
    check_exact(small)


@pytest.mark.parametrize("kind", ["Gemma2", "GPTNeo", "Mamba"])
def test_many_labels_are_scored_a_few_at_a_time(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, kind: str
) -> None:
    """Else each prompt's keys and values would be held once for each of two hundred labels."""
    small = loaded(tmp_path, kind, **KINDS[kind])
    encoded = prompts(small)
    labels = [f"{word} {number}" for word in ("warm", "cold") for number in range(100)]
    whole = small.score_labels(encoded, labels, batch_tokens=4096)
    held: list[int] = []
    for reading in (CausalReading, WholeReading):
        extend = reading.extend

        def watched(self: Any, ids: torch.Tensor, extend: Any = extend) -> torch.Tensor:
            held.append(len(ids))
            return extend(self, ids)

        monkeypatch.setattr(reading, "extend", watched)
    monkeypatch.setattr(_scoring, "SIDE_BY_SIDE", 60)
    monkeypatch.setattr(_scoring, "LOGITS_AT_ONCE", 1 << 12)
    again = small.score_labels(encoded, labels, batch_tokens=4096)
    assert max(held) <= 60 // min(LENGTHS)
    assert torch.allclose(torch.tensor(again), torch.tensor(whole), atol=1e-4)


def test_rows_within_the_window_still_share_a_batch(tmp_path: Path) -> None:
    network = loaded(tmp_path, "Gemma2", **KINDS["Gemma2"]).network
    rows = [(0,) * length for length in LENGTHS]
    assert list(network.batches(rows, 4096, extra=10)) == [[0, 1, 2, 3], [4], [5]]
    assert list(network.batches(rows, 4096)) == [[0, 1, 2, 3, 4, 5]]  # no answer grows behind


@pytest.mark.parametrize("kind", ["Gemma2", "GPTNeo", "Lfm2", "Mamba"])
def test_the_gradient_of_unequal_rows_is_that_of_each_alone(tmp_path: Path, kind: str) -> None:
    small = loaded(tmp_path, kind, **KINDS[kind])
    small.model.train(False)
    rows = [(prompt.ids, small.encode_target("late it is")) for prompt in prompts(small)]
    stacked = [torch.tensor(target) for _, target in rows]

    def gradient(batches: list[list[int]]) -> dict[str, torch.Tensor]:
        small.model.zero_grad()
        for batch in batches:
            logits = small.logits(small.before_targets([rows[index] for index in batch]))
            goal = torch.cat([stacked[index] for index in batch])
            torch.nn.functional.cross_entropy(logits, goal, reduction="sum").backward()
        weights = small.model.named_parameters()
        return {name: w.grad.clone() for name, w in weights if w.grad is not None}

    alone = gradient([[index] for index in range(len(rows))])
    for name, found in gradient([list(range(len(rows)))]).items():
        near = 1e-4 * float(alone[name].abs().max()) + 1e-6
        assert torch.allclose(found, alone[name], atol=near, rtol=1e-3), name


def test_a_cache_that_cannot_be_used_is_not(tmp_path: Path) -> None:
    small = loaded(tmp_path, "Mamba", **KINDS["Mamba"])
    assert small.caching == Caching(usable=False)
    assert isinstance(small.network.read([(3, 4, 5)]), WholeReading)


def test_a_base_with_dropout_in_its_attention_is_padded(tmp_path: Path) -> None:
    """It computes without in evaluation mode, in which it is loaded, but not in training."""
    small = loaded(tmp_path, "Llama", attention_dropout=0.1)
    assert not small.packs and not small.model.training
    small.model.train()
    rows = [((3, 4, 5), (6, small.stop_id)), ((3, 4, 5, 7), (6, small.stop_id))]
    assert small.before_targets(rows).shape[0] == 4
    small = loaded(tmp_path / "without", "Llama")
    assert isinstance(small.network, PackedCausal) and not small.model.training


def test_a_model_that_cannot_compute_the_rows_is_refused(tiny_chat_model: Path) -> None:
    small = SmallModel.load(str(tiny_chat_model), device="cpu")

    def broken(*args: object, **inputs: object) -> object:
        raise AttributeError("'LinearAttentionLayer' has no attribute 'keys'")

    small.core.model.layers[1].forward = broken
    with pytest.raises(ModelFileError, match=r'"LlamaForCausalLM" \(AttributeError: .Linear.*keys'):
        SmallModel(small.core, small.tokenizer, small.identity)


def test_a_model_whose_rows_depend_on_their_neighbours_is_refused(tiny_chat_model: Path) -> None:
    small = SmallModel.load(str(tiny_chat_model), device="cpu")
    layer = small.core.model.layers[0]
    forward = layer.forward
    layer.forward = lambda states, **more: forward(states, **more) * states.shape[0]
    with pytest.raises(ModelFileError, match="computes a row otherwise among others than alone"):
        SmallModel(small.core, small.tokenizer, small.identity)


@pytest.mark.parametrize("kind", ["Llama", "Qwen3", "Mistral", "Gemma3Text", *KINDS])
@pytest.mark.parametrize("precision", [torch.bfloat16, torch.float16])
def test_in_half_precision_a_model_is_computed_in_the_same_way(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, kind: str, precision: torch.dtype
) -> None:
    """A GPU computes so: what the order of sums changes there is not taken for another answer,
    and ways that give another answer are still found out."""
    more = {"Qwen3": {"head_dim": 8}, "Gemma3Text": {"head_dim": 8}, "Mistral": {}, "Llama": {}}
    more |= KINDS
    exact = loaded(tmp_path, kind, num_hidden_layers=2, **more[kind])
    monkeypatch.setattr(local, "precision", lambda device: precision)
    if kind in ("Mamba",):  # transformers' own code multiplies two precisions there
        with pytest.raises(ModelFileError, match="same dtype"):
            SmallModel.load(str(tmp_path), device="cpu")
        return
    half = SmallModel.load(str(tmp_path), device="cpu")
    assert half.core.dtype == precision
    assert (half.packs, half.caching) == (exact.packs, exact.caching)


@pytest.mark.weights
def test_a_real_model_packs_in_half_precision(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(local, "precision", lambda device: torch.bfloat16)
    small = SmallModel.load("smollm2-135m", device="cpu")
    assert small.packs and small.caching == Caching()

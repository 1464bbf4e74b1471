"""Packed rows have the states, scores, answers and gradients that each row has alone."""

from pathlib import Path

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from fiatkit.models import _packed_causal
from fiatkit.models._causal import Causal
from fiatkit.models._packed import Branches, batches, pack
from fiatkit.models._packed_causal import PackedCausal
from fiatkit.models.local import SmallModel

rows_of_ids = st.lists(
    st.lists(st.integers(0, 2), min_size=1, max_size=40).map(tuple), min_size=1, max_size=12
)


def config_of(kind: str, **more: object) -> object:
    import transformers

    sizes = {
        "vocab_size": 97,
        "hidden_size": 32,
        "intermediate_size": 48,
        "num_hidden_layers": 3,
        "num_attention_heads": 4,
        "num_key_value_heads": 2,
        "max_position_embeddings": 256,
        "initializer_range": 0.3,
        "eos_token_id": 1,
        "pad_token_id": 0,
        "bos_token_id": None,
    }
    extra = {
        "LlamaConfig": {},
        "Qwen2Config": {},
        "MistralConfig": {"sliding_window": 11},
        "Gemma3TextConfig": {
            "head_dim": 8,
            "sliding_window": 9,
            "layer_types": ["sliding_attention", "full_attention", "sliding_attention"],
            "query_pre_attn_scalar": 8,
        },
        "Phi3Config": {},
    }
    return getattr(transformers, kind)(**sizes, **extra[kind], **more)


def model_of(kind: str) -> torch.nn.Module:
    import transformers

    torch.manual_seed(0)
    return transformers.AutoModelForCausalLM.from_config(config_of(kind)).eval()


KINDS = ["LlamaConfig", "Qwen2Config", "MistralConfig", "Gemma3TextConfig", "Phi3Config"]
SHARED = tuple(range(5, 20))
PASSAGE = tuple(range(40, 60))
PAIRS = [
    ((*SHARED, *PASSAGE, 7, 8), (9, 10, 1)),
    ((*SHARED, *PASSAGE, 9), (9, 1)),
    ((*SHARED, 30, 31, 32, 33, 34), (9, 10, 11, 1)),
    ((*SHARED, *PASSAGE, 7, 8), (9, 10, 1)),  # the first again
    ((*SHARED, *PASSAGE, 7, 8), (9, 12, 1)),  # its prompt again
    ((3, 4), (1,)),
]


@given(rows_of_ids)
@settings(max_examples=200, deadline=None)
def test_a_layout_holds_every_row_at_its_positions(rows: list[tuple[int, ...]]) -> None:
    packed = pack(rows)
    for index, row in enumerate(rows):
        places = packed.places(index)
        assert [packed.ids[place] for place in places] == list(row)
        assert [packed.positions[place] for place in places] == list(range(len(row)))
    assert len(packed.ids) <= sum(map(len, rows))
    assert len(packed.ids) == sum(part.end - part.start for part in packed.segments)


def test_what_is_shared_is_held_once_at_every_depth() -> None:
    rows = [(*prompt, *target[:-1]) for prompt, target in PAIRS]
    packed = pack(rows)
    assert packed.ids.count(SHARED[0]) == 1
    assert packed.ids.count(PASSAGE[0]) == 1
    assert len(pack(rows, share=False).ids) == sum(map(len, rows))


@given(rows_of_ids, st.integers(1, 60))
@settings(max_examples=100, deadline=None)
def test_batches_hold_every_row_once_within_the_budget(
    rows: list[tuple[int, ...]], tokens: int
) -> None:
    found = list(batches(rows, tokens, extra=3))
    assert sorted(index for batch in found for index in batch) == list(range(len(rows)))
    for batch in found:
        computed = len(
            pack([rows[index] for index in batch], Branches((0, 0, 0), (-1, 0, 1), (0, 1, 2))).ids
        )
        shared_too_short_to_hold_once = 8 * len(batch)
        assert len(batch) == 1 or computed <= tokens + shared_too_short_to_hold_once


def test_branches_hold_shared_beginnings_once() -> None:
    found = Branches.of([(5, 6), (5, 7, 8), (), (9,)])
    assert found.tokens == (5, 6, 7, 8, 9)
    assert found.paths == ((0, 1), (0, 2, 3), (), (4,))
    assert found.sees()[3].tolist() == [True, False, True, True, False]


@pytest.mark.parametrize("kind", KINDS)
def test_states_scores_and_answers_are_those_of_each_row_alone(
    kind: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(_packed_causal, "ROOM", 3)  # answers outgrow it
    model = model_of(kind)
    plain, packed = Causal(model), PackedCausal(model)
    prompts = [prompt for prompt, _ in PAIRS]
    labels = [(9, 10, 1), (9, 1), (9, 10, 11, 1), (1,), (22, 1)]
    with torch.inference_mode():
        alone = torch.cat([plain.before_targets([pair]) for pair in PAIRS])
        assert torch.allclose(packed.before_targets(PAIRS), alone, atol=1e-4)
        scores = torch.cat([plain.score([prompt], labels) for prompt in prompts])
        assert torch.allclose(packed.score(prompts, labels), scores, atol=1e-4)
        together = packed.read(prompts)
        readings = [plain.read([prompt]) for prompt in prompts]
        last, apart = together.last, torch.cat([reading.last for reading in readings])
        for _ in range(14):
            assert torch.allclose(last, apart, atol=1e-3)
            chosen = plain.logits(apart).argmax(-1)
            last = together.extend(chosen[:, None])[:, -1]
            steps = zip(readings, chosen, strict=True)
            apart = torch.cat([reading.extend(one[None, None])[:, -1] for reading, one in steps])


@pytest.mark.parametrize("kind", KINDS)
def test_gradients_are_those_of_the_plain_way(kind: str) -> None:
    model = model_of(kind)
    goal = torch.tensor([token for _, target in PAIRS for token in target])

    def gradients(network: Causal) -> dict[str, torch.Tensor]:
        logits = network.logits(network.before_targets(PAIRS))
        torch.nn.functional.cross_entropy(logits, goal, reduction="sum").backward()
        found = {name: p.grad.clone() for name, p in model.named_parameters()}
        model.zero_grad()
        return found

    plain, packed = gradients(Causal(model)), gradients(PackedCausal(model))
    for name, gradient in plain.items():
        near = 1e-5 * float(gradient.abs().max()) + 1e-6
        assert torch.allclose(packed[name], gradient, atol=near, rtol=1e-3), name


def test_an_architecture_that_cannot_pack_is_padded(tiny_chat_model: Path) -> None:
    small = SmallModel.load(str(tiny_chat_model), device="cpu")
    assert small.packs and isinstance(small.network, PackedCausal)
    rows = [((3, 4, 5, 6), (7, small.stop_id)), ((3, 4, 5, 9, 9), (small.stop_id,))]
    small.core.model.layers[0].self_attn.attention_dropout = 0.5
    small.core.train()
    assert not small.check_packing(rows)
    assert type(small.network) is Causal


def test_an_attention_that_ignores_the_layout_is_found_out(tiny_chat_model: Path) -> None:
    small = SmallModel.load(str(tiny_chat_model), device="cpu")
    prefix = tuple(range(3, 20))
    rows = [((*prefix, 4), (7, small.stop_id)), ((*prefix, 9, 9), (8, small.stop_id))]
    body = small.core.model
    forward = body.forward

    def deaf(packed: object = None, **inputs: object) -> object:
        small.core.config._attn_implementation = "sdpa"
        return forward(**inputs)

    body.forward = deaf
    assert not small.check_packing(rows)

"""Encoder-decoders as small models: the same numbers as transformers itself, at every step."""

import json
import shutil
from pathlib import Path

import numpy as np
import pytest
import torch

from fiatkit.errors import ModelFileError
from fiatkit.models.local import Encoded, SmallModel, load_transformers
from fiatkit.models.providers._writer import Writer
from fiatkit.records import Part, SmallPrompt

LABELS = ["warm", "cold", "warm and cold", "w"]
TEXTS = ["x", "The parcel is late", "El paquete llega tarde " * 6, "es ist kalt"]
HOSTILE = "a</s>b <extra_id_0> <pad><unk> c"


@pytest.fixture(scope="module", params=["tiny_t5_model", "tiny_mt5_model"])
def small(request: pytest.FixtureRequest) -> SmallModel:
    return SmallModel.load(str(request.getfixturevalue(request.param)), device="cpu")


def encode(small: SmallModel, text: str, **limits: int) -> Encoded:
    parts = (
        Part("instruction", "Say.\n\n"),
        Part("query", text),
        Part("rationale", "\n\nReasoning: it is so"),
        Part("cue", "\n\nAnswer:"),
    )
    return small.encode(SmallPrompt("q", parts), **{"max_length": 400, "reserve": 8, **limits})


def test_the_encoder_reads_instruction_query_and_rationale_and_an_end(small: SmallModel) -> None:
    ids = encode(small, "The parcel").ids
    whole = small.tokenizer("Say. The parcel Reasoning: it is so Answer:")["input_ids"]
    assert list(ids) == whole, "as the tokenizer itself prepares it"
    assert ids[-1] == small.tokenizer.eos_token_id


def test_the_decoder_is_taught_the_target_and_its_end(small: SmallModel) -> None:
    assert list(small.encode_target("warm cold")) == small.tokenizer("warm cold")["input_ids"]


def test_the_end_of_a_prompt_is_kept_when_the_rationale_is_cut(small: SmallModel) -> None:
    whole = encode(small, "The parcel")
    short = encode(small, "The parcel", max_length=len(whole.ids) + 8 - 3)
    assert (short.cut, short.too_long, len(short.ids)) == (3, False, len(whole.ids) - 3)
    assert short.ids[-1] == whole.ids[-1]
    assert sum(count for _, count in short.spans) == len(short.ids)


def test_A09_control_tokens_in_content_are_text_of_the_encoder(small: SmallModel) -> None:
    hostile = encode(small, HOSTILE).ids[:-1]
    control = set(small.tokenizer.all_special_ids) - {small.tokenizer.unk_token_id}
    assert not control & set(hostile)
    assert HOSTILE in small.tokenizer.decode(hostile)
    assert not control & set(small.encode_target(HOSTILE)[:-1])


def naive_score(small: SmallModel, prompt: Encoded, label: str) -> float:
    """One whole forward for one label, as transformers computes it from `labels`."""
    target = small.encode_target(label)
    ids = torch.tensor([prompt.ids])
    with torch.inference_mode():
        logits = small.model(input_ids=ids, labels=torch.tensor([target])).logits[0].double()
    logs = torch.log_softmax(logits, dim=-1)
    return float(logs[range(len(target)), list(target)].sum())


@pytest.mark.parametrize("batch_tokens", [1, 120, 10_000])
def test_label_scores_equal_a_naive_loop_in_any_batch(small: SmallModel, batch_tokens: int) -> None:
    encoded = [encode(small, text) for text in TEXTS]
    ours = small.score_labels(encoded, LABELS, batch_tokens=batch_tokens)
    theirs = [[naive_score(small, e, label) for label in LABELS] for e in encoded]
    np.testing.assert_allclose(ours, theirs, atol=1e-4)
    np.testing.assert_array_equal(ours.argmax(1), np.argmax(theirs, axis=1))


def test_labels_of_one_token_are_scored_too(small: SmallModel) -> None:
    encoded = encode(small, "x")
    ours = small.score_labels([encoded], [""], batch_tokens=100)
    assert ours[0, 0] == pytest.approx(naive_score(small, encoded, ""), abs=1e-4)


def test_generation_equals_transformers_alone_and_in_a_batch(small: SmallModel) -> None:
    encoded = [encode(small, text) for text in TEXTS]
    expected = []
    for prompt in encoded:
        ids = torch.tensor([prompt.ids])
        written = small.model.generate(ids, max_new_tokens=10, do_sample=False)[0, 1:].tolist()
        stopped = small.stop_id in written
        text = small.tokenizer.decode(written, skip_special_tokens=True)
        expected.append((text, stopped))
    assert small.generate(encoded, max_new_tokens=10, batch_tokens=10_000) == expected
    alone = [small.generate([e], max_new_tokens=10, batch_tokens=1)[0] for e in encoded]
    assert alone == expected


def test_the_head_is_as_it_was_trained(tiny_t5_model: Path, tiny_mt5_model: Path) -> None:
    """The first T5 shares it with the embeddings and scales before it; mT5 has one of its own."""
    shared, own = (SmallModel.load(str(path)).core for path in (tiny_t5_model, tiny_mt5_model))
    assert shared.lm_head.weight is shared.shared.weight
    assert own.lm_head.weight is not own.shared.weight


def test_a_config_without_a_start_token_is_told(tiny_t5_model: Path, tmp_path: Path) -> None:
    folder = tmp_path / "t5"
    shutil.copytree(tiny_t5_model, folder)
    config = json.loads((folder / "config.json").read_text())
    del config["decoder_start_token_id"]
    (folder / "config.json").write_text(json.dumps(config))
    with pytest.raises(ModelFileError, match="no decoder_start_token_id"):
        SmallModel.load(str(folder))


def test_as_a_large_model_it_is_refused(tiny_t5_model: Path) -> None:
    model, tokenizer = load_transformers(tiny_t5_model, "tiny", device="cpu")
    with pytest.raises(ModelFileError, match="is an encoder-decoder"):
        Writer(model, tokenizer, 512)

"""Answers that are written: a base's own generation settings change none, and each ends where it
was taught to, in every export."""

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from tests.artefact import outside
from tests.artefact.conftest import make
from tests.artefact.test_cards import sent_to_vllm
from tests.conftest import CHATML, make_encoder_decoder, make_model

from fiatkit.artefact.export import export
from fiatkit.experiment.single import load_fitted
from fiatkit.records import Query

TEXTS = ["q", "the sun", "mucho hielo", "ice  and\n\nsun"]
OWN = {"repetition_penalty": 1.7, "no_repeat_ngram_size": 2, "do_sample": True, "top_k": 20}
LEARNT = "late cold late"


def with_settings(base: Path) -> Path:
    """A base that has penalties and sampling in its generation_config.json."""
    path = base / "generation_config.json"
    path.write_text(json.dumps(json.loads(path.read_text()) | OWN))
    return base


@pytest.fixture(scope="module")
def chat(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A base whose turns end at another token than the tokenizer's own end, one that llama.cpp
    does not know by its name."""
    base = make_model(tmp_path_factory.mktemp("other-end") / "base", CHATML)
    for name in ("tokenizer.json", "tokenizer_config.json", "chat_template.jinja"):
        text = (base / name).read_text(encoding="utf-8")
        (base / name).write_text(text.replace("<|im_end|>", "<turn_x>"), encoding="utf-8")
    path = base / "tokenizer_config.json"
    path.write_text(json.dumps(json.loads(path.read_text()) | {"eos_token": "<|endoftext|>"}))
    for name in ("config.json", "generation_config.json"):
        values = json.loads((base / name).read_text())
        (base / name).write_text(json.dumps(values | {"eos_token_id": 0}))
    return with_settings(base)


@pytest.fixture(scope="module")
def written(chat: Path, tmp_path_factory: pytest.TempPathFactory) -> Callable[[str], Path]:
    """An artefact by each method that writes texts."""
    found: dict[str, Path] = {}

    def get(method: str) -> Path:
        if method not in found:
            found[method] = tmp_path_factory.mktemp("written") / method
            make(found[method], chat, method, epochs=40, text=LEARNT)
        return found[method]

    return get


def ours(folder: Path) -> list[str]:
    queries = [Query(str(number), {"text": text}) for number, text in enumerate(TEXTS)]
    return [p.text.strip() for p in load_fitted(folder).predictor.predict(queries, {})]


def asked(names: dict[str, Any]) -> list[str]:
    return [names["answer"]({"text": text}) for text in TEXTS]


@pytest.mark.parametrize(
    ("method", "kind"),
    [("lora", "peft"), ("lora", "merged"), ("prompt_tuning", "hub"), ("full", "hub")],
)
def test_a_base_s_own_settings_change_no_answer(
    written: Callable[[str], Path], tmp_path: Path, method: str, kind: str
) -> None:
    export(written(method), kind, tmp_path / "out")
    before = ours(written(method))
    if method == "full":
        assert LEARNT in before  # which a penalty forbids, and which ends by itself
    if (tmp_path / "out" / "base").is_dir():
        (tmp_path / "out" / "base" / "generation_config.json").write_text(json.dumps(OWN))
    assert asked(outside.functions(tmp_path / "out")) == before


def test_an_encoder_decoder_s_own_settings_change_no_answer(tmp_path: Path) -> None:
    make_encoder_decoder(tmp_path / "base", "t5")
    base = with_settings(tmp_path / "base")
    make(tmp_path / "model", base, "lora", text=LEARNT)
    export(tmp_path / "model", "merged", tmp_path / "out")
    assert asked(outside.functions(tmp_path / "out")) == ours(tmp_path / "model")


def test_a_merged_model_says_itself_how_it_writes(
    written: Callable[[str], Path], tmp_path: Path
) -> None:
    """For programs that read generation_config.json and no card."""
    export(written("lora"), "merged", tmp_path / "out")
    config = json.loads((tmp_path / "out" / "generation_config.json").read_text())
    form = json.loads((tmp_path / "out" / "prompt.json").read_text())
    assert config["eos_token_id"] == form["stop_id"] != 0
    assert not config.keys() & OWN.keys() - {"do_sample"} and not config.get("do_sample")


def test_llama_cpp_ends_where_the_answer_does(
    written: Callable[[str], Path], tmp_path: Path
) -> None:
    export(written("full"), "gguf", tmp_path / "out", precision="f32")
    with outside.at_llama(tmp_path / "out", "model-f32.gguf") as names:
        assert asked(names) == ours(written("full"))
        body = {"prompt": names["prompt_ids"]({"text": "q"}), "n_predict": 12, "temperature": 0}
        told = names["complete"](body)
    assert told["stop_type"] == "eos" and told["tokens_predicted"] < 12


def test_vllm_is_told_where_answers_end(written: Callable[[str], Path], tmp_path: Path) -> None:
    """Its client and its flags; what the server does with them is vLLM's own."""
    told = export(written("lora"), "vllm", tmp_path / "out")
    assert "--generation-config vllm" in told
    sent = sent_to_vllm(tmp_path / "out", {"text": "q"})
    form = outside.functions(tmp_path / "out")["form"]
    assert sent["extra_body"] == {"stop_token_ids": [form["stop_id"]]}

"""Small real models, made once a session, and a small task for end-to-end runs."""

import json
import os
import sys
from pathlib import Path
from typing import Any

import pytest

os.environ.setdefault("TOKENIZERS_PARALLELISM", "false")
os.environ.setdefault("HF_HUB_DISABLE_TELEMETRY", "1")

NEEDED = ("smollm2-135m", "qwen2.5-coder-0.5b")


def share_cores() -> None:
    """Give each worker of pytest-xdist, and all that it starts, cores of its own: torch and
    llama.cpp take as many threads as they may use cores, and two such pools on the same cores
    wait for each other most of the time."""
    worker = os.environ.get("PYTEST_XDIST_WORKER")
    if worker and sys.platform == "linux":
        cores = sorted(os.sched_getaffinity(0))
        each = int(os.environ["PYTEST_XDIST_WORKER_COUNT"])
        mine = cores[int(worker.removeprefix("gw")) % len(cores) :: each]
        os.sched_setaffinity(0, mine)


share_cores()


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Tests of real weights take longest: they begin first, so that no worker is left with one at
    the end while the others have nothing to do."""
    items.sort(key=lambda item: item.get_closest_marker("weights") is None)


def pytest_runtest_setup(item: pytest.Item) -> None:
    """Skip tests of real weights where `make test` has not fetched them, and of faults that the
    machine cannot make."""
    from fiatkit.models import catalogue
    from tests.faults import machine

    for marker in item.iter_markers("faults"):
        for need in marker.args:
            if reason := machine.missing(need):
                pytest.skip(reason)

    if item.get_closest_marker("weights"):
        missing = [name for name in NEEDED if not catalogue.is_cached(name)]
        if missing:
            pytest.skip(f"weights are not here: fiat models get {missing[0]}")


CHATML = (
    "{% for m in messages %}{{ '<|im_start|>' + m.role + '\\n' + m.content + '<|im_end|>\\n' }}"
    "{% endfor %}{% if add_generation_prompt %}{{ '<|im_start|>assistant\\n' }}{% endif %}"
)
LINES = [
    "The parcel is late and the guest is cold.",
    "El paquete llega tarde y hace frío.",
    "Das Paket kommt zu spät, es ist kalt.",
    "小包が遅れています。",
    "Посылка опаздывает.",
    "Reasoning: it says that the parcel is late. Answer: warm cold",
]


def make_model(folder: Path, template: str | None, kind: str = "Llama", **more: Any) -> Path:
    """A decoder of two layers with a byte-level BPE tokenizer, saved as safetensors.

    Args:
        folder: where to.
        template: the chat template.
        kind: the name of a configuration of transformers without its ending.
        more: what is other in it.
    """
    import torch
    import transformers
    from tokenizers import Tokenizer, decoders, models, pre_tokenizers, trainers

    special = ["<|endoftext|>", "<|im_start|>", "<|im_end|>"]
    tokenizer = Tokenizer(models.BPE())
    tokenizer.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    tokenizer.decoder = decoders.ByteLevel()
    trainer = trainers.BpeTrainer(
        vocab_size=400,
        special_tokens=special,
        initial_alphabet=pre_tokenizers.ByteLevel.alphabet(),
        show_progress=False,
    )
    tokenizer.train_from_iterator(LINES, trainer)
    end = "<|im_end|>" if template else "<|endoftext|>"
    wrapped = transformers.PreTrainedTokenizerFast(
        tokenizer_object=tokenizer,
        eos_token=end,
        pad_token=end,
        bos_token="<|im_start|>" if template else None,
        additional_special_tokens=special,
    )
    wrapped.chat_template = template
    torch.manual_seed(0)
    values = {
        "vocab_size": len(wrapped),
        "hidden_size": 32,
        "intermediate_size": 64,
        "num_hidden_layers": 2,
        "num_attention_heads": 4,
        "num_key_value_heads": 2,
        "max_position_embeddings": 512,
        "eos_token_id": wrapped.eos_token_id,
        "pad_token_id": wrapped.pad_token_id,
        "bos_token_id": None,
        "tie_word_embeddings": True,
        "initializer_range": 0.2,
    }
    config = getattr(transformers, f"{kind}Config")(**values | more)
    transformers.AutoModelForCausalLM.from_config(config).save_pretrained(folder)
    wrapped.save_pretrained(folder)
    return folder


@pytest.fixture(scope="session")
def tiny_chat_model(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A model with a chat template, whose pad token is its end-of-turn token."""
    return make_model(tmp_path_factory.mktemp("tiny-chat"), CHATML)


@pytest.fixture(scope="session")
def tiny_plain_model(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A model without a chat template."""
    return make_model(tmp_path_factory.mktemp("tiny-plain"), None)


def t5_tokenizer() -> Any:
    """A Unigram tokenizer with T5's normalisation of blanks, sentinels and end token."""
    from tokenizers import Tokenizer, models, pre_tokenizers, trainers
    from transformers import T5Tokenizer

    tokenizer = Tokenizer(models.Unigram())
    tokenizer.pre_tokenizer = pre_tokenizers.Sequence(
        [pre_tokenizers.WhitespaceSplit(), pre_tokenizers.Metaspace(prepend_scheme="always")]
    )
    trainer = trainers.UnigramTrainer(
        vocab_size=300,
        special_tokens=["<pad>", "</s>", "<unk>"],
        initial_alphabet=[chr(code) for code in range(33, 127)],
        unk_token="<unk>",
        show_progress=False,
    )
    tokenizer.train_from_iterator(LINES, trainer)
    pieces = json.loads(tokenizer.to_str())["model"]["vocab"]
    extra = [(f"<extra_id_{i}>", 0.0) for i in range(99, -1, -1)]
    return T5Tokenizer(vocab=[(piece, score) for piece, score in pieces] + extra)


def make_encoder_decoder(folder: Path, kind: str) -> Path:
    """An encoder-decoder of two layers each: "t5", the first T5, shares its input embeddings with
    the head and scales before it; "mt5" has gated layers and a head of its own."""
    import torch
    from transformers import (
        MT5Config,
        MT5ForConditionalGeneration,
        T5Config,
        T5ForConditionalGeneration,
    )

    tokenizer = t5_tokenizer()
    sizes = {
        "vocab_size": len(tokenizer) + 5,
        "d_model": 32,
        "d_kv": 8,
        "d_ff": 64,
        "num_layers": 2,
        "num_heads": 4,
        "decoder_start_token_id": 0,
        "dropout_rate": 0.0,
    }
    torch.manual_seed(0)
    if kind == "t5":
        model = T5ForConditionalGeneration(T5Config(**sizes))
        model.shared.weight.data.normal_()
        model.save_pretrained(folder)
    else:
        model = MT5ForConditionalGeneration(MT5Config(**sizes))
        head = torch.randn_like(model.lm_head.weight)
        model.lm_head.weight = torch.nn.Parameter(head)
        model.save_pretrained(folder)
        config = json.loads((folder / "config.json").read_text())
        (folder / "config.json").write_text(json.dumps(config | {"tie_word_embeddings": False}))
    tokenizer.save_pretrained(folder)
    return folder


@pytest.fixture(scope="session")
def tiny_t5_model(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """An encoder-decoder whose head is its input embeddings."""
    return make_encoder_decoder(tmp_path_factory.mktemp("tiny-t5"), "t5")


@pytest.fixture(scope="session")
def tiny_mt5_model(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """An encoder-decoder with a head of its own."""
    return make_encoder_decoder(tmp_path_factory.mktemp("tiny-mt5"), "mt5")

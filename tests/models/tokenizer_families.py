"""Five families of tokenizers as real models have them, in small, with a tiny model for each."""

from __future__ import annotations

import unicodedata
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

LINES = [
    "The parcel is late and the guest is cold. Say warm or cold.",
    "El paquete llega tarde y hace frío. Das Paket kommt zu spät.",
    "小包が遅れています。 Посылка опаздывает. the end of turn, start of text, user header",
    "im_start im_end endoftext extra_id_0 begin_of_text eot_id start_of_turn INST CLS SEP bos eos s",
]
CHATML = (
    "{% for m in messages %}{{ '<|im_start|>' + m.role + '\\n' + m.content + '<|im_end|>\\n' }}"
    "{% endfor %}{% if add_generation_prompt %}{{ '<|im_start|>assistant\\n' }}{% endif %}"
)
GEMMA = (
    "{{ bos_token }}{% for m in messages %}{{ '<start_of_turn>' + m.role + '\\n' + m.content + "
    "'<end_of_turn>\\n' }}{% endfor %}"
    "{% if add_generation_prompt %}{{ '<start_of_turn>model\\n' }}{% endif %}"
)
INST = (
    "{{ bos_token }}{% for m in messages %}{% if m.role == 'assistant' %}"
    "{{ ' ' + m.content + eos_token }}{% else %}{{ '[INST] ' + m.content + ' [/INST]' }}{% endif %}"
    "{% endfor %}"
)
LLAMA3 = (
    "{{ bos_token }}{% for m in messages %}{{ '<|start_header_id|>' + m.role + '<|end_header_id|>"
    "\\n\\n' + m.content + '<|eot_id|>' }}{% endfor %}{% if add_generation_prompt %}"
    "{{ '<|start_header_id|>assistant<|end_header_id|>\\n\\n' }}{% endif %}"
)


def same(text: str) -> str:
    return text


def composed(text: str) -> str:
    return unicodedata.normalize("NFC", text)


@dataclass(frozen=True)
class Family:
    """A tokenizer, the tokens that control a model, and what decoding gives back of a text.

    Attributes:
        back: text -> what decoding its ids gives; None where the normaliser loses something.
    """

    name: str
    tokenizer: Any
    controls: tuple[str, ...]
    template: str | None = None
    back: Callable[[str], str] | None = None

    def model(self) -> Any:
        """The smallest model that reads these ids."""
        from transformers import LlamaConfig, LlamaForCausalLM, T5Config
        from transformers import T5ForConditionalGeneration as T5

        size = len(self.tokenizer)
        if self.name == "unigram":
            return T5(
                T5Config(
                    vocab_size=size,
                    d_model=8,
                    d_kv=4,
                    d_ff=8,
                    num_layers=1,
                    num_heads=2,
                    decoder_start_token_id=0,
                )
            ).eval()
        return LlamaForCausalLM(
            LlamaConfig(
                vocab_size=size,
                hidden_size=8,
                intermediate_size=8,
                num_hidden_layers=1,
                num_attention_heads=2,
                max_position_embeddings=100_000,
                bos_token_id=None,
                eos_token_id=None,
                pad_token_id=None,
            )
        ).eval()


def wrapped(tokenizer: Any, controls: tuple[str, ...], template: str | None, **named: str) -> Any:
    from transformers import PreTrainedTokenizerFast

    found = PreTrainedTokenizerFast(
        tokenizer_object=tokenizer, additional_special_tokens=list(controls), **named
    )
    found.chat_template = template
    return found


def byte_level() -> Family:
    """GPT-2, SmolLM, Qwen: bytes as characters, NFC as Qwen has it; `<think>` is not special."""
    from tokenizers import AddedToken, Tokenizer, decoders, models, normalizers, trainers
    from tokenizers import pre_tokenizers as pre

    controls = ("<|endoftext|>", "<|im_start|>", "<|im_end|>", "<|fim_prefix|>")
    tokenizer = Tokenizer(models.BPE())
    tokenizer.normalizer = normalizers.NFC()
    tokenizer.pre_tokenizer = pre.ByteLevel(add_prefix_space=False)
    tokenizer.decoder = decoders.ByteLevel()
    alphabet = pre.ByteLevel.alphabet()
    trainer = trainers.BpeTrainer(vocab_size=400, initial_alphabet=alphabet, show_progress=False)
    tokenizer.train_from_iterator(LINES, trainer)
    tokenizer.add_special_tokens(list(controls))
    tokenizer.add_tokens([AddedToken("<think>", normalized=False), AddedToken("<tool_call>")])
    made = wrapped(tokenizer, controls, CHATML, eos_token="<|im_end|>", pad_token="<|endoftext|>")
    return Family("byte_level", made, (*controls, "<think>", "<tool_call>"), CHATML, composed)


def unigram() -> Family:
    """T5, mT5: compatibility forms are folded, and control tokens stand among the pieces."""
    from tests.conftest import t5_tokenizer
    from tokenizers import normalizers

    made = t5_tokenizer()
    made.backend_tokenizer.normalizer = normalizers.NFKC()
    controls = ("<pad>", "</s>", *(f"<extra_id_{number}>" for number in range(100)))
    return Family("unigram", made, controls)


def sentencepiece_bpe(name: str) -> Family:
    """Llama-2 and Gemma: SentencePiece as BPE, with a piece for each byte; control tokens stand in
    the vocabulary. Llama puts a blank before every text."""
    from tokenizers import Tokenizer, decoders, models, normalizers, trainers

    llama = name == "llama_bpe"
    if llama:
        controls, template = ("<s>", "</s>", "[INST]", "[/INST]"), INST
    else:
        controls, template = ("<pad>", "<eos>", "<bos>", "<start_of_turn>", "<end_of_turn>"), GEMMA
    tokenizer = Tokenizer(models.BPE(unk_token="<unk>", fuse_unk=True, byte_fallback=True))
    replace = normalizers.Replace(" ", "▁")
    prepend = normalizers.Sequence([normalizers.Prepend("▁"), replace])
    tokenizer.normalizer = prepend if llama else replace
    steps = [decoders.Replace("▁", " "), decoders.ByteFallback(), decoders.Fuse()]
    tokenizer.decoder = decoders.Sequence(steps + ([decoders.Strip(" ", 1, 0)] if llama else []))
    trainer = trainers.BpeTrainer(
        vocab_size=700,
        special_tokens=["<unk>", *controls, *(f"<0x{byte:02X}>" for byte in range(256))],
        show_progress=False,
        max_token_length=12,
    )
    tokenizer.train_from_iterator(LINES, trainer)
    ends, begins = ("</s>", "<s>") if llama else ("<eos>", "<bos>")
    made = wrapped(tokenizer, controls, template, eos_token=ends, bos_token=begins)
    return Family(name, made, controls, template, lambda text: text.replace("▁", " "))


def wordpiece() -> Family:
    """BERT: lower case, no accents, control characters dropped."""
    from tokenizers import (
        Tokenizer,
        decoders,
        models,
        normalizers,
        pre_tokenizers,
        processors,
        trainers,
    )

    controls = ("[PAD]", "[CLS]", "[SEP]", "[MASK]")
    tokenizer = Tokenizer(models.WordPiece(unk_token="[UNK]"))
    tokenizer.normalizer = normalizers.BertNormalizer(lowercase=True)
    tokenizer.pre_tokenizer = pre_tokenizers.BertPreTokenizer()
    tokenizer.decoder = decoders.WordPiece()
    trainer = trainers.WordPieceTrainer(
        vocab_size=300, special_tokens=["[UNK]", *controls], show_progress=False
    )
    tokenizer.train_from_iterator(LINES, trainer)
    ids = [(token, tokenizer.token_to_id(token)) for token in ("[CLS]", "[SEP]")]
    tokenizer.post_processor = processors.TemplateProcessing("[CLS] $A [SEP]", None, ids)
    named = {"cls_token": "[CLS]", "sep_token": "[SEP]", "unk_token": "[UNK]"}
    return Family(
        "wordpiece", wrapped(tokenizer, controls, None, eos_token="[SEP]", **named), controls
    )


def tiktoken() -> Family:
    """Llama-3: tiktoken's split into words, whole words looked up before merges."""
    from tokenizers import Regex, Tokenizer, decoders, models, trainers
    from tokenizers import pre_tokenizers as pre

    controls = (
        "<|begin_of_text|>",
        "<|end_of_text|>",
        "<|start_header_id|>",
        "<|end_header_id|>",
        "<|eot_id|>",
        "<|reserved_special_token_0|>",
    )
    words = (
        r"(?i:'s|'t|'re|'ve|'m|'ll|'d)|[^\r\n\p{L}\p{N}]?\p{L}+|\p{N}{1,3}"
        r"| ?[^\s\p{L}\p{N}]+[\r\n]*|\s*[\r\n]+|\s+(?!\S)|\s+"
    )
    tokenizer = Tokenizer(models.BPE(ignore_merges=True))
    tokenizer.pre_tokenizer = pre.Sequence(
        [pre.Split(Regex(words), "isolated"), pre.ByteLevel(False, use_regex=False)]
    )
    tokenizer.decoder = decoders.ByteLevel()
    alphabet = pre.ByteLevel.alphabet()
    trainer = trainers.BpeTrainer(vocab_size=400, initial_alphabet=alphabet, show_progress=False)
    tokenizer.train_from_iterator(LINES, trainer)
    tokenizer.add_special_tokens(list(controls))
    named = {"bos_token": "<|begin_of_text|>", "eos_token": "<|eot_id|>"}
    return Family("tiktoken", wrapped(tokenizer, controls, LLAMA3, **named), controls, LLAMA3, same)


FAMILIES: dict[str, Callable[[], Family]] = {
    "byte_level": byte_level,
    "unigram": unigram,
    "llama_bpe": lambda: sentencepiece_bpe("llama_bpe"),
    "gemma_bpe": lambda: sentencepiece_bpe("gemma_bpe"),
    "wordpiece": wordpiece,
    "tiktoken": tiktoken,
}

"""Metadata of a GGUF file: taken over from the one that the base came from, or made anew."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

from fiatkit.errors import ArtefactError
from fiatkit.models._chat import template_of

Metadata = dict[str, tuple[Any, ...]]
OWN = ("GGUF.", "split.", "general.architecture", "general.file_type", "general.quantization_")
QWEN = (
    r"(?i:'s|'t|'re|'ve|'m|'ll|'d)|[^\r\n\p{L}\p{N}]?\p{L}+|\p{N}| ?[^\s\p{L}\p{N}]+[\r\n]*"
    r"|\s*[\r\n]+|\s+(?!\S)|\s+"
)
LLAMA_3 = QWEN.replace(r"|\p{N}|", r"|\p{N}{1,3}|")
NORMAL, CONTROL, USER_DEFINED, UNUSED = 1, 3, 4, 5


def taken(path: Path) -> Metadata:
    """All that a GGUF file says beside its weights and their kinds."""
    import gguf

    found = {}
    for field in gguf.GGUFReader(path).fields.values():
        if not field.name.startswith(OWN):
            found[field.name] = (
                field.contents(),
                *dict.fromkeys((field.types[0], field.types[-1])),
            )
    return found


def made(config: Any, tokenizer: Any, architecture: str) -> Metadata:
    """What llama.cpp needs to know of a Llama or Qwen2 with a byte-level vocabulary.

    Raises:
        ArtefactError: of another kind, or with positions that are scaled.
    """
    rope = getattr(config, "rope_parameters", None) or {}
    if architecture == "gemma3" or rope.get("rope_type", "default") != "default":
        raise ArtefactError(
            f'Of a "{config.model_type}" with these positions or this vocabulary, a GGUF file is '
            "written only if its base is one of `fiat models list`.",
            "Export it with --to merged and convert that with llama.cpp's own script.",
        )
    theta = rope.get("rope_theta", 10_000.0)
    return sizes(config, architecture, theta) | vocabulary(tokenizer, config.vocab_size)


def sizes(config: Any, architecture: str, theta: float) -> Metadata:
    """The sizes of a decoder, and the base of its rotary positions."""
    from gguf import GGUFValueType as Kind

    width = getattr(config, "head_dim", None) or config.hidden_size // config.num_attention_heads
    numbers = {
        "context_length": config.max_position_embeddings,
        "embedding_length": config.hidden_size,
        "block_count": config.num_hidden_layers,
        "feed_forward_length": config.intermediate_size,
        "attention.head_count": config.num_attention_heads,
        "attention.head_count_kv": config.num_key_value_heads,
        "attention.key_length": width,
        "attention.value_length": width,
        "rope.dimension_count": width,
        "vocab_size": config.vocab_size,
    }
    found: Metadata = {f"{architecture}.{key}": (v, Kind.UINT32) for key, v in numbers.items()}
    found[f"{architecture}.rope.freq_base"] = (float(theta), Kind.FLOAT32)
    epsilon = f"{architecture}.attention.layer_norm_rms_epsilon"
    found[epsilon] = (config.rms_norm_eps, Kind.FLOAT32)
    return found


def vocabulary(tokenizer: Any, size: int) -> Metadata:
    """The words of a byte-level vocabulary, their kinds and merges, and the chat template."""
    from gguf import GGUFValueType as Kind

    values = json.loads(tokenizer.backend_tokenizer.to_str())
    pre = _split_of(values)
    special, added = set(tokenizer.all_special_ids), tokenizer.added_tokens_decoder
    words = {number: word for word, number in tokenizer.get_vocab().items()}
    kinds = []
    for number in range(size):
        if number in special or (number in added and added[number].special):
            kinds.append(CONTROL)
        elif number in added:
            kinds.append(USER_DEFINED)
        else:
            kinds.append(NORMAL if number in words else UNUSED)
    merges = [m if isinstance(m, str) else " ".join(m) for m in values["model"]["merges"]]
    begins = bool(tokenizer("")["input_ids"][:1] == [tokenizer.bos_token_id])
    tokens = [words.get(number, f"[PAD{number}]") for number in range(size)]
    found: Metadata = {
        "tokenizer.ggml.model": ("gpt2", Kind.STRING),
        "tokenizer.ggml.pre": (pre, Kind.STRING),
        "tokenizer.ggml.tokens": (tokens, Kind.ARRAY, Kind.STRING),
        "tokenizer.ggml.token_type": (kinds, Kind.ARRAY, Kind.INT32),
        "tokenizer.ggml.merges": (merges, Kind.ARRAY, Kind.STRING),
        "tokenizer.ggml.add_bos_token": (begins, Kind.BOOL),
    }
    for name in ("bos", "eos", "padding"):
        number = getattr(tokenizer, f"{name.replace('padding', 'pad')}_token_id")
        if number is not None:
            found[f"tokenizer.ggml.{name}_token_id"] = (number, Kind.UINT32)
    if template := template_of(tokenizer):
        found["tokenizer.chat_template"] = (template, Kind.STRING)
    return found


def stop(metadata: Metadata, stop_id: int) -> Metadata:
    """The token at which answers end, as that of the end of a turn, where none says so yet."""
    from gguf import GGUFValueType as Kind

    ends = ("tokenizer.ggml.eos_token_id", "tokenizer.ggml.eot_token_id")
    if any(metadata.get(name, (None,))[0] == stop_id for name in ends):
        return {}
    return {ends[1]: (stop_id, Kind.UINT32)}


def _split_of(values: dict[str, Any]) -> str:
    """llama.cpp's name for the way in which a byte-level tokenizer divides text into words.

    Raises:
        ArtefactError: it is none that is known here.
    """
    split = values.get("pre_tokenizer") or {}
    steps = split.get("pretokenizers", [split])
    kinds = [step.get("type") for step in steps]
    plain = values["model"].get("type") == "BPE" and not values.get("normalizer")
    pattern = steps[0].get("pattern", {}).get("Regex")
    if plain and kinds == ["ByteLevel"] and not steps[0].get("add_prefix_space"):
        return "gpt-2"
    if plain and kinds == ["Digits", "ByteLevel"] and steps[0].get("individual_digits"):
        return "smollm"
    if values["model"].get("type") == "BPE" and kinds == ["Split", "ByteLevel"]:
        known = {QWEN: "qwen2", LLAMA_3: "llama-bpe"}
        if pattern in known:
            return known[pattern]
    raise ArtefactError(
        "How this base's tokenizer divides text has no name in llama.cpp that is known here.",
        "Export it with --to merged and convert that with llama.cpp's own script.",
    )

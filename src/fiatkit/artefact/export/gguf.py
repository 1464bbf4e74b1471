"""One GGUF file that llama.cpp runs: the adapter merged, the vocabulary and template written along.

A base of the catalogue came from a GGUF file, whose metadata is taken over; for another, metadata
are made of config.json and tokenizer.json. The file is then loaded by llama.cpp itself, where that
is installed, and must tokenise and predict as the merged model does.
"""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Any

from fiatkit.artefact.export import _gguf_check, _gguf_metadata
from fiatkit.artefact.export._snippets import client_code, fenced
from fiatkit.artefact.export._source import Source, copy_tokenizer, merge
from fiatkit.errors import ArtefactError, MissingExtraError, UnknownNameError
from fiatkit.models import catalogue

if TYPE_CHECKING:
    import numpy as np

ARCHITECTURES = {
    "llama": "llama",
    "qwen2": "qwen2",
    "gemma3_text": "gemma3",
}
PRECISIONS = ("f16", "f32", "q8_0")
FILE = "model-{}.gguf"
CLIENT = '''
import urllib.request


def complete(body):
    """What llama-server says; it is given ids, so that it adds nothing to the prompt."""
    request = urllib.request.Request(
        "http://127.0.0.1:8080/completion",
        json.dumps(body).encode(),
        {"Content-Type": "application/json"},
    )
    with urllib.request.urlopen(request) as response:
        return json.load(response)
'''
CHOOSE = '''


def log_probabilities(ids):
    """Of the 5,000 likeliest next tokens. The grammar changes none of them: it only keeps the
    server from writing an end token, of which it would tell nothing."""
    body = {"prompt": ids, "n_predict": 1, "n_probs": 5000, "grammar": "root ::= [a-z]"}
    first = complete(body)["completion_probabilities"][0]
    return {token["id"]: token["logprob"] for token in first["top_logprobs"]}


def choose(prompt, before=()):
    """The label that the model finds likeliest, its stop token included."""
    known = {}

    def score(label):
        ids = (*literal(form["before_label"] + label), form["stop_id"])
        total = 0.0
        for end, token in enumerate(ids):
            if ids[:end] not in known:
                known[ids[:end]] = log_probabilities([*prompt, *before, *ids[:end]])
            likely = known[ids[:end]]
            total += likely.get(token, min(likely.values()))
        return total

    return max(form["labels"], key=score)
'''
WRITE = '''


def write(prompt):
    """The text that the model writes, and whether it comes to an end."""
    body = {"prompt": prompt, "n_predict": form["max_answer_tokens"], "return_tokens": True}
    done = complete(body | {"temperature": 0, "samplers": ["temperature"]})
    return text_of(done["tokens"]), done["stop_type"] == "eos"
'''
RULE = """
This code answers by fiatkit's own rule: it weighs whole labels, and asks the server once for each
token of each label (beginnings that labels share once, and the prompt is read once). One request a
row with a grammar of the labels is faster, but another rule: the model then writes greedily,
token by token, and where it is in doubt the likeliest first token need not begin the likeliest
label.
"""


def write(source: Source, folder: Path) -> tuple[str, str]:
    """Merge, write the file, and have llama.cpp run it."""
    if source.precision not in PRECISIONS:
        raise UnknownNameError("precision", source.precision, PRECISIONS)
    path = folder / FILE.format(source.precision)
    model = merge(source)
    write_file(source, model, path)
    told = _gguf_check.compare(source, model, path)
    copy_tokenizer(source, folder)
    choices = bool(source.task.choices)
    code = fenced(client_code(source, CLIENT, CHOOSE, WRITE))
    serve = fenced(f"llama-server --model {path.name} --port 8080", "sh")
    rule = RULE if choices else ""
    return f"{told}\n\n{serve}\n\nThen, in this folder:\n{rule}\n{code}", told


def write_file(source: Source, model: Any, path: Path) -> None:
    """Write a merged model as GGUF.

    Raises:
        ArtefactError: llama.cpp's format for this architecture or vocabulary is not known here.
    """
    try:
        import gguf
    except ImportError:
        raise MissingExtraError("gguf", "local", "A GGUF file") from None
    kind = model.config.model_type
    if kind not in ARCHITECTURES:
        raise ArtefactError(
            f'GGUF files are written of {", ".join(sorted(ARCHITECTURES))}; this base is "{kind}".',
            "Export it with --to merged and convert that with llama.cpp's own script.",
        )
    writer = gguf.GGUFWriter(path, ARCHITECTURES[kind])
    entry = catalogue.ENTRIES.get(source.artefact.base)
    if entry:
        metadata = _gguf_metadata.taken(catalogue.get(entry.name).gguf)
    else:
        metadata = _gguf_metadata.made(model.config, source.small.tokenizer, ARCHITECTURES[kind])
    metadata |= _gguf_metadata.stop(metadata, source.small.stop_id)
    for key, (value, *types) in metadata.items():
        writer.add_key_value(key, value, *types)
    writer.add_file_type(getattr(gguf.LlamaFileType, _FILE_TYPES[source.precision]))
    writer.add_quantization_version(gguf.GGML_QUANT_VERSION)
    for name, data, how in _tensors(model, ARCHITECTURES[kind], source.precision):
        writer.add_tensor(name, data, raw_dtype=how)
    writer.write_header_to_file()
    writer.write_kv_data_to_file()
    writer.write_tensors_to_file()
    writer.close()


_FILE_TYPES = {"f32": "ALL_F32", "f16": "MOSTLY_F16", "q8_0": "MOSTLY_Q8_0"}


def _tensors(
    model: Any, architecture: str, precision: str
) -> Iterator[tuple[str, np.ndarray, Any]]:
    """Names, data and kinds of all weights, as llama.cpp has them."""
    import gguf
    import numpy as np

    kinds = gguf.GGMLQuantizationType
    config = model.config.get_text_config()
    wanted = {"f32": kinds.F32, "f16": kinds.F16, "q8_0": kinds.Q8_0}[precision]
    arch = next(number for number, name in gguf.MODEL_ARCH_NAMES.items() if name == architecture)
    names = gguf.get_tensor_name_map(arch, config.num_hidden_layers)
    for name, weight in model.state_dict().items():
        if name == "lm_head.weight" and config.tie_word_embeddings:
            continue
        new = names.get_name(name, try_suffixes=(".weight", ".bias"))
        if new is None:
            raise ArtefactError(f'GGUF has no name for the weight "{name}" of this base.')
        data = weight.detach().float().cpu().numpy()
        if architecture == "llama" and ".self_attn." in name and name.endswith(_ROTATED):
            heads = config.num_key_value_heads if ".k_proj." in name else config.num_attention_heads
            data = rotated(data, heads)
        if architecture == "gemma3" and name.endswith("norm.weight"):
            data = data + np.float32(1)  # llama.cpp multiplies by the weight, Gemma by 1 + weight
        how = kinds.F32 if data.ndim == 1 else wanted
        if how == kinds.Q8_0 and data.shape[-1] % gguf.GGML_QUANT_SIZES[how][0]:
            how = kinds.F16
        yield new, gguf.quants.quantize(data, how), how


_ROTATED = ("q_proj.weight", "k_proj.weight", "q_proj.bias", "k_proj.bias")


def rotated(weight: np.ndarray, heads: int) -> np.ndarray:
    """Rows of each head in the order in which llama.cpp turns them: halves become pairs.

    Args:
        weight: [heads * width, ...].
        heads: how many heads the rows belong to.
    """
    width = weight.shape[0] // heads
    split = weight.reshape(heads, 2, width // 2, *weight.shape[1:])
    return split.swapaxes(1, 2).reshape(weight.shape).copy()

"""A12: a GGUF file that is made to break its reader ends the child, and the parent tells it."""

import struct
from pathlib import Path

import pytest

from fiatkit.errors import ModelFileError
from fiatkit.models.providers.llama_cpp import Settings, Worker

U32, STRING, ARRAY = 4, 8, 9


def text(value: bytes, length: int | None = None) -> bytes:
    return struct.pack("<Q", len(value) if length is None else length) + value


def pair(key: bytes, kind: int, value: bytes) -> bytes:
    return text(key) + struct.pack("<I", kind) + value


def header(tensors: int, pairs: int, body: bytes = b"", version: int = 3) -> bytes:
    return b"GGUF" + struct.pack("<IQQ", version, tensors, pairs) + body


ARCHITECTURE = pair(b"general.architecture", STRING, text(b"llama"))
TENSOR = text(b"token_embd.weight") + struct.pack("<I", 2)


def vocabulary(token: bytes, kind: int) -> bytes:
    """A SentencePiece vocabulary of one token, so that its text is read as a byte's number."""
    tokens = struct.pack("<IQ", STRING, 1) + text(token)
    kinds = struct.pack("<IQi", 5, 1, kind)
    scores = struct.pack("<IQf", 6, 1, 0.0)
    numbers = (b"context_length", b"embedding_length", b"block_count", b"feed_forward_length")
    pairs = [pair(b"llama." + name, U32, struct.pack("<I", 32)) for name in numbers]
    pairs += [
        ARCHITECTURE,
        pair(b"llama.attention.head_count", U32, struct.pack("<I", 4)),
        pair(b"llama.attention.layer_norm_rms_epsilon", 6, struct.pack("<f", 1e-5)),
        pair(b"tokenizer.ggml.model", STRING, text(b"llama")),
        pair(b"tokenizer.ggml.tokens", ARRAY, tokens),
        pair(b"tokenizer.ggml.token_type", ARRAY, kinds),
        pair(b"tokenizer.ggml.scores", ARRAY, scores),
    ]
    return header(0, len(pairs), b"".join(pairs))


FILES = {
    "empty": b"",
    "magic": b"GGUF",
    "version": header(0, 0, version=4_000_000_000),
    "tensors": header(2**63, 1, ARCHITECTURE),
    "pairs": header(0, 2**64 - 1),
    "key length": header(0, 1, text(b"general.architecture", 2**63 - 1)),
    "string length": header(0, 1, pair(b"a", STRING, text(b"x", 2**64 - 1))),
    "array length": header(0, 1, pair(b"a", ARRAY, struct.pack("<IQ", U32, 2**62))),
    "array in array": header(0, 1, pair(b"a", ARRAY, struct.pack("<IQ", ARRAY, 1))),
    "kind": header(0, 1, pair(b"a", 999, b"1234")),
    "dimensions": header(1, 1, ARCHITECTURE + TENSOR + struct.pack("<QQIQ", 2**62, 2**62, 0, 0)),
    "negative": header(1, 1, ARCHITECTURE + TENSOR + struct.pack("<qqIQ", -1, -1, 0, 0)),
    "offset": header(1, 1, ARCHITECTURE + TENSOR + struct.pack("<QQIQ", 32, 32, 0, 2**64 - 32)),
    "byte token": vocabulary(b"<0x-1>", 6),
    "byte token without number": vocabulary(b"<", 6),
}


@pytest.mark.parametrize("name", FILES)
def test_A12_a_malicious_file_is_a_clean_error(name: str, tmp_path: Path) -> None:
    path = tmp_path / "model.gguf"
    path.write_bytes(FILES[name])
    with pytest.raises(ModelFileError, match="llama.cpp cannot load"):
        Worker(str(path), Settings(model=str(path), context=256, threads=1)).stop()

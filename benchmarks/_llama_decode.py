"""llama.cpp's own speed at lock step: what llama-batched-bench measures, with the library that
xllamacpp brings, so that both sides of a comparison are the same build.

The loop is batched-bench's: a prefix that all sequences share is read once, each sequence reads
its own tokens, then every step decodes one token of each. No server, no sampling, no text.
"""

import ctypes as c
import time
from collections.abc import Sequence
from pathlib import Path

COUNTS = [
    "n_ctx",
    "n_batch",
    "n_ubatch",
    "n_seq_max",
    "n_rs_seq",
    "n_outputs_max",
    "n_outputs_max_per_seq",
]
KINDS = [
    "n_threads",
    "n_threads_batch",
    "ctx_type",
    "rope_scaling",
    "pooling",
    "attention",
    "flash_attention",
]
SILENT = c.CFUNCTYPE(None, c.c_int, c.c_char_p, c.c_void_p)(lambda level, text, data: None)
Token = tuple[int, int, int, bool]  # token, position, sequence, whether its logits are wanted


class ContextParams(c.Structure):
    """llama_context_params, as far as it is set here; the rest is kept as it comes."""

    _fields_ = [(n, c.c_uint32) for n in COUNTS] + [(n, c.c_int32) for n in KINDS]
    _fields_ += [("rest", c.c_char * 512)]


class ModelParams(c.Structure):
    _fields_ = [("rest", c.c_char * 512)]


class Batch(c.Structure):
    _fields_ = [
        ("n_tokens", c.c_int32),
        ("token", c.POINTER(c.c_int32)),
        ("embd", c.c_void_p),
        ("pos", c.POINTER(c.c_int32)),
        ("n_seq_id", c.POINTER(c.c_int32)),
        ("seq_id", c.POINTER(c.POINTER(c.c_int32))),
        ("logits", c.POINTER(c.c_int8)),
    ]


def _library() -> c.CDLL:
    import xllamacpp

    found = c.CDLL(str(Path(xllamacpp.__file__).with_name("xllamacpp.abi3.so")))
    pointer, number = c.c_void_p, c.c_int32
    shapes = {
        "llama_log_set": (None, [type(SILENT), pointer]),
        "llama_backend_init": (None, []),
        "llama_context_default_params": (ContextParams, []),
        "llama_model_default_params": (ModelParams, []),
        "llama_model_load_from_file": (pointer, [c.c_char_p, ModelParams]),
        "llama_init_from_model": (pointer, [pointer, ContextParams]),
        "llama_batch_init": (Batch, [number] * 3),
        "llama_decode": (number, [pointer, Batch]),
        "llama_get_memory": (pointer, [pointer]),
        "llama_memory_seq_cp": (None, [pointer, *[number] * 4]),
        "llama_memory_seq_rm": (c.c_bool, [pointer, *[number] * 3]),
        "llama_synchronize": (None, [pointer]),
    }
    for name, (result, arguments) in shapes.items():
        function = getattr(found, name)
        function.restype, function.argtypes = result, arguments
    return found


class Lockstep:
    """A context of one model with a number of sequences."""

    def __init__(self, path: Path, sequences: int, context: int, batch: int, threads: int) -> None:
        self.batch_size = batch
        self.sequences = sequences
        self.library = lib = _library()
        lib.llama_log_set(SILENT, None)
        lib.llama_backend_init()
        model = lib.llama_model_load_from_file(str(path).encode(), lib.llama_model_default_params())
        params = lib.llama_context_default_params()
        assert (params.n_batch, params.n_seq_max, params.ctx_type) == (2048, 1, 0), "another layout"
        params.n_ctx, params.n_seq_max = context * sequences, sequences
        params.n_batch = params.n_ubatch = batch
        params.n_threads = params.n_threads_batch = threads
        self.context = lib.llama_init_from_model(model, params)
        assert self.context, "llama.cpp made no context"
        self.memory = lib.llama_get_memory(self.context)
        self.batch = lib.llama_batch_init(batch, 0, 1)

    def decode(self, tokens: Sequence[Token]) -> None:
        """Decode tokens, in batches."""
        for start in range(0, len(tokens), self.batch_size):
            part = tokens[start : start + self.batch_size]
            self.batch.n_tokens = len(part)
            for i, (token, position, sequence, wanted) in enumerate(part):
                self.batch.token[i], self.batch.pos[i] = token, position
                self.batch.n_seq_id[i], self.batch.seq_id[i][0] = 1, sequence
                self.batch.logits[i] = wanted
            assert self.library.llama_decode(self.context, self.batch) == 0
        self.library.llama_synchronize(self.context)

    def prefix(self, tokens: Sequence[int]) -> float:
        """Read what all sequences share; seconds that it took."""
        began = time.monotonic()
        self.decode([(token, i, 0, False) for i, token in enumerate(tokens)])
        for sequence in range(1, self.sequences):
            self.library.llama_memory_seq_cp(self.memory, 0, sequence, -1, -1)
        self.shared = len(tokens)
        self.decode([(100, self.shared, s, True) for s in range(self.sequences)])
        self.forget()
        return time.monotonic() - began

    def rows(self, read: int, written: int) -> float:
        """Seconds of one row in each sequence: tokens read, then written, after the prefix."""
        began = time.monotonic()
        sequences = range(self.sequences)
        at = self.shared
        own = [(100 + i, at + i, s, i == read - 1) for s in sequences for i in range(read)]
        self.decode(own)
        for i in range(written):
            self.decode([(100 + i, at + read + i, s, True) for s in sequences])
        seconds = time.monotonic() - began
        self.forget()
        return seconds

    def forget(self) -> None:
        """Forget all after the prefix."""
        for sequence in range(self.sequences):
            self.library.llama_memory_seq_rm(self.memory, sequence, self.shared, -1)

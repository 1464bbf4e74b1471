"""A safetensors file looked at without a parser of its own: header, layout, finite numbers.

Nothing is believed before it is checked: the header's length before it is read, the layout before
any weight is, and weights a few megabytes at a time, so that no file decides how much memory is
used.
"""

from __future__ import annotations

import contextlib
import json
import math
import os
import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from fiatkit.errors import ArtefactError, EnvironmentProblem

MAX_HEADER = 8 * 1024 * 1024  # 40,000 tensors of long names; the format itself allows 100 MB
CHUNK = 4 * 1024 * 1024
BYTES = {
    **dict.fromkeys(("BOOL", "U8", "I8"), 1),
    **dict.fromkeys(("U16", "I16", "F16", "BF16"), 2),
    **dict.fromkeys(("U32", "I32", "F32"), 4),
    **dict.fromkeys(("U64", "I64", "F64"), 8),
}
# A number of these kinds is finite unless all bits of its exponent are set.
EXPONENT: dict[str, tuple[type[np.unsignedinteger[Any]], int]] = {
    "F16": (np.uint16, 0x7C00),
    "BF16": (np.uint16, 0x7F80),
    "F32": (np.uint32, 0x7F800000),
    "F64": (np.uint64, 0x7FF0000000000000),
}


@dataclass(frozen=True, slots=True)
class Tensor:
    """A tensor of the header: its kind, its shape, and where its bytes lie in the file."""

    name: str
    kind: str
    shape: tuple[int, ...]
    begin: int
    end: int


@contextlib.contextmanager
def writing(folder: Path) -> Iterator[None]:
    """Tell what keeps libraries from writing their files, under the folder's final name.

    Raises:
        EnvironmentProblem: the disk is full, or the place cannot be written.
    """
    import safetensors

    try:
        yield
    except (OSError, safetensors.SafetensorError) as error:
        # safetensors says: I/O error: No space left on device (os error 28)
        number = re.search(r"os error (\d+)", str(error))
        if number is None and not isinstance(error, OSError):
            raise
        reason = os.strerror(int(number[1])) if number else getattr(error, "strerror", None)
        raise EnvironmentProblem(
            f'Cannot write "{folder}": {reason or error}.',
            "Free some space or choose another place, then run the same command again.",
        ) from None


def read_header(path: Path) -> dict[str, Tensor]:
    """Read and check a header; no weight is read.

    Returns:
        The tensors by name, in the order of their bytes.

    Raises:
        ArtefactError: the file is not whole: bytes that belong to no tensor or to two, a length
            that does not fit the shape, a name that stands there twice, an unknown kind.
    """
    size = path.stat().st_size
    with path.open("rb") as file:
        length = int.from_bytes(file.read(8), "little") if size >= 8 else size
        if length > min(MAX_HEADER, size - 8):
            raise _damaged(path, f"its header would have {length:,} bytes")
        raw = file.read(length)
    try:
        found = json.loads(raw, object_pairs_hook=_once)
        found.pop("__metadata__", None)
        tensors = [_tensor(name, entry, 8 + length) for name, entry in found.items()]
    except (ValueError, TypeError, KeyError, AttributeError, RecursionError) as error:
        raise _damaged(path, f"its header is not one ({str(error)[:100]})") from None
    place = 8 + length
    for tensor in sorted(tensors, key=lambda tensor: (tensor.begin, tensor.end)):
        if tensor.begin != place:
            raise _damaged(path, f'"{tensor.name[:100]}" leaves a hole or lies over another')
        place = tensor.end
    if place != size:
        raise _damaged(path, f"its tensors end at byte {place:,} of {size:,}")
    return {tensor.name: tensor for tensor in tensors}


def refuse_non_finite(path: Path, tensors: Mapping[str, Tensor]) -> None:
    """Read every weight once, a few megabytes at a time.

    Raises:
        ArtefactError: names the first tensor that holds a NaN or an infinity.
    """
    with path.open("rb") as file:
        for tensor in tensors.values():
            if tensor.kind not in EXPONENT:
                continue
            kind, exponent = EXPONENT[tensor.kind]
            file.seek(tensor.begin)
            left = tensor.end - tensor.begin
            while left:
                chunk = file.read(min(CHUNK, left))
                if not chunk:
                    raise _damaged(path, "it ends early")
                left -= len(chunk)
                bits = np.frombuffer(chunk, kind)
                if bool(((bits & kind(exponent)) == exponent).any()):
                    raise ArtefactError(
                        f'"{path}": the weight "{tensor.name}" is not finite.', "Tune again."
                    )


def check_rank(
    path: Path, tensors: Mapping[str, Tensor], rank: int, *, experts: bool = False
) -> None:
    """Refuse LoRA matrices of another rank than their adapter_config.json says.

    With `experts` those of all experts of a layer stand in one, so that it may be a multiple.
    """
    matrices = [tensor for tensor in tensors.values() if ".lora_" in tensor.name]
    if not matrices:
        raise ArtefactError(f'"{path}" holds no LoRA matrices.')
    for tensor in matrices:
        down, up = ".lora_A." in tensor.name, ".lora_B." in tensor.name
        if not (down or up):
            continue
        found = tensor.shape[int(up)] if len(tensor.shape) == 2 else 0
        whole = experts and type(rank) is int and rank > 0 and found > 0 and found % rank == 0
        if found != rank and not whole:
            raise ArtefactError(
                f'"{path}": "{tensor.name}" has the shape {list(tensor.shape)}, which does not fit '
                f"the rank {rank} of adapter_config.json."
            )


def _tensor(name: str, entry: Any, base: int) -> Tensor:
    kind, shape, (begin, end) = entry["dtype"], tuple(entry["shape"]), entry["data_offsets"]
    numbers = (*shape, begin, end)
    if any(type(number) is not int or number < 0 or number >= 2**63 for number in numbers):
        raise ValueError(f'"{name[:50]}" has a size that is none')
    if kind not in BYTES:
        raise ValueError(f'"{name[:50]}" is of the unknown kind {str(kind)[:20]}')
    if end - begin != math.prod(shape) * BYTES[kind]:
        raise ValueError(f'"{name[:50]}" has {end - begin} bytes, which do not fit its shape')
    return Tensor(name, kind, shape, base + begin, base + end)


def _once(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    found = dict(pairs)
    if len(found) != len(pairs):
        raise ValueError("a name stands there twice")
    return found


def _damaged(path: Path, why: str) -> ArtefactError:
    return ArtefactError(
        f'"{path}" is not a whole safetensors file: {why}.', "Take a whole copy of the file."
    )


__all__ = ["Tensor", "check_rank", "read_header", "refuse_non_finite", "writing"]

"""A04: safetensors files that are not what they say, and files that want memory."""

import json
import struct
import subprocess
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from tests.artefact.conftest import reseal, tensors

from fiatkit import artefact
from fiatkit.artefact.weights import MAX_HEADER, read_header, refuse_non_finite
from fiatkit.errors import ArtefactError


def write(path: Path, header: bytes | dict[str, Any], data: bytes = b"", length: int = -1) -> Path:
    raw = header if isinstance(header, bytes) else json.dumps(header).encode()
    path.write_bytes(struct.pack("<Q", len(raw) if length < 0 else length) + raw + data)
    return path


def entry(begin: int, end: int, shape: list[Any], dtype: str = "F32") -> dict[str, Any]:
    return {"dtype": dtype, "shape": shape, "data_offsets": [begin, end]}


A, B = entry(0, 8, [2]), entry(8, 16, [1, 2])
DATA = bytes(16)


def test_A04_a_whole_file_is_read(tmp_path: Path) -> None:
    header = {"__metadata__": {"format": "pt"}, "a": A, "b": B, "none": entry(16, 16, [0, 3])}
    found = read_header(write(tmp_path / "w", header, DATA))
    assert {name: tensor.shape for name, tensor in found.items()} == {
        "a": (2,),
        "b": (1, 2),
        "none": (0, 3),
    }


@pytest.mark.parametrize(
    ("header", "data", "length", "told"),
    [
        ({"a": A}, bytes(8), 2**63, "header would have 9,223,372,036,854,775,808 bytes"),
        ({"a": A}, bytes(8), 100_000_001, "header would have 100,000,001 bytes"),
        ({"a": A}, bytes(8), 500, "header would have 500 bytes"),
        (b"", b"", 0, "its header is not one"),
        (b"[1]", b"", -1, "its header is not one"),
        (b"{", b"", -1, "its header is not one"),
        (b'{"a":' * 50_000, b"", -1, "its header is not one"),
        ({"a": A, "b": entry(4, 12, [2])}, bytes(12), -1, '"b" leaves a hole or lies over'),
        ({"a": A, "b": entry(12, 20, [2])}, bytes(20), -1, '"b" leaves a hole or lies over'),
        ({"a": entry(4, 12, [2])}, bytes(12), -1, '"a" leaves a hole'),
        ({"a": A}, bytes(9), -1, "end at byte"),
        ({"a": A}, bytes(7), -1, "end at byte"),
        (
            json.dumps({"a": A})[:-1].encode() + b"," + json.dumps({"a": A})[1:].encode(),
            bytes(8),
            -1,
            "stands there twice",
        ),
        ({"a": entry(0, 8, [2], "F13")}, bytes(8), -1, "unknown kind F13"),
        ({"a": entry(0, 8, [2], "BF16")}, bytes(8), -1, "do not fit its shape"),
        ({"a": entry(0, 8, [-2])}, bytes(8), -1, "a size that is none"),
        ({"a": entry(0, 8, [2.0])}, bytes(8), -1, "a size that is none"),
        ({"a": entry(0, 8, [True, 2])}, bytes(8), -1, "a size that is none"),
        ({"a": entry(0, 8, [2**62, 4])}, bytes(8), -1, "do not fit its shape"),
        ({"a": entry(8, 0, [2])}, bytes(8), -1, "do not fit its shape"),
        ({"a": {"dtype": "F32"}}, bytes(8), -1, "its header is not one"),
        ({"a": 1}, bytes(8), -1, "its header is not one"),
    ],
)
def test_A04_a_malformed_file_is_refused(
    tmp_path: Path, header: Any, data: bytes, length: int, told: str
) -> None:
    with pytest.raises(ArtefactError, match=told):
        read_header(write(tmp_path / "w", header, data, length))


@pytest.mark.parametrize(("kind", "dtype"), [("F16", "<f2"), ("F32", "<f4"), ("F64", "<f8")])
@pytest.mark.parametrize("value", [np.nan, np.inf, -np.inf])
def test_A04_a_number_that_is_not_finite_is_found(
    tmp_path: Path, kind: str, dtype: str, value: float
) -> None:
    numbers = np.array([1.0, -0.0, np.finfo(dtype).max, np.finfo(dtype).tiny, 5], dtype)
    good = write(tmp_path / "g", {"a": entry(0, numbers.nbytes, [5], kind)}, numbers.tobytes())
    refuse_non_finite(good, read_header(good))
    numbers[4] = value
    bad = write(tmp_path / "b", {"a": entry(0, numbers.nbytes, [5], kind)}, numbers.tobytes())
    with pytest.raises(ArtefactError, match='"a" is not finite'):
        refuse_non_finite(bad, read_header(bad))


def test_A04_bfloat16_is_read_as_such(tmp_path: Path) -> None:
    for bits, finite in ((0x7F7F, True), (0x7C00, True), (0x7F80, False), (0xFFC0, False)):
        data = struct.pack("<2H", 0x3F80, bits)
        path = write(tmp_path / "w", {"a": entry(0, 4, [2], "BF16")}, data)
        if finite:
            refuse_non_finite(path, read_header(path))
        else:
            with pytest.raises(ArtefactError, match="not finite"):
                refuse_non_finite(path, read_header(path))


def rewrite(folder: Path, change: Any) -> None:
    from safetensors.numpy import save_file

    path = folder / "adapter_model.safetensors"
    held = tensors(path)
    change(held, next(name for name in held if "lora_A" in name))
    save_file(held, path)
    reseal(folder)


def test_A04_a_nan_is_refused_although_the_sums_are_right(lora: Path) -> None:
    rewrite(lora, lambda held, name: held[name].__setitem__((0, 0), np.nan))
    with pytest.raises(ArtefactError, match="is not finite"):
        artefact.load(lora)


def test_A04_another_rank_than_configured_is_refused(lora: Path) -> None:
    rewrite(lora, lambda held, name: held.update({name: np.zeros((5, 32), np.float32)}))
    with pytest.raises(ArtefactError, match=r"shape \[5, 32\], which does not fit the rank 4"):
        artefact.load(lora)


def test_A04_another_width_than_the_base_has_is_refused(lora: Path) -> None:
    rewrite(lora, lambda held, name: held.update({name: np.zeros((4, 31), np.float32)}))
    with pytest.raises(ArtefactError, match="does not fit its base"):
        artefact.load(lora)


def test_A04_a_missing_matrix_is_refused(lora: Path) -> None:
    rewrite(lora, lambda held, name: held.pop(name))
    with pytest.raises(ArtefactError, match="does not fit its adapter_config.json"):
        artefact.load(lora)


def test_A04_memory_is_bounded(tmp_path: Path) -> None:
    """A sparse file of 2 GB, and a header that claims what the format allows at most."""
    size = 2_000_000_000
    big = write(tmp_path / "big", {"a": entry(0, size, [size // 4])})
    with big.open("r+b") as file:
        file.truncate(big.stat().st_size + size)
    wide = write(tmp_path / "wide", b" " * (MAX_HEADER + 1))
    code = (
        "import resource, sys\n"
        "from pathlib import Path\n"
        "from fiatkit.artefact.weights import read_header, refuse_non_finite\n"
        "from fiatkit.errors import ArtefactError\n"
        "def rss(): return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss\n"
        "before = rss()\n"
        "refuse_non_finite(Path(sys.argv[1]), read_header(Path(sys.argv[1])))\n"
        "try: read_header(Path(sys.argv[2]))\n"
        "except ArtefactError: print(rss() - before)\n"
    )
    done = subprocess.run(
        [sys.executable, "-c", code, str(big), str(wide)], capture_output=True, text=True
    )
    kilobytes = 1 if sys.platform == "linux" else 1024
    assert int(done.stdout) / kilobytes < 40_000, done.stderr

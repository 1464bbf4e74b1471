"""A power cut: what was acknowledged is on the disk, and no file is there in part."""

import random
import sys
from pathlib import Path

import pytest

from fiatkit.reasoning import RationaleStore
from tests.faults import child, powercut
from tests.faults.fakeserver import FakeServer

pytestmark = pytest.mark.faults("strace")


def test_D03_a_power_cut_keeps_every_acknowledged_row(tmp_path: Path) -> None:
    place = tmp_path / "place"
    place.mkdir()
    store = place / "store.sqlite"
    with FakeServer() as server:
        words = child.command(server.url, store, 8)
        calls = powercut.record(words, place, tmp_path / "log", child.environment())
        rows = child.keys(server.url, child.queries(8))
    images = acked = 0
    for disk, said in powercut.cuts(calls, place):
        told = child.read(0, b"".join(said).decode(), "").acked
        acked = max(acked, len(told))
        for chance in (None, random.Random(images)):
            image = tmp_path / f"image{images}"
            disk.image(image, chance)
            images += 1
            with RationaleStore(image / "store.sqlite") as opened:
                for identity, digest in told.items():
                    found = opened.get(rows[identity].store)
                    assert found is not None, f"{identity} was acknowledged and is gone"
                    assert child.text_sum(found.text) == digest
                assert opened.verify() == []
                assert opened.corrupt == 0
    assert acked == 8
    assert images > 30


WRITES = """
import os, sys
from pathlib import Path
from fiatkit.files import write_jsonl, write_whole
path = Path(sys.argv[1])
write_whole(path, b"a" * 100_000)
os.write(1, b"a")
write_jsonl(path, ["b"] * 20_000)
os.write(1, b"b")
"""


def test_D03_a_power_cut_leaves_whole_files_only(tmp_path: Path) -> None:
    place = tmp_path / "place"
    place.mkdir()
    words = [sys.executable, "-c", WRITES, str(place / "out.jsonl")]
    calls = powercut.record(words, place, tmp_path / "log", child.environment())
    first, second = b"a" * 100_000, b'"b"\n' * 20_000
    allowed = {b"": (None, first), b"a": (first, second), b"ab": (second,)}
    images = 0
    for disk, said in powercut.cuts(calls, place):
        for chance in (None, *(random.Random(seed) for seed in range(10))):
            image = tmp_path / f"image{images}"
            disk.image(image, chance)
            images += 1
            out = image / "out.jsonl"
            found = out.read_bytes() if out.exists() else None
            assert found in allowed[b"".join(said)], (said, found and len(found))
    assert images >= 6 * 11

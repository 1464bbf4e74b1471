"""fiat store and fiat expand --shard, as a user types them."""

import re
from pathlib import Path

import pytest
from tests.command import fiat
from tests.end_to_end.conftest import RUN, TASK, rows


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    (tmp_path / "task.yaml").write_text(TASK)
    (tmp_path / "rows.csv").write_text(rows())
    (tmp_path / "run.yaml").write_text(RUN.format(model="smollm2-135m", plain="smollm2-135m"))
    return tmp_path


def test_shards_and_merge_come_to_what_one_run_comes_to(folder: Path) -> None:
    whole = fiat(folder, "expand", "run.yaml", "--store", "whole.sqlite")
    total = int(re.search(r"^(\d+) rationales", whole, re.M)[1])  # type: ignore[index]
    parts = 0
    for part in ("1/2", "2/2"):
        said = fiat(folder, "expand", "run.yaml", "--shard", part)
        parts += int(re.search(r"^(\d+) rationales", said, re.M)[1])  # type: ignore[index]
        assert "fiat store merge" in said
    assert parts == total
    runs = folder / "runs"
    stores = sorted(str(path.relative_to(folder)) for path in runs.glob("*shard*.sqlite"))
    assert len(stores) == 2
    merged = fiat(folder, "store", "merge", *stores)
    assert sum(map(int, re.findall(r"(\d+) added", merged))) == total
    assert "0 answers that are not" in fiat(
        folder, "store", "diff", "whole.sqlite", "runs/rationales.sqlite"
    )
    again = fiat(folder, "expand", "run.yaml")
    assert f"{total} from the store" in again
    assert "0 rationales: none to write" in fiat(folder, "expand", "run.yaml", "--shard", "1/2")


def test_looking_after_a_store(folder: Path) -> None:
    fiat(folder, "expand", "run.yaml")
    ledger = fiat(folder, "store", "ledger", "--by", "model,outcome")
    assert re.search(r"^scripted +done +\d+ ", ledger, re.M)
    assert re.search(r"^all +\d+ ", ledger, re.M)
    assert "Did you mean" in fiat(folder, "store", "ledger", "--by", "modle", code=2)
    assert "bytes before" in fiat(folder, "store", "compact")
    fiat(folder, "store", "export", "out.parquet")
    assert "0 added" in fiat(folder, "store", "import", "out.parquet")
    assert "all intact" in fiat(folder, "store", "verify")

    path = folder / "runs" / "rationales.sqlite"
    raw = path.read_bytes()
    path.write_bytes(bytes(100) + raw[100:])
    assert "fiat store recover" in fiat(folder, "expand", "run.yaml", code=2)
    assert re.search(r"\d+ completions, \d+ attempts", fiat(folder, "store", "recover"))
    assert "all intact" in fiat(folder, "store", "verify")
    assert (folder / "runs" / "rationales.sqlite.corrupt-1").exists()

"""The shipped example data is what its README says, and no row of one split is like one of another."""

import json
from collections import Counter
from pathlib import Path

import pytest

from fiatkit.config import read_config
from fiatkit.tasks import load_data, load_task

FOLDER = Path(__file__).parents[2] / "examples" / "support_desk"
SPLITS = ("train", "dev", "test")


def rows(split: str) -> list[dict[str, str]]:
    lines = (FOLDER / f"{split}.jsonl").read_text(encoding="utf-8").splitlines()
    return [json.loads(line) for line in lines]


def grams(text: str, size: int = 4) -> set[str]:
    folded = " ".join(text.casefold().split())
    return {folded[i : i + size] for i in range(len(folded) - size + 1)}


def likeness(a: set[str], b: set[str]) -> float:
    return len(a & b) / len(a | b)


@pytest.mark.parametrize(("split", "each"), [("train", 4), ("dev", 1), ("test", 4)])
def test_languages_and_queues_are_balanced(split: str, each: int) -> None:
    counts = Counter((row["language"], row["queue"]) for row in rows(split))
    assert len(counts) == 8 * 4
    assert set(counts.values()) == {each}


def test_ids_are_unique_and_tell_no_label() -> None:
    everything = [row for split in SPLITS for row in rows(split)]
    assert len({row["id"] for row in everything}) == len(everything) == 288
    for key in ("id", "situation"):
        assert not any(row["queue"] in row[key] for row in everything)


def test_no_near_duplicates() -> None:
    found = [(split, row["id"], grams(row["message"])) for split in SPLITS for row in rows(split)]
    for index, (split, identity, one) in enumerate(found):
        for other_split, other, two in found[:index]:
            limit = 0.3 if split != other_split else 0.5
            assert likeness(one, two) < limit, f"{identity} and {other}"


def test_no_row_is_an_exemplar() -> None:
    task = load_task(str(FOLDER / "task.yaml"))
    shown = [grams(exemplar.query.fields["message"]) for exemplar in task.exemplar_list]
    for split in SPLITS:
        for row in rows(split):
            assert all(likeness(grams(row["message"]), one) < 0.3 for one in shown), row["id"]


def test_the_product_reads_it() -> None:
    config = read_config(FOLDER / "run.yaml")
    data = load_data(load_task(config.task), config.data)
    assert (len(data.train), len(data.dev), len(data.test)) == (128, 32, 128)
    assert len({example.group for example in data.test}) == 16

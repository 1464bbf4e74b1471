"""A whole comparison, killed again and again and resumed, ends with the tables of an unbroken one.

5 recipes x 3 sizes x 3 seeds on rows of sib200_major, the tiny model and a scripted large one:
python -m pytest -m slow -s tests/end_to_end/test_killed_comparison.py
"""

import json
import os
import random
import signal
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from tests.command import WARM, WIDE, _fiat, fiat

from fiatkit.report import load_run, write_json

DATA = Path(os.environ.get("FIATKIT_DATA", "/nowhere")) / "sib200_major"
ROWS = {"train": 600, "dev": 16, "test": 32}
RUN = """
version: 1
title: killed and resumed
task: sib200
data: {{train: train.jsonl, dev: dev.jsonl, test: test.jsonl}}
large:
  provider: scripted
  latency: 0.01
  concurrency: 2
  answers:
    "[aeiou]\\\\W*$": "It ends with a vowel.\\nTopic: travel"
    "[0-9]": "It has a number.\\nTopic: science/technology"
    "[\\u0900-\\u0fff]": "It is written in another script.\\nTopic: health"
  default: "It says something.\\nTopic: politics"
small: {{model: {model}, device: cpu}}
recipes: [icl, tfidf, lora, instruct, fiat]
sizes: [24, 48, 96]
seeds: [0, 1, 2]
truncate: tail
floors: false
tuning: {{epochs: 1, learning_rate: 0.01, checkpoint_every: 2}}
"""
TIMES = {"seconds", "by_stage", "started", "unit"}


def folder_of(place: Path, model: Path) -> Path:
    place.mkdir()
    for name, count in ROWS.items():
        with (DATA / f"{name}.jsonl").open(encoding="utf-8") as file:
            lines = [line for line, _ in zip(file, range(count), strict=False)]
        (place / f"{name}.jsonl").write_text("".join(lines), encoding="utf-8")
    (place / "run.yaml").write_text(RUN.format(model=model), encoding="utf-8")
    return place


def compare(folder: Path, until: Callable[[], bool] = lambda: False) -> bool:
    """Start the comparison and kill it as soon as `until`; whether it was killed before its end."""
    shown = [folder / "stdout", folder / "stderr"]
    words = ("compare", "run.yaml")
    child = WARM.Process(target=_fiat, args=(folder, words, WIDE, shown))
    child.start()
    while child.is_alive() and not until():
        time.sleep(0.002)
    assert child.pid is not None
    if child.is_alive():
        os.kill(child.pid, signal.SIGKILL)
    child.join()
    assert child.exitcode in (0, -signal.SIGKILL), shown[1].read_text(encoding="utf-8")
    return child.exitcode != 0


def moments(folder: Path) -> Iterator[tuple[str, Callable[[], bool]]]:
    """When to kill it: among the rationales, in tunings, between cells, and at any time."""
    cells = folder / "runs" / "run" / "cells"

    def saved(recipe: str, steps: int) -> Callable[[], bool]:
        return lambda: len(list(cells.glob(f"{recipe}-*/checkpoints/step-*"))) >= steps

    def finished(count: int) -> Callable[[], bool]:
        return lambda: len(list(cells.glob("*/cell.json"))) >= count

    def later(seconds: float) -> Callable[[], bool]:
        at = time.monotonic() + seconds
        return lambda: time.monotonic() > at

    def unwritten() -> bool:
        """An adapter is saved, and its cell is not."""
        return any(not (p.parent / "cell.json").exists() for p in cells.glob("*/adapter"))

    store = folder / "runs" / "rationales.sqlite"
    yield "the store was made", store.exists
    yield "two cells are finished", finished(2)
    yield "lora is at its first checkpoint", saved("lora", 1)
    yield "lora's adapter is saved, its cell is not", unwritten
    yield "instruct is at its first checkpoint", saved("instruct", 1)
    yield "fiat is at its first checkpoint", saved("fiat", 1)
    yield "fiat is at its second checkpoint", saved("fiat", 2)
    yield "20 cells are finished", finished(20)
    for seed in range(3):
        yield "at any time", later(random.Random(seed).uniform(0.5, 6))


def numbers(value: Any) -> Any:
    """A report without what time it took."""
    if isinstance(value, dict):
        return {key: numbers(item) for key, item in value.items() if key not in TIMES}
    if isinstance(value, list):
        return [numbers(item) for item in value if not (isinstance(item, dict) and item.get("unit") == "seconds")]  # fmt: skip
    return value


def tables(folder: Path) -> tuple[Any, dict[str, bytes]]:
    """The report's JSON, and every prediction byte for byte."""
    out = folder / "runs" / "run"
    write_json(load_run(out), folder / "report.json")
    told = json.loads((folder / "report.json").read_text(encoding="utf-8"))
    price = told["analysis"]["price"]  # in the order of the time, where nothing costs money
    price["lines"].sort(key=lambda line: (line["recipe"], line["size"] or 0))
    price["break_even"].sort(key=lambda line: (line["a"], line["b"]))
    found = {path.parent.name: path.read_bytes() for path in out.glob("cells/*/predictions.jsonl")}
    return numbers(told), found


@pytest.mark.slow
@pytest.mark.skipif(not DATA.is_dir(), reason="FIATKIT_DATA has no sib200_major")
def test_killed_and_resumed_ends_with_the_same_tables(
    tmp_path: Path, tiny_chat_model: Path
) -> None:
    whole = folder_of(tmp_path / "whole", tiny_chat_model)
    began = time.monotonic()
    assert not compare(whole)
    print(f"\nunbroken: {time.monotonic() - began:.0f} s")
    broken = folder_of(tmp_path / "broken", tiny_chat_model)
    kills = 0
    for when, until in moments(broken):
        done = compare(broken, until)
        kills += done
        cells = len(list((broken / "runs" / "run" / "cells").glob("*/cell.json")))
        print(f"{'killed' if done else 'ended'} when {when}: {cells} cells finished")
    assert kills >= 8
    assert not compare(broken)
    for ours, theirs in zip(tables(broken), tables(whole), strict=True):
        assert ours == theirs
    out = broken / "runs" / "run"
    cells = [json.loads(path.read_text()) for path in out.glob("cells/*/cell.json")]
    tuned = [cell for cell in cells if cell["size"]]
    assert len(tuned) == 4 * 3 * 3
    ledger = fiat(broken, "store", "status")
    print(f"{kills} kills, {len(cells)} cells equal, {ledger.strip()}")

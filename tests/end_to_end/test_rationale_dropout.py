"""Rationale dropout: some rows are trained without their rationale, and only then is a row whose
rationale failed answered without one."""

import json
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from tests.command import fiat

from fiatkit.recipes import FIAT, INSTRUCT
from fiatkit.recipes.predictor import drops_rationale, training_pairs
from fiatkit.records import Example, Query, Rationale
from fiatkit.report.run import load_run
from fiatkit.report.words import verdict
from fiatkit.tasks import Task, load_task

HALF = replace(FIAT, rationale_dropout=0.5)
IDS = [f"r{number}" for number in range(400)]


def dropped(share: float, seed: int = 0, ids: list[str] = IDS) -> set[str]:
    recipe = replace(FIAT, rationale_dropout=share)
    return {row for row in ids if drops_rationale(recipe, row, seed)}


def test_a_share_of_the_rows_is_picked_by_id_and_seed_alone() -> None:
    assert dropped(0.0) == set()
    assert dropped(1.0) == set(IDS)
    assert 150 < len(dropped(0.5)) < 250
    assert dropped(0.3) < dropped(0.5), "a larger share keeps the rows of a smaller one"
    assert dropped(0.5, ids=IDS[:50]) == dropped(0.5) & set(IDS[:50])
    assert dropped(0.5, seed=1) != dropped(0.5)
    alone = replace(INSTRUCT, rationale_dropout=0.5)
    assert not any(drops_rationale(alone, row, 0) for row in IDS)


@pytest.fixture
def task(run_folder: Path) -> Task:
    return load_task(str(run_folder / "task.yaml"))


def test_rows_that_are_picked_need_no_rationale(task: Task) -> None:
    rows = [Example(Query(i, {"text": "sun"}, "en"), "warm", ("warm",), i) for i in IDS[:40]]
    texts = {i: Rationale(i, "It is hot.", "warm", "failed:truncated", "") for i in IDS[:40]}
    texts |= {i: Rationale(i, "It is hot.", "warm", "ok", "") for i in IDS[:20]}
    pairs, left_out = training_pairs(task, HALF, rows, texts, 0)
    bare = {pair.prompt.query_id for pair in pairs if pair.prompt.part("rationale") is None}
    assert bare == dropped(0.5, ids=IDS[:40])
    assert {pair.prompt.query_id for pair in pairs} == bare | set(IDS[:20])
    assert left_out == dict.fromkeys(set(IDS[20:40]) - bare, "rationale_truncated")


def run_with(folder: Path, dropout: float) -> tuple[dict[str, Any], list[dict[str, Any]], Path]:
    """Compare FIAT where the large model has nothing to say of Spanish heat."""
    text = (folder / "run.yaml").read_text()
    text = (
        text.replace("sun|sol", "sun")
        .replace("ice|hielo", "sol")
        .replace('"Answer: cold"}', '"", "ice|hielo": "Answer: cold"}')
    )
    text = text.replace("[icl, lora, instruct, fiat, finetune]", "[fiat]")
    text = text.replace("[8, 16]", "[16]").replace("[0, 1]", "[0]")
    text = text.replace("epochs: 2", f"epochs: 1, rationale_dropout: {dropout}")
    (folder / "run.yaml").write_text(text + "max_failed: 1\nfloors: false\n")
    fiat(folder, "compare", "run.yaml")
    out = folder / "runs" / "run"
    cell = out / "cells" / "fiat-n16-s0"
    lines = [json.loads(line) for line in (cell / "predictions.jsonl").read_text().splitlines()]
    return json.loads((cell / "cell.json").read_text()), lines, out


def test_a_row_without_a_good_rationale_falls_back_only_after_dropout(run_folder: Path) -> None:
    record, lines, out = run_with(run_folder, 0.5)
    fallen = [line for line in lines if line["fallback"]]
    assert fallen and {line["fallback"] for line in fallen} == {"rationale_empty"}
    assert all(line["status"] == "ok" and line["answer"] for line in lines)
    told = f"Rows answered without their rationale, which failed: fiat {len(fallen)} of 16."
    assert told in verdict(load_run(out))
    assert told in (out / "report.html").read_text("utf-8")
    assert any("are read without their rationale" in note for note in record["notes"])

    prepared = json.loads((out / "cells/fiat-n16-s0/adapter/preparation.json").read_text())
    assert prepared["recipe"]["rationale_dropout"] == 0.5
    (run_folder / "new.csv").write_text("id,language,text\n1,es,mucho sol\n2,en,the ice\n")
    shown = fiat(
        run_folder, "predict", "runs/run/cells/fiat-n16-s0/adapter", "new.csv", "--out", "new.jsonl"
    )
    assert "1 without their rationale, which failed" in shown
    rows = [json.loads(line) for line in (run_folder / "new.jsonl").read_text().splitlines()]
    assert [row["fallback"] for row in rows] == ["rationale_empty", ""]
    assert "read without its rationale" in fiat(run_folder, "doctor", "run.yaml", "--show", "16")


def test_without_dropout_a_row_without_a_good_rationale_fails(run_folder: Path) -> None:
    _, lines, out = run_with(run_folder, 0.0)
    failed = [line for line in lines if line["status"] != "ok"]
    assert {line["status"] for line in failed} == {"failed:rationale_empty"}
    assert all(line["answer"] is None and not line["fallback"] for line in failed)
    assert "without their rationale" not in verdict(load_run(out))

"""Every recipe of a comparison trains on the same rows, also when recipes come later."""

import json
from pathlib import Path
from typing import Any

import pytest
from tests.recipes.test_every_recipe import config, rows, write

from fiatkit.api import compare
from fiatkit.config import read_config
from fiatkit.errors import UsageError
from fiatkit.experiment import Cell, make_plan

SILENT = {row["id"] for row in rows() if "never" in row["text"]}


def cells(folder: Path) -> dict[str, dict[str, Any]]:
    files = (folder / "run/cells").glob("*/cell.json")
    return {file.parent.name: json.loads(file.read_text()) for file in files}


def run(folder: Path, small: Path, *recipes: str, **changes: Any) -> dict[str, dict[str, Any]]:
    values = config(folder, small, None, recipes=list(recipes), **changes)
    compare(values, progress=False)
    return cells(folder)


def test_rows_that_a_new_recipe_cannot_use_are_taken_from_the_others(
    tmp_path: Path, tiny_chat_model: Path
) -> None:
    write(tmp_path, "label")
    before = run(tmp_path, tiny_chat_model, "lora", sizes=[8, 16])
    assert all(record["left_out"] == {} for record in before.values())

    after = run(tmp_path, tiny_chat_model, "lora", "fiat", sizes=[8, 16])
    names = [f"{r}-n{n}-s0" for n in (8, 16) for r in ("lora", "fiat", "majority", "tfidf")]
    plan = make_plan(
        read_config(config(tmp_path, tiny_chat_model, None, recipes=["lora"], sizes=[8, 16]))
    )
    for name in names:
        record = after[name]
        drawn = {row.id for row in plan.drawn_rows(Cell("lora", record["size"], 0))}
        assert record["left_out"].keys() == SILENT & drawn
    assert after["lora-n16-s0"]["history"] != before["lora-n16-s0"]["history"], "tuned again"
    assert after["lora-n16-s0"]["notes"][0].endswith("rationale_empty (fiat)")

    again = run(tmp_path, tiny_chat_model, "lora", sizes=[8, 16])
    assert again == after, "what was left out stays so"


def test_a_row_that_is_too_long_for_one_is_left_out_of_all(
    tmp_path: Path, tiny_chat_model: Path
) -> None:
    write(tmp_path, "label")
    task = (tmp_path / "task.yaml").read_text()
    tuning = "tuning:\n  instruction: Say warm or cold."
    assert tuning in task
    (tmp_path / "task.yaml").write_text(task.replace(tuning, f"{tuning} {'Zz' * 30}"))
    train = rows()[:16]
    train[3]["text"] = "q" * 120
    lines = "".join(json.dumps(row) + "\n" for row in train)
    (tmp_path / "train.jsonl").write_text(lines)
    limits = {"epochs": 1, "max_length": 180, "rank": 4, "batch_rows": 4}
    found = run(tmp_path, tiny_chat_model, "lora", "instruct", tuning=limits, floors=False)
    assert {record["recipe"] for record in found.values()} == {"lora", "instruct"}
    for record in found.values():
        assert record["left_out"] == {"r3": "too_long (instruct)"}
        assert "1 training rows left out of every recipe: too_long (instruct)" in record["notes"]


def test_what_cannot_be_run_is_told_and_nothing_takes_its_place(
    tmp_path: Path, tiny_chat_model: Path, tiny_t5_model: Path
) -> None:
    write(tmp_path, "label")
    values = config(tmp_path, tiny_t5_model, None)
    values["recipes"] = ["lora", "finetune", "fiat -tuned_base", "own_rationale", "small_icl"]
    plan = make_plan(read_config(values))
    assert {cell.recipe for cell in plan.cells if not cell.is_floor} == {"lora"}
    assert set(plan.not_run) == {"finetune", "fiat -tuned_base", "own_rationale", "small_icl"}
    assert "small.plain names no base" in plan.not_run["finetune"]
    assert "encoder-decoder" in plan.not_run["small_icl"]
    assert any(note.startswith("finetune is not run: small.plain") for note in plan.notes)

    with pytest.raises(UsageError, match="None of the recipes can be run: finetune: small.plain"):
        make_plan(read_config(values | {"recipes": ["finetune"]}))

    one = [row | {"group": "all"} for row in rows()[16:20]]
    (tmp_path / "dev.jsonl").write_text("".join(json.dumps(row) + "\n" for row in one))
    shuffled = config(tmp_path, tiny_chat_model, None, recipes=["lora", "shuffled_hint"])
    told = make_plan(read_config(shuffled)).not_run
    assert told == {
        "shuffled_hint": "the dev rows are of one group, and a hint must come from another"
    }


def test_a_recipe_that_is_not_run_is_in_the_run_folder_and_in_the_report(
    tmp_path: Path, tiny_chat_model: Path
) -> None:
    write(tmp_path, "label")
    run(tmp_path, tiny_chat_model, "fiat -rationale -instruction", "finetune")
    info = json.loads((tmp_path / "run/run.json").read_text())
    assert [(one["recipe"], one["reason"]) for one in info["not_run"]] == [
        ("finetune", "small.plain names no base from before instruction tuning")
    ]
    page = (tmp_path / "run/report.html").read_text()
    assert "finetune is not run: small.plain names no base" in page
    told = '"fiat -rationale -instruction" is the recipe lora; it is run once, under this name.'
    assert told in info["data"]["notes"]

"""What a report says beside its numbers: what was not run, is not above the floors, is not known."""

import csv
import html
import io
import itertools
import json
import re
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import yaml
from rich.console import Console

from fiatkit.report import (
    load_run,
    summarise,
    terminal_table,
    write_csv,
    write_html,
    write_json,
    write_markdown,
)
from fiatkit.report.scatter import Point, Rule, _box, _labelled, _rules_apart
from fiatkit.report.words import cautions
from tests.report.synthetic import SKILL, make_run


def run_of(folder: Path, **options: Any) -> Path:
    defaults: dict[str, Any] = {"sizes": (50,), "seeds": (0,), "groups": 8, "languages": ("sw",)}
    return make_run(folder, **(defaults | options))


def change(path: Path, edit: Callable[[dict[str, Any]], None]) -> None:
    record = json.loads(path.read_text())
    edit(record)
    path.write_text(json.dumps(record))


def page(folder: Path) -> str:
    write_html(load_run(folder), folder / "report.html")
    return html.unescape((folder / "report.html").read_text(encoding="utf-8"))


def markdown(folder: Path) -> str:
    write_markdown(load_run(folder), folder / "x.md")
    return (folder / "x.md").read_text(encoding="utf-8").replace("\\", "")


def shown(folder: Path, width: int = 200) -> str:
    output = io.StringIO()
    Console(file=output, width=width).print(terminal_table(load_run(folder)))
    return output.getvalue()


def words_of(text: str) -> str:
    """The page's text without its tags."""
    return re.sub(r"\s+", " ", re.sub(r"<[^>]*>", "", text))


def test_a_recipe_that_was_not_run_stands_in_every_export_with_its_reason(tmp_path: Path) -> None:
    folder = run_of(tmp_path / "run")
    lacking = {"recipe": "distil", "label": "Distilled", "reason": "no small.plain"}
    change(folder / "run.json", lambda info: info.update(not_run=[lacking]))
    line = "distil: not run: no small.plain."
    assert line in words_of(page(folder))
    assert line in markdown(folder)
    assert line in shown(folder)
    write_json(load_run(folder), tmp_path / "x.json")
    assert json.loads((tmp_path / "x.json").read_text())["not_run"] == {"distil": "no small.plain"}
    write_csv(load_run(folder), tmp_path / "x.csv")
    with (tmp_path / "x.csv").open(encoding="utf-8-sig", newline="") as file:
        reasons = {row["recipe"]: row["not_run"] for row in csv.DictReader(file)}
    assert reasons.pop("distil") == "no small.plain"
    assert set(reasons.values()) == {""}


def test_an_outside_system_is_no_planned_cell(tmp_path: Path) -> None:
    folder = run_of(tmp_path / "run")
    file = tmp_path / "theirs.jsonl"
    rows = [json.loads(line) for line in (folder / "test.jsonl").read_text().splitlines()]
    file.write_text("".join(f'{{"id": "{row["id"]}", "answer": "travel"}}\n' for row in rows))
    summary = summarise(load_run(folder, {"theirs": file}))
    assert summary.finished == summary.planned == 8
    assert any(line.is_outside for line in summary.lines)


def test_answers_of_an_outside_system_that_are_no_label_are_counted(tmp_path: Path) -> None:
    folder = run_of(tmp_path / "run")
    file = tmp_path / "theirs.jsonl"
    rows = [json.loads(line) for line in (folder / "test.jsonl").read_text().splitlines()]
    answers = ["Travel!"] * 7 + ["travel"]
    lines = zip(rows, answers, strict=True)
    file.write_text("".join(f'{{"id": "{row["id"]}", "answer": "{a}"}}\n' for row, a in lines))
    told = cautions(load_run(folder, {"theirs": file}))
    words = 'theirs: 7 answers are no label of the task, e.g. "Travel!"; they count as wrong.'
    assert words in told


def test_the_settings_are_whole_however_long(tmp_path: Path) -> None:
    folder = run_of(tmp_path / "run")
    sources = [f"data/files of “Überblick” number {i}.jsonl" for i in range(200)]
    change(folder / "run.json", lambda info: info["config"].update(data={"files": sources}))
    found = re.search(r'aria-label="run.yaml"><code>(.*?)</code>', page(folder), re.DOTALL)
    assert found is not None and len(found[1]) > 6000
    assert yaml.safe_load(found[1])["data"]["files"] == sources


def answer_all(folder: Path, recipe: str, answer: str, score: float) -> None:
    """One answer for all rows of a recipe, and the score that the cell then tells."""
    place = folder / "cells" / f"{recipe}-n50-s0"
    rows = [json.loads(row) for row in (place / "predictions.jsonl").read_text().splitlines()]
    told = [row | {"answer": answer, "status": "ok", "probabilities": None} for row in rows]
    (place / "predictions.jsonl").write_text("".join(json.dumps(row) + "\n" for row in told))
    change(place / "cell.json", lambda r: r["scores"]["accuracy"].update(value=score))


def test_every_recipe_below_a_floor_is_named_and_the_cells_note_stands_at_the_table(
    tmp_path: Path,
) -> None:
    folder = run_of(tmp_path / "run", recipes=("majority", "tfidf", "icl", "fiat", "lora"))
    for recipe, score in (("majority", 20.0), ("tfidf", 45.0), ("fiat", 41.0), ("lora", 45.0)):
        cell = folder / "cells" / f"{recipe}-n50-s0" / "cell.json"
        change(cell, lambda r, score=score: r["scores"]["accuracy"].update(value=score))
    change(folder / "cells/icl-n0-s0/cell.json", lambda r: r["scores"]["accuracy"].update(value=60))
    note = "no better than the baseline: dev accuracy 20.0, and 25.0 for the most frequent answer"
    change(folder / "cells/fiat-n50-s0/cell.json", lambda r: r.update(notes=[note]))
    told = cautions(load_run(folder))
    assert "Not above the floor tfidf (45.0): fiat (41.0), lora (45.0)." in told
    for text in (words_of(page(folder)), markdown(folder), shown(folder)):
        assert f"fiat, 50 rows, seed 0: {note}." in text
    change(folder / "cells/icl-n0-s0/cell.json", lambda r: r["scores"]["accuracy"].update(value=44))
    assert "No recipe is above the floor tfidf (45.0)." in cautions(load_run(folder))


def test_recipes_with_one_answer_for_all_rows_share_a_sentence(tmp_path: Path) -> None:
    folder = run_of(tmp_path / "run")
    answer_all(folder, "lora", "travel", 20.0)
    answer_all(folder, "fiat", "sports", 20.0)
    told = [one for one in cautions(load_run(folder)) if "same answer" in one]
    assert told == ['Recipes that gave all rows the same answer: lora ("travel"), fiat ("sports").']


def test_recipes_of_which_every_row_failed_share_a_sentence(tmp_path: Path) -> None:
    folder = run_of(tmp_path / "run", recipes=("lora", "fiat"), fail=1.0)
    told = [one for one in cautions(load_run(folder)) if "failed" in one]
    assert told == ["Every row of lora, fiat failed."]


def test_no_sentence_has_a_hole_where_a_number_is_undefined(tmp_path: Path) -> None:
    folder = run_of(tmp_path / "run", fail=1.0, languages=("sw", "es", "bn", "am"))
    text = words_of(page(folder))
    assert "The large model's own answer is right for" in text
    for hole in ("in – of", "; – of these", "is right for –", "itself: not defined"):
        assert hole not in text


def test_the_groups_of_a_size_are_the_mean_over_seeds(tmp_path: Path) -> None:
    folder = run_of(tmp_path / "run", recipes=("fiat",), seeds=(0, 1))
    for seed, groups in ((0, 40), (1, 31)):
        cell = folder / "cells" / f"fiat-n50-s{seed}" / "cell.json"
        change(cell, lambda r, groups=groups: r.update(train_groups=groups))
    assert [line.train_groups for line in summarise(load_run(folder)).lines] == [36]


def test_a_language_keeps_its_name_in_the_filter(tmp_path: Path) -> None:
    folder = run_of(tmp_path / "run", languages=("sw", "es"))
    rows = (folder / "test.jsonl").read_text().replace('"language": "sw"', '"language": "swh_Latn"')
    (folder / "test.jsonl").write_text(rows)
    text = page(folder)
    assert re.search(r">swh_Latn \(\d+\)</option>", text)
    assert 'data-of="rows"' in text, "all are there: the sample is not spoken of"


@pytest.mark.parametrize("tuning", [0.0, 1e9])
def test_who_pays_is_told_with_both_names_and_the_unit(tmp_path: Path, tuning: float) -> None:
    """Also where one recipe is always the cheaper one."""
    folder = run_of(tmp_path / "run", recipes=("fiat", "lora"))
    change(folder / "cells/lora-n50-s0/cell.json", lambda r: r["seconds"].update(tuning=tuning))
    outcome = "never cheaper than lora" if tuning == 0 else "cheaper from"
    for text in (words_of(page(folder)), markdown(folder)):
        assert re.search(rf"fiat on 50 rows and lora on 50 rows, in time: [^.]*{outcome}", text)
        assert "Seconds were measured once, on this machine." in text


@pytest.mark.parametrize("more", [(), ("weighted_f1", "roc_auc", "quadratic_kappa")])
def test_R06_columns_are_left_out_before_the_table_falls_apart(
    tmp_path: Path, more: tuple[str, ...]
) -> None:
    labels = tuple("12345")
    names = ("accuracy", "macro_f1", "auc_pr", *more)
    folder = run_of(tmp_path / "run", recipes=tuple(SKILL), metric_names=names, labels=labels)
    lines = shown(folder, 80).splitlines()
    assert max(len(line.rstrip()) for line in lines) <= 80
    heads = [line for line in lines if line.startswith("recipe")]
    assert len(heads) == 3 and "Accuracy [95 %]" in heads[0] and "vs icl" in heads[1]
    assert sum(line.startswith("shuffled_hint") for line in lines) == 3
    told = " ".join(" ".join(lines).split())
    assert ("Left out for want of width: " in told) == bool(more)


def test_labels_of_points_at_one_place_do_not_cover_one_another() -> None:
    points = [Point(f"recipe number {i}", "", "", 500, 200, 190, 210, "") for i in range(12)]
    boxes = [_box(point) for point in _labelled(points, [Rule("naive", "", "a line", 560, 190)])]
    boxes.append((560 - 6 - 7.4 * 6, 190 - 17 - 3, 560 - 6, 190 - 3))
    for a, b in itertools.combinations(boxes, 2):
        assert min(a[2], b[2]) <= max(a[0], b[0]) or min(a[3], b[3]) <= max(a[1], b[1])


def test_names_of_two_lines_with_one_end_stand_apart() -> None:
    rules = _rules_apart([Rule(name, "", name, 900, 250) for name in ("naive", "controlled")])
    assert abs(rules[0].y - rules[1].y) >= 17

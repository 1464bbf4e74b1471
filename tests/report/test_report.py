"""The report: renders whatever a run holds, and what it holds is inert text."""

import io
import json
import re
from html.parser import HTMLParser
from pathlib import Path
from typing import Any

import pytest
from rich.console import Console

from fiatkit.errors import UsageError
from fiatkit.report import load_run, summarise, terminal_table, write_html
from fiatkit.report.words import verdict

XSS = [
    "<script>alert(1)</script>",
    '"><img src=x onerror=alert(1)>',
    "</title></style><svg onload=alert(1)>",
    "{{31337*3}} {% for x in y %}",
    "javascript:alert(1)",
    "\x1b[31mred\x00\u202eevil",
]


def make_run(
    folder: Path, answers: dict[str, list[str | None]], *, size: int = 20, text: str = "hello"
) -> Path:
    """A run folder of 20 test rows in two languages, target "a"; answers by cell folder."""
    planned = []
    for name in answers:
        recipe, n, s = name.rsplit("-", 2)
        tuned = n != "n0"
        planned.append(
            {
                "folder": name,
                "recipe": recipe,
                "size": int(n[1:]) if tuned else None,
                "seed": int(s[1:]) if tuned else None,
            }
        )
    rows = [
        {
            "id": f"r{i}",
            "language": ["de", "sw"][i % 2],
            "group": f"g{i // 2}",
            "fields": {"text": f"{text} {i}"},
            "target": "a",
            "references": ["a"],
            "rationale": {"text": text, "answer": "ab"[i % 2], "status": "ok"},
        }
        for i in range(size)
    ]
    folder.mkdir(parents=True)
    task = {"name": "toy", "description": "", "primary": "accuracy"}
    info: dict[str, Any] = {
        "title": text,
        "task": {**task, "metrics": ["accuracy", "auc_pr"], "labels": ["a", "b"]},
        "config": {"task": text},
        "cells": planned,
        "data": {
            "train": 9,
            "dev": 0,
            "test": size,
            "test_groups": 10,
            "held_out": 0,
            "notes": [text],
        },
        "models": {"large": {"provider": "scripted", "model": text}, "small": {"model": text}},
        "fiatkit": "0",
        "started": "now",
    }
    (folder / "run.json").write_text(json.dumps(info))
    (folder / "test.jsonl").write_text("\n".join(json.dumps(row) for row in rows))
    for plan in planned:
        _cell(folder / "cells" / plan["folder"], plan, answers[plan["folder"]], rows)
    return folder


def _cell(
    folder: Path, plan: dict[str, Any], answers: list[str | None], rows: list[dict[str, Any]]
) -> None:
    from fiatkit import metrics
    from fiatkit.records import Example, Prediction, Query, ScoredRow

    scored = []
    for row, answer in zip(rows, answers, strict=True):
        example = Example(
            Query(row["id"], row["fields"], row["language"]), "a", ("a",), row["group"]
        )
        status = "ok" if answer else "failed:x"
        scored.append(ScoredRow(example, Prediction(row["id"], answer, status, None, answer or "")))
    names = ("accuracy", "auc_pr")
    scores = {name: metrics.evaluate(name, scored, ["a", "b"], resamples=50) for name in names}
    folder.mkdir(parents=True)
    from dataclasses import asdict

    record = {
        "recipe": plan["recipe"],
        "label": f"label of {plan['recipe']}",
        "kind": "floor" if plan["recipe"] == "majority" else "recipe",
        "size": plan["size"],
        "seed": plan["seed"],
        "scores": {name: asdict(score) for name, score in scores.items()},
        "counts": {"ok": len(rows)},
        "train_groups": plan["size"],
        "usage": {"calls": 3, "prompt_tokens": 1000, "completion_tokens": None, "cached_tokens": 1},
        "seconds": {"tuning": 61.0},
    }
    (folder / "cell.json").write_text(json.dumps(record))
    lines = [
        {
            "id": r.example.id,
            "answer": a,
            "status": r.prediction.status,
            "probabilities": None,
            "text": a or "",
        }
        for r, a in zip(scored, answers, strict=True)
    ]
    (folder / "predictions.jsonl").write_text("\n".join(json.dumps(line) for line in lines))


RIGHT: list[str | None] = ["a"] * 20
HALF: list[str | None] = ["a", "b"] * 10
NONE: list[str | None] = [None] * 20
FULL = {
    "majority-n20-s0": HALF,
    "icl-n0-s0": HALF,
    "instruct-n20-s0": HALF,
    "instruct-n20-s1": HALF,
    "fiat-n20-s0": RIGHT,
    "fiat-n20-s1": RIGHT,
}


class Page(HTMLParser):
    """Collects what a browser would run or fetch."""

    def __init__(self) -> None:
        super().__init__()
        self.active: list[str] = []
        self.scripts = 0
        self.tags: set[str] = set()

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.tags.add(tag)
        if tag in ("img", "iframe", "object", "embed", "link", "form", "base"):
            self.active.append(tag)
        self.active += [n for n, _ in attrs if n.startswith("on") or n in ("src", "srcset")]
        self.active += [v or "" for n, v in attrs if n == "href" and not (v or "").startswith("#")]
        self.scripts += tag == "script"


def shown(folder: Path, width: int = 160) -> str:
    console = Console(width=width, record=True, file=io.StringIO())
    console.print(terminal_table(load_run(folder)))
    return console.export_text()


def page(folder: Path) -> str:
    write_html(load_run(folder), folder / "report.html")
    return (folder / "report.html").read_text(encoding="utf-8")


def test_a_full_run(tmp_path: Path) -> None:
    folder = make_run(tmp_path / "run", FULL)
    summary = summarise(load_run(folder))
    fiat = next(line for line in summary.lines if line.recipe == "fiat")
    assert (fiat.score, fiat.seeds, fiat.size) == (100, 2, 20)
    assert fiat.differences["instruct"] is not None
    assert fiat.differences["instruct"].value == 50
    assert fiat.differences["instruct"].distinguishable
    text = verdict(load_run(folder))
    assert "Best: fiat with 100.0" in text
    assert "FIAT is above instruct (+50.0" in text
    table = shown(folder)
    assert "+50.0*" in table
    assert "1:01" in table
    found = page(folder)
    for part in ("<svg", "Rows to read", "FIAT right, instruct wrong", "label of fiat", " / ?"):
        assert part in found


@pytest.mark.parametrize("text", XSS)
def test_R01_R02_data_is_inert_and_nothing_is_fetched(tmp_path: Path, text: str) -> None:
    folder = make_run(tmp_path / "run", {**FULL, "lora-n20-s0": [text] * 20}, text=text)
    found = page(folder)
    reader = Page()
    reader.feed(found)
    assert reader.active == []
    assert reader.scripts == 1, "its own"
    assert {"table", "svg", "main"} <= reader.tags
    assert "default-src 'none'" in found
    assert not re.search(r"https?://", found)
    assert "\x1b" not in found and "\x00" not in found
    assert "7*7" not in text or "{{7*7}}" in found


@pytest.mark.parametrize(
    "answers",
    [
        {"fiat-n20-s0": NONE},
        {"icl-n0-s0": HALF},
        {"majority-n20-s0": HALF},
        {"fiat-n20-s0": RIGHT, "fiat-n40-s0": HALF, "instruct-n40-s0": NONE},
    ],
)
def test_R04_partial_and_failed_runs_still_render(
    tmp_path: Path, answers: dict[str, list[str | None]]
) -> None:
    folder = make_run(tmp_path / "run", answers)
    assert any(told in shown(folder) for told in ("Best: ", "Only ", "No recipe"))
    assert "<h1>" in page(folder)


def test_an_unfinished_run_says_so(tmp_path: Path) -> None:
    folder = make_run(tmp_path / "run", FULL)
    (folder / "cells" / "fiat-n20-s1" / "cell.json").unlink()
    assert "Unfinished: 5 of 6 cells" in page(folder)
    assert "Unfinished" in shown(folder)


def test_nothing_finished_is_told(tmp_path: Path) -> None:
    folder = make_run(tmp_path / "run", {"fiat-n20-s0": RIGHT})
    (folder / "cells" / "fiat-n20-s0" / "cell.json").unlink()
    with pytest.raises(UsageError, match="finished yet"):
        load_run(folder)


@pytest.mark.parametrize("width", [20, 80, 200])
def test_R06_any_width(tmp_path: Path, width: int) -> None:
    assert "fiat" in "".join(shown(make_run(tmp_path / "run", FULL), width).split())


def test_R08_scores_equal_a_second_routine(tmp_path: Path) -> None:
    """The mean over languages counted again from the predictions on disk."""
    folder = make_run(tmp_path / "run", FULL)
    rows = {r["id"]: r for r in map(json.loads, (folder / "test.jsonl").read_text().splitlines())}
    for line in summarise(load_run(folder)).lines:
        files = list((folder / "cells").glob(f"{line.recipe}-*/predictions.jsonl"))
        means = []
        for file in files:
            by_language: dict[str, list[bool]] = {}
            for found in map(json.loads, file.read_text().splitlines()):
                row = rows[found["id"]]
                by_language.setdefault(row["language"], []).append(found["answer"] == row["target"])
            means.append(
                sum(100 * sum(v) / len(v) for v in by_language.values()) / len(by_language)
            )
        assert line.score == pytest.approx(sum(means) / len(means))


def test_one_answer_for_all_rows_and_a_single_recipe_are_told(tmp_path: Path) -> None:
    folder = make_run(tmp_path / "run", {"fiat-n8-s0": ["a"] * 20, "fiat-n8-s1": ["a", "b"] * 10})
    rows = [json.loads(line) for line in (folder / "test.jsonl").read_text().splitlines()]
    rows[0] |= {"target": "b", "references": ["b"]}
    (folder / "test.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))
    told = verdict(load_run(folder))
    assert told.startswith("Only fiat has a score: ")
    assert "Best" not in told
    assert 'fiat gave all rows the same answer, "a" at 1 of 2 seeds.' in told

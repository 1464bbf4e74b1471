"""The report on realistic runs: every shape renders, says what is missing, and stays inert."""

import itertools
import json
import os
import re
import subprocess
import sys
from html.parser import HTMLParser
from pathlib import Path
from typing import Any

import pytest
import yaml

from fiatkit.errors import UsageError
from fiatkit.report import (
    load_run,
    summarise,
    terminal_table,
    write_html,
    write_json,
    write_markdown,
)
from fiatkit.report.plot import bounds, draw
from fiatkit.report.readings import choose_rows, rationale_facts
from fiatkit.report.text import one_line, plain, redacted, shortened
from fiatkit.report.words import price, sentences
from tests.report.synthetic import make_run

EVIL = "</title></style><script>alert(1)</script><img src=x onerror=a()>\"'`\x1b]0;x\x07\x00\u2028"
VOID = {"meta", "br"}


class Tree(HTMLParser):
    """Checks that tags close in order, and collects what could act."""

    def __init__(self) -> None:
        super().__init__()
        self.open: list[str] = []
        self.tags: set[str] = set()
        self.acting: list[str] = []
        self.bare: list[str] = []

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.tags.add(tag)
        if tag in ("script", "img", "iframe", "object", "embed", "link", "form", "base", "a"):
            self.acting.append(tag)
        self.acting += [n for n, _ in attrs if n.startswith("on") or n in ("src", "href", "style")]
        if tag == "th" and "scope" not in dict(attrs):
            self.bare.append(tag)
        if tag not in VOID:
            self.open.append(tag)

    def handle_startendtag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.handle_starttag(tag, attrs)
        if tag not in VOID:
            self.open.pop()

    def handle_endtag(self, tag: str) -> None:
        assert self.open.pop() == tag


def page(folder: Path) -> str:
    write_html(load_run(folder), folder / "report.html")
    return (folder / "report.html").read_text(encoding="utf-8")


def tree(text: str) -> Tree:
    found = Tree()
    found.feed(text)
    assert found.open == []
    return found


@pytest.fixture(scope="module")
def full(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return make_run(tmp_path_factory.mktemp("full") / "run", sizes=(50, 200), groups=30)


def test_the_whole_page_is_well_formed_and_labelled(full: Path) -> None:
    text = page(full)
    found = tree(text)
    assert found.acting == []
    assert found.bare == [], "every header cell has a scope"
    assert {"caption", "title", "desc", "bdi", "h1", "h2"} <= found.tags
    for part in ("In short", "180 in 30 groups", "rationale names", "Apache-2.0", "45 groups"):
        assert part in text
    assert 'dir="auto" lang="ar"' in text


def test_the_page_states_its_style_and_allows_nothing_else(full: Path) -> None:
    import base64
    import hashlib

    text = page(full)
    style = text.split("<style>")[1].split("</style>")[0]
    digest = base64.b64encode(hashlib.sha256(style.encode()).digest()).decode()
    assert f"default-src 'none'; style-src 'sha256-{digest}'" in text
    assert "url(" not in style and "@import" not in style


def test_the_words_name_winner_margin_certainty_and_price(full: Path) -> None:
    summary = summarise(load_run(full))
    assert summary.lead is not None and summary.lead.best.recipe == "fiat"
    told = sentences(summary)
    assert told[0].startswith("Best: fiat with ")
    assert "ahead of icl_constrained (+" in told[0]
    assert any(sentence.startswith("FIAT is above instruct (+") for sentence in told)
    assert re.search(r"fiat took 440 calls of the large model \(151k tokens in", price(summary))
    assert "without any call: lora" in price(summary)


def test_seeds_are_averaged_and_compared_in_pairs(full: Path) -> None:
    run = load_run(full)
    line = next(x for x in summarise(run).lines if (x.recipe, x.size) == ("fiat", 200))
    cells = [c for c in run.cells if (c.recipe, c.record.size) == ("fiat", 200)]
    values = [c.record.scores["accuracy"].value or 0.0 for c in cells]
    assert line.seeds == 2
    assert line.score == pytest.approx(sum(values) / 2)
    assert line.low is not None and line.high is not None and line.low < line.score < line.high


def poison(folder: Path) -> None:
    """Put active text into every string of a run folder."""

    def evil(value: Any, key: str = "") -> Any:
        if isinstance(value, dict):
            return {k: evil(v, k) for k, v in value.items()}
        if isinstance(value, list):
            return [evil(item, key) for item in value]
        kept = ("recipe", "primary", "metrics", "kind", "id", "folder", "metric")
        return value + EVIL if isinstance(value, str) and key not in kept else value

    for path in folder.rglob("*.json"):
        record = json.loads(path.read_text())
        scores = record.pop("scores", None)
        record = evil(record) | ({} if scores is None else {"scores": scores})
        path.write_text(json.dumps(record))
    for path in folder.rglob("*.jsonl"):
        lines = [json.loads(line) for line in path.read_text().splitlines()]
        for line in lines:
            line["id"] += EVIL
            line.pop("probabilities", None)
        path.write_text("".join(json.dumps(evil(line)) + "\n" for line in lines))


def test_active_text_everywhere_stays_text(tmp_path: Path) -> None:
    folder = make_run(tmp_path / "run", sizes=(50,), seeds=(0,), groups=8, fail=0.2)
    poison(folder)
    text = page(folder)
    found = tree(text)
    assert found.acting == []
    assert "script" not in found.tags
    assert not set("\x00\x07\x1b") & set(text)
    write_markdown(load_run(folder), tmp_path / "x.md")
    markdown = (tmp_path / "x.md").read_text()
    assert "<script" not in markdown.replace("\\<", "")
    assert not set("\x00\x07\x1b") & set(markdown)


@pytest.mark.parametrize(
    "options",
    [
        {"recipes": ("fiat",)},
        {"recipes": ("icl",)},
        {"recipes": ("majority", "tfidf")},
        {"recipes": ("lora", "finetune")},
        {"fail": 1.0},
        {"languages": ("sw",)},
        {"groups": 1},
        {"metric_names": ("auc_pr", "accuracy")},
        {"metric_names": ("macro_f1",)},
        {"metric_names": ("qa_f1", "exact_match"), "labels": ("blue river", "red river", "sea")},
    ],
)
def test_every_shape_of_run_renders(tmp_path: Path, options: dict[str, Any]) -> None:
    defaults: dict[str, Any] = {"sizes": (50,), "seeds": (0,), "groups": 8}
    folder = make_run(tmp_path / "run", **(defaults | options))
    assert tree(page(folder)).acting == []
    write_json(load_run(folder), tmp_path / "x.json")
    assert json.loads((tmp_path / "x.json").read_text())["lines"]


def test_all_failed_is_said_and_is_no_hundred_per_cent(tmp_path: Path) -> None:
    folder = make_run(tmp_path / "run", sizes=(50,), seeds=(0,), groups=8, fail=1.0)
    text = page(folder)
    assert "Every row of fiat failed." in text
    summary = summarise(load_run(folder))
    assert all(line.score == 0 for line in summary.lines)
    assert "no answer" in text


def test_undefined_scores_are_named_and_never_zero(tmp_path: Path) -> None:
    """Text-only recipes have no AUC-PR; a NaN on disk is undefined too."""
    folder = make_run(
        tmp_path / "run", sizes=(50,), seeds=(0,), groups=30, metric_names=("auc_pr", "accuracy")
    )
    path = folder / "cells" / "lora-n50-s0" / "cell.json"
    record = json.loads(path.read_text())
    record["scores"]["auc_pr"]["value"] = float("nan")
    path.write_text(json.dumps(record))
    summary = summarise(load_run(folder))
    undefined = {line.recipe for line in summary.lines if line.score is None}
    assert undefined == {"icl", "icl_constrained", "lora"}
    text = page(folder)
    assert "AUC-PR is undefined for" in text
    assert "The positive label is" in text


def test_a_single_size_and_no_size_still_give_a_plot(tmp_path: Path) -> None:
    one = make_run(tmp_path / "one", sizes=(50,), seeds=(0,), groups=8)
    plot = draw(summarise(load_run(one)))
    assert plot is not None and len(plot.sizes) == 1
    icl = make_run(tmp_path / "icl", recipes=("icl",), groups=8)
    plot = draw(summarise(load_run(icl)))
    assert plot is not None and plot.sizes == []
    assert "no recipe here is tuned" in page(icl)


def test_plot_labels_stay_apart_and_inside(full: Path) -> None:
    summary = summarise(load_run(full))
    plot = draw(summary)
    assert plot is not None
    places = sorted(one.label_y for one in plot.series)
    assert all(b - a >= 15.9 for a, b in itertools.pairwise(places))
    assert places[-1] <= plot.height
    low, high = bounds(summary.lines)
    assert all(low <= (line.low or low) and (line.high or high) <= high for line in summary.lines)


def test_rows_to_read_cover_both_ways_and_state_their_number(full: Path) -> None:
    run = load_run(full)
    kinds = choose_rows(run)
    names = [kind.name for kind in kinds]
    assert names[:2] == ["FIAT right, instruct wrong", "FIAT wrong, instruct right"]
    assert sum(kind.total for kind in kinds) == 180
    assert kinds == choose_rows(run), "the sample is seeded"
    shown = sum(len(kind.rows) for kind in kinds)
    assert f"{shown} of 180 test rows" in page(full)
    for item in kinds[0].rows:
        marks = {answer.recipe: answer.mark for answer in item.answers}
        assert marks["fiat"] == "right" and marks["instruct"] != "right"


def test_free_text_answers_may_be_partly_right(tmp_path: Path) -> None:
    folder = make_run(
        tmp_path / "run",
        sizes=(50,),
        seeds=(0,),
        groups=10,
        metric_names=("qa_f1", "exact_match"),
        labels=("blue river", "red river", "sea"),
    )
    marks = {a.mark for kind in choose_rows(load_run(folder)) for i in kind.rows for a in i.answers}
    assert marks == {"right", "partly", "wrong"}
    assert "partly 50.0" in page(folder)


def test_rationale_quality_is_counted_by_hand(full: Path) -> None:
    run = load_run(full)
    facts = rationale_facts(run)
    assert facts is not None
    named = [row.rationale.answer == row.target for row in run.rows if row.rationale]
    parts = {part.name: part for part in facts.parts}
    assert parts["the right answer"].rows == sum(named)
    assert sum(part.rows for part in facts.parts) == facts.total == 180
    cell = next(c for c in run.cells if c.record.size == 200 and c.recipe == "fiat")
    right = [
        cell.predictions[row.id].answer == row.target
        for row in run.rows
        if row.rationale and row.rationale.answer == row.target
    ]
    expected = 100 * sum(right) / len(right)
    assert parts["the right answer"].scores["fiat"] == pytest.approx(expected)


def test_the_settings_shown_are_a_run_file(full: Path) -> None:
    from fiatkit.report.html import settings_yaml

    values = yaml.safe_load(settings_yaml(load_run(full)))
    assert values["large"] == {"provider": "llama_cpp", "model": "qwen2.5-coder-1.5b"}
    assert "out" not in values
    assert "fiat compare run.yaml --out runs/run" in page(full)


def test_long_texts_and_many_rows_give_a_small_file(tmp_path: Path) -> None:
    folder = make_run(
        tmp_path / "run", recipes=("instruct", "fiat"), sizes=(50,), seeds=(0,), groups=200
    )
    lines = [json.loads(line) for line in (folder / "test.jsonl").read_text().splitlines()]
    for line in lines:
        line["fields"]["text"] *= 200
    (folder / "test.jsonl").write_text("".join(json.dumps(line) + "\n" for line in lines))
    assert len(page(folder)) < 1_000_000
    assert "more characters]" in page(folder)


@pytest.mark.parametrize("name", ["run.json", "cells/fiat-n50-s0/cell.json"])
@pytest.mark.parametrize("content", ["", "{", "[]", '{"version": 1}'])
def test_a_damaged_folder_is_one_clear_error(tmp_path: Path, name: str, content: str) -> None:
    folder = make_run(tmp_path / "run", recipes=("fiat",), sizes=(50,), seeds=(0,), groups=3)
    (folder / name).write_text(content)
    with pytest.raises(UsageError, match="is damaged"):
        load_run(folder)


def test_missing_predictions_are_an_error_and_never_scored(tmp_path: Path) -> None:
    folder = make_run(tmp_path / "run", recipes=("fiat",), sizes=(50,), seeds=(0,), groups=3)
    path = folder / "cells" / "fiat-n50-s0" / "predictions.jsonl"
    path.write_text("".join(path.read_text().splitlines(keepends=True)[1:]))
    with pytest.raises(UsageError, match="no prediction for 1 test rows"):
        load_run(folder)


SHOW = """
import sys
from pathlib import Path
from rich.console import Console
from fiatkit.report import load_run, summarise, terminal_table
Console().print(terminal_table(summarise(load_run(Path(sys.argv[1])))))
"""


@pytest.mark.parametrize(
    "extra",
    [{"COLUMNS": "20"}, {"NO_COLOR": "1"}, {"LC_ALL": "C"}, {"PYTHONIOENCODING": "ascii"}, {}],
)
def test_R06_the_table_needs_no_terminal_no_colour_no_unicode(
    full: Path, extra: dict[str, str]
) -> None:
    environment = {**os.environ, "COLUMNS": "200", **extra}
    done = subprocess.run(
        [sys.executable, "-c", SHOW, str(full)], env=environment, capture_output=True, timeout=60
    )
    assert done.returncode == 0, done.stderr.decode()
    assert b"fiat" in done.stdout and b"\x1b" not in done.stdout


@pytest.mark.parametrize("width", [20, 79, 80, 100, 140, 200])
def test_R06_no_line_is_wider_than_the_terminal(full: Path, width: int) -> None:
    import io

    from rich.console import Console

    output = io.StringIO()
    Console(file=output, width=width).print(terminal_table(summarise(load_run(full))))
    assert max(len(line.rstrip()) for line in output.getvalue().splitlines()) <= width
    assert "vs instruct" in output.getvalue()


def test_R06_escape_sequences_in_a_title_are_shown_not_sent(tmp_path: Path) -> None:
    import io

    from rich.console import Console

    folder = make_run(tmp_path / "run", recipes=("fiat",), sizes=(50,), seeds=(0,), groups=3)
    info = json.loads((folder / "run.json").read_text())
    info["title"] = "a\x1b[2Jb\x9b31m\u202ec[bold]d"
    (folder / "run.json").write_text(json.dumps(info))
    output = io.StringIO()
    Console(file=output, width=200, force_terminal=True).print(
        terminal_table(summarise(load_run(folder)))
    )
    assert "a\\x1b[2Jb\\x9b31m\\u202ec[bold]d" in output.getvalue()


def test_text_is_made_plain() -> None:
    assert plain("a\x00\n\tb\ud800") == "a\\x00\n\tb\\ud800"
    assert one_line("a\nb") == "a\\x0ab"
    assert plain("e\u0301 पाकिस्तान\u200d") == "e\u0301 पाकिस्तान\u200d", (
        "joiners are part of writing"
    )
    assert shortened("x" * 10, 4) == "xxxx [... 6 more characters]"
    assert redacted("https://me:secret@host/v1") == "https://host/v1"

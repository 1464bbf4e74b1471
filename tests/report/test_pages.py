"""The report on realistic runs: every shape renders, says what is missing, and stays inert."""

import io
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
    write_csv,
    write_html,
    write_json,
    write_markdown,
    write_rows,
)
from fiatkit.report.family import family
from fiatkit.report.languages import languages
from fiatkit.report.plot import bounds, draw_curves
from fiatkit.report.price import prices
from fiatkit.report.sample import FULLY, LEAST, PARTLY, WRONG, draw_rows
from fiatkit.report.scatter import draw_gain, draw_price
from fiatkit.report.text import dollars, duration, one_line, plain, redacted, shortened
from fiatkit.report.words import price, sentences
from tests.report.synthetic import make_run

EVIL = "</title></style><script>alert(1)</script><img src=x onerror=a()>\"'`\x1b]0;x\x07\x00\u2028"
VOID = {"meta", "br", "input"}


class Tree(HTMLParser):
    """Checks that tags close in order, and collects what could act."""

    def __init__(self) -> None:
        super().__init__()
        self.open: list[str] = []
        self.tags: set[str] = set()
        self.acting: list[str] = []
        self.scripts = 0
        self.bare: list[str] = []

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.tags.add(tag)
        if tag in ("img", "iframe", "object", "embed", "link", "form", "base"):
            self.acting.append(tag)
        self.acting += [n for n, _ in attrs if n.startswith("on") or n in ("src", "style")]
        self.acting += [v or "" for n, v in attrs if n == "href" and not (v or "").startswith("#")]
        self.scripts += tag == "script"
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
    assert found.scripts == 1, "its own"
    return found


@pytest.fixture(scope="module")
def full(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return make_run(tmp_path_factory.mktemp("full") / "run", sizes=(50, 200), groups=30)


def test_the_whole_page_is_well_formed_and_labelled(full: Path) -> None:
    text = page(full)
    found = tree(text)
    assert found.acting == []
    assert found.bare == [], "every header cell has a scope"
    assert {"caption", "title", "svg", "bdi", "h1", "h2", "search"} <= found.tags
    for part in ("In short", "180 in 30 ", "rationale names", "Apache-2.0", "45 groups"):
        assert part in text
    assert 'dir="auto" lang="ar"' in text


def test_the_page_states_its_style_and_script_and_allows_nothing_else(full: Path) -> None:
    import base64
    import hashlib

    text = page(full)
    policy = "default-src 'none'"
    for tag, directive in (("style", "style-src"), ("script", "script-src")):
        source = text.split(f"<{tag}>")[1].split(f"</{tag}>")[0]
        digest = base64.b64encode(hashlib.sha256(source.encode()).digest()).decode()
        policy += f"; {directive} 'sha256-{digest}'"
    assert f"{policy}; base-uri 'none'; form-action 'none'" in text
    style = text.split("<style>")[1].split("</style>")[0]
    assert "url(" not in style and "@import" not in style


def test_the_words_name_winner_margin_certainty_and_price(full: Path) -> None:
    run = load_run(full)
    summary = summarise(run)
    assert summary.lead is not None and summary.lead.best.recipe == "fiat"
    told = sentences(run)
    assert told[0].startswith("Best: fiat with ")
    assert "ahead of icl_constrained (+" in told[0]
    assert any(sentence.startswith("FIAT is above instruct (+") for sentence in told)
    assert re.fullmatch(
        r"1,000 predictions take 1,000 calls of the large model \(343k tokens in, 24k out\) with "
        r"fiat \(35 min\) and icl \(3\d min\); no call of the large model with instruct \(\d+ s\)\.",
        price(run),
    )


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
    assert re.search(r"Every row of [^.]*\bfiat\b[^.]* failed\.", text)
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


def test_a_curve_needs_two_sizes(tmp_path: Path) -> None:
    one = make_run(tmp_path / "one", sizes=(50,), seeds=(0,), groups=8)
    assert draw_curves(summarise(load_run(one))) is None
    assert 'id="curves"' not in page(one)


def test_prices_and_gains_are_drawn_and_labels_keep_clear(full: Path) -> None:
    run = load_run(full)
    found = prices(run)
    drawn = draw_price(found, [line for line in found.lines if line.size in (None, 200)])
    assert drawn is not None and len(drawn.points) == 8
    assert drawn.left < min(p.x for p in drawn.points) < max(p.x for p in drawn.points)
    places = {p.name: p.x for p in drawn.points}
    assert places["tfidf"] < places["instruct"] < places["fiat"], "what costs more is to the right"
    boxes = sorted((p.label_x, p.label_y, p.name) for p in drawn.points)
    assert len({(x, y) for x, y, _ in boxes}) == 8
    gain = languages(run).gain
    assert gain is not None
    lines = draw_gain(gain)
    assert [p.name for p in sorted(lines.points, key=lambda p: p.name)] == sorted(
        ["am", "ar", "bn", "es", "sw", "zh"]
    )
    assert all(p.low > p.y > p.high for p in lines.points), "upwards is smaller"
    text = page(full)
    for part in ("computing time for 1,000 predictions", "as the paper draws it", "What it costs"):
        assert part in text


@pytest.mark.parametrize(
    ("value", "told"),
    [(0.03, "0.03 s"), (1, "1 s"), (89, "89 s"), (90, "1.5 min"), (2100, "35 min"), (3600, "1 h")],
)
def test_a_time_is_told_as_a_person_does(value: float, told: str) -> None:
    assert duration(value) == told


@pytest.mark.parametrize(
    ("value", "told"),
    [
        (None, "?"),
        (0.0, "$0.00"),
        (0.0042, "$0.0042"),
        (0.5, "$0.50"),
        (12.3, "$12.30"),
        (1234.0, "$1,234"),
    ],
)
def test_dollars_have_the_digits_that_they_need(value: float | None, told: str) -> None:
    assert dollars(value) == told


def test_plot_labels_stay_apart_and_inside(full: Path) -> None:
    summary = summarise(load_run(full))
    drawn = draw_curves(summary)
    assert drawn is not None
    plot = drawn.main
    assert len(drawn.panels) == 6, "one a recipe, floors left out"
    places = sorted(one.label_y for one in plot.series)
    assert all(b - a >= 15.9 for a, b in itertools.pairwise(places))
    assert places[-1] <= plot.height
    low, high = bounds(summary.lines)
    assert all(low <= (line.low or low) and (line.high or high) <= high for line in summary.lines)


def test_rows_to_read_cover_every_kind_and_state_their_number(full: Path) -> None:
    run = load_run(full)
    sample = draw_rows(run, shown=60)
    assert sample == draw_rows(run, shown=60), "the sample is seeded"
    assert len(sample.rows) == len({item.row.id for item in sample.rows}) == 60
    names = [kind.name for kind in sample.kinds]
    assert names[:2] == ["FIAT right, instruct wrong", "instruct right, FIAT wrong"]
    cells = {c.recipe: c for c in run.cells if (c.record.size, c.record.seed) == (200, 0)}
    for kind in sample.kinds[:2]:
        right, wrong = ("fiat", "instruct") if kind.name[0] == "F" else ("instruct", "fiat")
        counted = sum(
            cells[right].predictions[row.id].answer
            == row.target
            != cells[wrong].predictions[row.id].answer
            for row in run.rows
        )
        assert kind.total == counted
        found = [item for item in sample.rows if set(kind.needs.split()) <= set(item.marks.split())]
        assert len(found) >= min(LEAST, kind.total)
        for item in found:
            marks = {name: one.mark for one in item.answers for name in one.recipes}
            assert marks[right] == FULLY and marks[wrong] != FULLY
    assert "All 180 test rows, in random order" in page(full)


def test_free_text_answers_may_be_partly_right(tmp_path: Path) -> None:
    folder = make_run(
        tmp_path / "run",
        sizes=(50,),
        seeds=(0,),
        groups=10,
        metric_names=("qa_f1", "exact_match"),
        labels=("blue river", "red river", "sea"),
    )
    marks = {one.mark for item in draw_rows(load_run(folder)).rows for one in item.answers}
    assert {FULLY, PARTLY, WRONG} <= marks
    assert "worth 50.0" in page(folder)


def test_the_settings_shown_are_a_run_file(full: Path) -> None:
    from fiatkit.report.html import settings_yaml

    values = yaml.safe_load(settings_yaml(load_run(full)))
    assert values["large"] == {"provider": "llama_cpp", "model": "qwen2.5-coder-1.5b"}
    assert "out" not in values
    assert "fiat compare run.yaml --out runs/run" in page(full)


def lengthen(folder: Path, times: int) -> None:
    lines = [json.loads(line) for line in (folder / "test.jsonl").read_text().splitlines()]
    for line in lines:
        line["fields"]["text"] *= times
        line["rationale"]["text"] *= times
    (folder / "test.jsonl").write_text("".join(json.dumps(line) + "\n" for line in lines))


def test_R03_long_texts_and_many_rows_give_a_small_file(tmp_path: Path) -> None:
    """The size does not grow with the rows; `make bench-report` measures a million of them."""
    sizes = []
    for groups in (50, 250):
        folder = make_run(
            tmp_path / f"run{groups}",
            recipes=("instruct", "fiat"),
            sizes=(50,),
            seeds=(0,),
            groups=groups,
        )
        lengthen(folder, 400)
        text = page(folder)
        sizes.append(len(text.encode()))
        assert "more characters]" in text
        assert f"200 of {groups * 6:,} test rows: at least 8 of each kind" in text
    assert sizes[1] < 1.02 * sizes[0] < 6_000_000


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
from fiatkit.report import load_run, terminal_table
Console().print(terminal_table(load_run(Path(sys.argv[1]))))
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
    from rich.console import Console

    output = io.StringIO()
    Console(file=output, width=width).print(terminal_table(load_run(full)))
    assert max(len(line.rstrip()) for line in output.getvalue().splitlines()) <= width
    assert "vs instruct" in output.getvalue()


def test_R06_escape_sequences_in_a_title_are_shown_not_sent(tmp_path: Path) -> None:
    from rich.console import Console

    folder = make_run(tmp_path / "run", recipes=("fiat",), sizes=(50,), seeds=(0,), groups=3)
    info = json.loads((folder / "run.json").read_text())
    info["title"] = "a\x1b[2Jb\x9b31m\u202ec[bold]d"
    (folder / "run.json").write_text(json.dumps(info))
    output = io.StringIO()
    Console(file=output, width=200, force_terminal=True).print(terminal_table(load_run(folder)))
    assert "a\\x1b[2Jb\\x9b31m\\u202ec[bold]d" in output.getvalue()


def test_text_is_made_plain() -> None:
    assert plain("a\x00\n\tb\ud800") == "a\\x00\n\tb\\ud800"
    assert one_line("a\nb") == "a\\x0ab"
    assert plain("e\u0301 पाकिस्तान\u200d") == "e\u0301 पाकिस्तान\u200d", (
        "joiners are part of writing"
    )
    assert shortened("x" * 10, 4) == "xxxx [... 6 more characters]"
    assert redacted("https://me:secret@host/v1") == "https://host/v1"


FORMULAS = (
    "=1+1",
    "+1",
    "@SUM(A1)",
    "-1+1|cmd",
    "\t=1",
    "\r=1",
    "  =1",
    "＝1",
    "\n-x",
    "-5",
    "-5.5e3",
)


def test_R05_no_cell_of_a_csv_export_is_a_formula(tmp_path: Path) -> None:
    import csv

    folder = make_run(tmp_path / "run", sizes=(50,), seeds=(0,), groups=8, fail=0.2)
    lines = [json.loads(line) for line in (folder / "test.jsonl").read_text().splitlines()]
    for i, line in enumerate(lines):
        line["fields"] = {"=name": FORMULAS[i % len(FORMULAS)]}
        line["rationale"]["text"] = FORMULAS[-1 - i % len(FORMULAS)]
    (folder / "test.jsonl").write_text("".join(json.dumps(line) + "\n" for line in lines))
    cell = folder / "cells" / "fiat-n50-s0" / "cell.json"
    cell.write_text(json.dumps(json.loads(cell.read_text()) | {"label": "=HYPERLINK(0)"}))
    for write, name, rows in ((write_csv, "table.csv", 8), (write_rows, "rows.csv", 48)):
        write(load_run(folder), tmp_path / name)
        text = (tmp_path / name).read_text(encoding="utf-8-sig")
        found = list(csv.reader(io.StringIO(text)))
        assert len(found) == rows + 1 and len({len(line) for line in found}) == 1
        cells = [cell for line in found for cell in line if cell]
        for cell_text in cells:
            acts = cell_text.lstrip()[:1] in "=+-@＝＋－＠" or cell_text[0] in "\t\r\n"
            assert not acts or re.fullmatch(r"[+-]?[\d.]+(e[+-]?\d+)?", cell_text), cell_text
        assert any(cell_text.startswith("'=") for cell_text in cells)
    assert {"-5", "+1"} <= {line[3] for line in found}, "numbers stay numbers"


def test_a_csv_export_has_the_numbers_of_the_report(full: Path, tmp_path: Path) -> None:
    import csv

    write_csv(load_run(full), tmp_path / "table.csv")
    with (tmp_path / "table.csv").open(encoding="utf-8-sig", newline="") as file:
        found = {(row["recipe"], row["training_rows"]): row for row in csv.DictReader(file)}
    for line in summarise(load_run(full)).lines:
        row = found[line.recipe, "" if line.size is None else str(line.size)]
        assert float(row["accuracy"]) == line.score
        versus = line.differences["instruct"]
        assert row["vs_instruct"] == ("" if versus is None else str(versus.value))
        one = family(load_run(full)).of(line.recipe, line.size)
        known = one is not None and not line.is_floor
        assert row["fiat_p_corrected"] == (str(one.p_holm) if one and known else "")
        assert row["per_1000_dollars"] == "0.0", "a model in this process bills nothing"
    write_rows(load_run(full), tmp_path / "rows.csv")
    with (tmp_path / "rows.csv").open(encoding="utf-8-sig", newline="") as file:
        rows = list(csv.DictReader(file))
    assert len(rows) == 180
    fiat = next(c for c in load_run(full).cells if c.name == "fiat, 200 rows, seed 0")
    for row in rows:
        answer = fiat.predictions[row["id"]].answer
        assert row["fiat.answer"] == (answer or "")
        assert float(row["fiat.value"]) == 100 * (answer == row["target"])

"""The report in headless Chromium, from the file system: silent, inert, usable by keyboard.

Needs Chromium (`apt-get install chromium`); skipped elsewhere. The accessibility checker axe-core
is used where it lies in build/axe; `make report-browser` fetches it and runs these tests.
"""

from __future__ import annotations

import json
import os
import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from fiatkit.report import load_run, write_html
from tests.report.browser import Browser, chromium, needs_chromium
from tests.report.synthetic import SKILL, make_run

pytestmark = needs_chromium
AXE = Path(os.environ.get("FIATKIT_AXE", "build/axe/node_modules/axe-core/axe.min.js"))
CORPUS = Path(__file__).parents[1] / "faults" / "corpora" / "xss.json"
ANSWERS = (
    "row => [...row.querySelectorAll('.answers li')].map(li => [li.className,"
    " li.lastElementChild.textContent.replace('– ', '').split(', which wrote:')[0]])"
)
SHOWN = "[...document.querySelectorAll('#row-list > article:not([hidden])')]"


@pytest.fixture(scope="module")
def browser() -> Iterator[Browser]:
    with chromium() as found:
        yield found


@pytest.fixture(scope="module")
def page(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = make_run(
        tmp_path_factory.mktemp("run") / "run",
        recipes=tuple(SKILL),
        sizes=(50, 200),
        seeds=(0,),
        groups=12,
        fail=0.1,
    )
    write_html(load_run(folder), folder / "report.html")
    return folder / "report.html"


def quiet(browser: Browser, page: Path) -> None:
    assert browser.requests == [page.resolve().as_uri()]
    assert browser.problems == []


@pytest.mark.parametrize("scheme", ["light", "dark"])
def test_R02_the_file_asks_for_nothing_and_its_script_runs(
    browser: Browser, page: Path, scheme: str
) -> None:
    browser.looks(1200, scheme=scheme)
    browser.open(page)
    quiet(browser, page)
    assert browser.run("!document.getElementById('filters').hidden"), "the hash of the script fits"
    ink = browser.run("getComputedStyle(document.body).color")
    paper = browser.run("getComputedStyle(document.body).backgroundColor")
    light, dark = (sum(map(int, c[4:-1].split(","))) for c in (paper, ink))
    assert (light > dark) == (scheme == "light")


def test_R02_the_policy_refuses_what_the_page_did_not_bring(browser: Browser, page: Path) -> None:
    """Even if something slipped in: neither script, style, picture nor request would work."""
    browser.open(page)
    browser.run(
        "document.body.insertAdjacentHTML('beforeend', '<img src=http://127.0.0.1:9/x"
        ' onerror="window.hit=1"><style>body{display:none}</style>\')'
    )
    assert browser.run("fetch('http://127.0.0.1:9/y').catch(() => 'refused')") == "refused"
    assert browser.run("window.hit") is None
    assert browser.run("getComputedStyle(document.body).display") == "block"
    assert "Content Security Policy" in " ".join(browser.problems)


def poisoned(folder: Path, payloads: list[str]) -> Path:
    """A run in which everything that can hold data holds payloads, a different one each."""
    make_run(folder, recipes=("icl", "instruct", "fiat"), sizes=(50,), seeds=(0,), groups=40)
    lines = [json.loads(line) for line in (folder / "test.jsonl").read_text().splitlines()]
    lines = lines[: len(payloads)]
    names = {
        line["id"]: f"{payload}{i}"
        for i, (line, payload) in enumerate(zip(lines, payloads, strict=True))
    }

    def turned(index: int, by: int) -> str:
        return payloads[(index + by) % len(payloads)]

    for i, line in enumerate(lines):
        line |= {"id": names[line["id"]], "language": turned(i, 1)[:40], "target": turned(i, 2)}
        line |= {"fields": {turned(i, 3): turned(i, 4)}, "references": [turned(i, 2)]}
        line["rationale"] = {"text": turned(i, 5), "answer": turned(i, 2), "status": "ok"}
        if i % 3 == 0:
            line["rationale"]["status"] = f"failed:{turned(i, 6)}"
    _rewrite(folder / "test.jsonl", lines)
    for number, path in enumerate(sorted(folder.glob("cells/*/predictions.jsonl"))):
        found = [json.loads(line) for line in path.read_text().splitlines()]
        found = [line for line in found if line["id"] in names]
        for i, line in enumerate(found):
            line |= {"id": names[line["id"]], "probabilities": None, "text": turned(i, 7)}
            line["answer"] = turned(i, 2 + number * (i % 2))
            if i % 7 == 0:
                line |= {"answer": None, "status": f"failed:{turned(i, 8)}"}
        _rewrite(path, found)
        record = json.loads((path.parent / "cell.json").read_text())
        record |= {"label": payloads[number], "notes": payloads}
        if record["recipe"] == "icl":
            record["recipe"] = payloads[1]
        (path.parent / "cell.json").write_text(json.dumps(record))
    info = json.loads((folder / "run.json").read_text())
    info |= {"title": payloads[3], "started": payloads[4], "fiatkit": payloads[5]}
    info["task"] |= {"name": payloads[6], "description": payloads[7], "labels": []}
    info["task"] |= {"primary": "exact_match", "metrics": ["exact_match"]}
    info["models"] = {
        role: {"provider": payloads[8], "model": payloads[9], "revision": payloads[10]}
        for role in ("large", "small")
    }
    info["data"]["notes"] = payloads
    info["config"] = {"data": {"file": payloads[11]}, payloads[12]: payloads[13]}
    info["fingerprints"] = {payloads[14]: payloads[15]}
    for path in folder.glob("cells/*/cell.json"):
        record = json.loads(path.read_text())
        record["scores"] = {"exact_match": record["scores"]["accuracy"] | {"languages": {}}}
        path.write_text(json.dumps(record))
    (folder / "run.json").write_text(json.dumps(info))
    return folder


def _rewrite(path: Path, lines: list[Any]) -> None:
    path.write_text("".join(json.dumps(line) + "\n" for line in lines))


def test_R01_no_payload_acts_in_any_place(browser: Browser, tmp_path: Path) -> None:
    payloads = json.loads(CORPUS.read_text())
    assert len(payloads) >= 100
    folder = poisoned(tmp_path / "run", payloads)
    file = tmp_path / "</title><script>window.hit=1<∕script>.html"
    write_html(load_run(folder), file)
    browser.looks(1200)
    browser.open(file)
    quiet(browser, file)
    assert browser.run("window.hit") is None
    assert browser.run("document.scripts.length") == 1
    counts = browser.run(
        "Object.fromEntries(['img','iframe','object','embed','link','base','form','video','math',"
        "'template','marquee','input','style','meta','x'].map("
        "name => [name, document.getElementsByTagName(name).length]))"
    )
    assert {name: n for name, n in counts.items() if n} == {"input": 1, "style": 1, "meta": 5}
    handlers = browser.run(
        "[...document.querySelectorAll('*')].flatMap(e => [...e.attributes]).filter(a =>"
        " a.name.startsWith('on') || ['src','style','srcdoc'].includes(a.name)"
        " || a.name.endsWith('href') && !/^#[a-z-]+$/.test(a.value)).length"
    )
    assert handlers == 0
    assert browser.run("document.getElementById('row-list').textContent.includes('31337*3')")
    assert not browser.run("document.body.textContent.includes('94011')"), "nothing was computed"
    assert browser.run(f"{SHOWN}.length") == 20, "the filters work on hostile rows, too"


def focused(browser: Browser) -> str:
    return str(browser.run("document.activeElement.id || document.activeElement.tagName"))


def reach(browser: Browser, what: str) -> None:
    """Press Tab until an element has the focus."""
    for _ in range(200):
        if browser.run(f"document.activeElement.matches({what!r})"):
            return
        browser.press("Tab")
    raise AssertionError(f"{what} cannot be reached by Tab")


def choose(browser: Browser, label: str, text: str) -> None:
    """Reach a filter by Tab, and choose an entry by typing its first letters."""
    number = browser.run(
        "[...document.querySelectorAll('#filters select')].findIndex("
        f"s => s.labels[0].textContent.startsWith({label!r}))"
    )
    browser.run(f"document.querySelectorAll('#filters select')[{number}].dataset.wanted = 'yes'")
    reach(browser, "select[data-wanted]")
    browser.press(*text)
    browser.run("delete document.activeElement.dataset.wanted")


def test_rows_are_filtered_by_keyboard_alone(browser: Browser, page: Path) -> None:
    browser.looks(1200)
    browser.open(page)
    total = browser.run("document.querySelectorAll('#row-list > article').length")
    assert total == 72
    assert browser.run(f"{SHOWN}.length") == 20
    choose(browser, "How it went", "FIAT r")
    status = browser.run("document.getElementById('found').textContent")
    fits = browser.run(f"{SHOWN}.map({ANSWERS})")
    assert len(fits) == 20
    assert re.fullmatch(r"20 of \d\d rows that fit, of 72 rows\.", status)
    for answers in fits:
        marks = {name: mark for mark, names in answers for name in names.split(", ")}
        assert (marks["fiat"], marks["instruct"]) in (("right", "wrong"), ("right", "failed"))
    choose(browser, "Language", "am")
    both = browser.run(f"{SHOWN}.map(row => row.innerText)")
    assert 0 < len(both) < len(fits)
    assert all(text.startswith("am ·") for text in both)
    reach(browser, "#reset")
    browser.press("Enter")
    assert browser.run(f"{SHOWN}.length") == 20
    reach(browser, "#more")
    browser.press(" ")
    assert browser.run(f"{SHOWN}.length") == 40
    assert browser.run(f"document.activeElement === {SHOWN}[20]"), "reading goes on where it was"


def test_rows_are_found_by_text_and_status(browser: Browser, page: Path) -> None:
    browser.open(page)
    reach(browser, "#search")
    browser.press(*"ሳይንቲስቶች 7")
    found = browser.run(f"{SHOWN}.map(row => row.querySelector('h3').innerText)")
    assert "am · am-7" in found and all(name.startswith("am") for name in found)
    browser.press(*"nowhere")
    assert browser.run("document.getElementById('found').textContent") == ("No row fits.")
    browser.open(page)
    choose(browser, "Something failed", "failed")
    texts = browser.run(f"{SHOWN}.map(row => row.innerText)")
    assert texts and all("failed: no answer" in text for text in texts)


def test_colours_change_by_button(browser: Browser, page: Path) -> None:
    browser.looks(1200, scheme="light")
    browser.open(page)
    before = browser.run("getComputedStyle(document.body).backgroundColor")
    reach(browser, "#theme")
    assert browser.run("document.activeElement.getAttribute('aria-label')") == "Use dark colours"
    browser.press("Enter")
    assert browser.run("getComputedStyle(document.body).backgroundColor") != before
    assert browser.run("document.activeElement.getAttribute('aria-label')") == "Use light colours"


def test_the_first_tab_leads_past_the_header(browser: Browser, page: Path) -> None:
    browser.open(page)
    browser.press("Tab")
    assert browser.run("document.activeElement.getAttribute('href')") == "#short"
    broken = browser.run(
        "[...document.querySelectorAll('a')].map(a => a.getAttribute('href'))"
        ".filter(place => !document.querySelector(place))"
    )
    assert broken == []


@pytest.mark.parametrize("width", [320, 360, 800])
def test_a_narrow_window_never_scrolls_sideways(browser: Browser, page: Path, width: int) -> None:
    browser.looks(width)
    browser.open(page)
    assert browser.run("document.documentElement.scrollWidth") <= width


def test_print_is_light_whole_and_without_controls(
    browser: Browser, page: Path, tmp_path: Path
) -> None:
    browser.looks(1000, scheme="dark", media="print")
    browser.open(page)
    assert browser.run("getComputedStyle(document.body).backgroundColor") == "rgb(255, 255, 255)"
    hidden = browser.run(
        "['nav', 'search', 'button'].map(name =>"
        " getComputedStyle(document.querySelector(name)).display)"
    )
    assert hidden == ["none"] * 3
    heights = browser.run(
        "[...document.querySelectorAll('details')].map(d => d.getBoundingClientRect().height)"
    )
    assert heights and min(heights) > 100, "what is folded on the screen is open on paper"
    browser.print(tmp_path / "page.pdf")
    assert (tmp_path / "page.pdf").read_bytes().startswith(b"%PDF")
    browser.looks(1200)


@pytest.mark.skipif(not AXE.is_file(), reason="needs axe-core: make report-browser")
@pytest.mark.parametrize(("width", "scheme"), [(1200, "light"), (1200, "dark"), (360, "light")])
def test_an_accessibility_checker_finds_nothing(
    browser: Browser, page: Path, width: int, scheme: str
) -> None:
    browser.looks(width, scheme=scheme)
    browser.open(page)
    browser.run("document.querySelectorAll('details').forEach(d => { d.open = true })")
    browser.run(AXE.read_text(encoding="utf-8") + "; undefined")
    found = browser.run(
        "axe.run(document).then(r => ({passes: r.passes.length, problems: r.violations.map(v =>"
        " [v.id, v.impact, v.nodes.length, v.nodes[0].html.slice(0, 200),"
        " v.nodes[0].failureSummary])}))"
    )
    assert found["problems"] == []
    assert found["passes"] > 20


def test_on_a_narrow_screen_names_in_tables_keep_a_width_to_read(
    browser: Browser, page: Path
) -> None:
    browser.looks(390)
    browser.open(page)
    browser.run("document.querySelectorAll('details').forEach(one => { one.open = true; })")
    widths = browser.run(
        "[...document.querySelectorAll('#recipes ~ details td.left')]"
        ".map(cell => cell.getBoundingClientRect().width)"
    )
    assert widths and min(widths) >= 120
    browser.looks(1200)


def test_at_1280_pixels_the_table_of_recipes_fits_with_long_names(
    browser: Browser, tmp_path: Path
) -> None:
    folder = make_run(tmp_path / "run", recipes=("fiat", "lora"), sizes=(50,), seeds=(0, 1))
    name = "fiat -rationale -instruction -peft -tuned_base"
    for seed in (0, 1):
        cell = folder / "cells" / f"lora-n50-s{seed}" / "cell.json"
        cell.write_text(json.dumps(json.loads(cell.read_text()) | {"recipe": name}))
    write_html(load_run(folder), folder / "report.html")
    browser.looks(1280)
    browser.open(folder / "report.html")
    box = "document.querySelector('section[aria-labelledby=recipes] .scroll')"
    assert name in browser.run(f"{box}.innerText")
    assert browser.run(f"{box}.scrollWidth <= {box}.clientWidth")
    browser.looks(1200)

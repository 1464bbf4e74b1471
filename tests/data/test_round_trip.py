"""Any text survives reader, store and report, value for value."""

import csv
import json
from html.parser import HTMLParser
from pathlib import Path

import pyarrow
import pyarrow.parquet
import pytest
from hypothesis import HealthCheck, example, given, settings
from hypothesis import strategies as st
from tests.report.synthetic import make_run

from fiatkit.data import read_rows
from fiatkit.reasoning import RationaleStore
from fiatkit.reasoning.key import completion_key
from fiatkit.records import Completion, Message, ModelIdentity, Request, Sampling
from fiatkit.report import load_run, write_html
from fiatkit.report.text import plain

KINDS = {
    "right to left": "שלום hello مرحبا",
    "combining": "e\u0301 ṩ Z͑ͫ̓ͪ̂ͫ̽͏̴̙̤̞͉͚̯̞̠͍A",
    "zero width": "a\u200bb\u200c\u200d\u2060\ufeffc",
    "tags": "flag \U0001f3f4\U000e0067\U000e0062\U000e007f",
    "bidi overrides": "abc \u202e txt.exe \u202c \u2066x\u2069",
    "emoji": "👩‍👩‍👧‍👦 🏴‍☠️",
    "markup": "</bdi><script>x</script>&amp;<!-- \"' -->",
    "control": "\0\x1b[31m\r\n\t\x85\u2028\x7f",
}
IDENTITY = ModelIdentity("scripted", "", "m", "1")


class Isolated(HTMLParser):
    """Collects what stands in `bdi` elements, which keep a text's direction to itself."""

    def __init__(self) -> None:
        super().__init__()
        self.texts: list[str] = []
        self.inside = False

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        if tag == "bdi":
            assert not self.inside and dict(attrs)["dir"] == "auto"
            self.inside = True
            self.texts.append("")

    def handle_endtag(self, tag: str) -> None:
        self.inside = self.inside and tag != "bdi"

    def handle_data(self, data: str) -> None:
        if self.inside:
            self.texts[-1] += data


def through_files(folder: Path, texts: list[str]) -> None:
    """Write the texts in each format and read them again."""
    rows = [{"id": str(number), "text": text} for number, text in enumerate(texts)]
    with (folder / "x.csv").open("w", encoding="utf-8", newline="") as file:
        writer = csv.DictWriter(file, ["id", "text"], quoting=csv.QUOTE_ALL)
        writer.writeheader()
        writer.writerows(rows)
    (folder / "x.json").write_text(json.dumps(rows, ensure_ascii=False), "utf-8", newline="")
    lines = "".join(json.dumps(row, ensure_ascii=False) + "\n" for row in rows)
    (folder / "x.jsonl").write_text(lines, "utf-8", newline="")
    (folder / "y.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))
    pyarrow.parquet.write_table(pyarrow.Table.from_pylist(rows), folder / "x.parquet")
    for name in ("x.csv", "x.json", "x.jsonl", "y.jsonl", "x.parquet"):
        assert [dict(row.values) for row in read_rows(folder / name)] == rows, name


def through_store(folder: Path, texts: list[str]) -> None:
    """Commit each text as an answer, and read it by another connection."""
    requests = [Request((Message("user", text),), Sampling()) for text in texts]
    keys = [completion_key(IDENTITY, request) for request in requests]
    with RationaleStore(folder / "store.sqlite") as store:
        for key, request, text in zip(keys, requests, texts, strict=True):
            store.commit(store.lease(key), IDENTITY, request, Completion(text, "stop"))
    with RationaleStore.read_only(folder / "store.sqlite") as store:
        found = [store.get(key) for key in keys]
        assert [answer and answer.text for answer in found] == texts
        assert store.verify() == []


def through_report(run: Path, texts: list[str]) -> None:
    """Put the texts into a run's rows and rationales, draw the page, and read it as a browser."""
    path = run / "test.jsonl"
    rows = [json.loads(line) for line in path.read_text(encoding="utf-8").split("\n") if line]
    for number, row in enumerate(rows):
        row["fields"]["text"] = texts[number % len(texts)]
        row["rationale"]["text"] = texts[-1 - number % len(texts)]
    lines = "".join(json.dumps(row, ensure_ascii=False) + "\n" for row in rows)
    path.write_text(lines, "utf-8", newline="")
    write_html(load_run(run), run / "report.html")
    page = Isolated()
    page.feed((run / "report.html").read_bytes().decode())
    missing = [text for text in texts if plain(text) not in page.texts]
    assert not missing


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("round")
    make_run(
        folder / "run", recipes=("fiat",), sizes=(50,), seeds=(0,), groups=4, languages=("es",)
    )
    return folder


text = st.text(st.characters(exclude_categories=["Cs"]), max_size=60)


@settings(max_examples=10, deadline=None, suppress_health_check=list(HealthCheck))
@given(st.lists(text, min_size=1, max_size=4, unique=True))
@example(list(KINDS.values())[:4])
@example(list(KINDS.values())[4:])
def test_any_text_survives_reader_store_and_report(folder: Path, texts: list[str]) -> None:
    through_files(folder, texts)
    through_store(folder, texts)
    through_report(folder / "run", texts)


@pytest.mark.parametrize("kind", KINDS)
def test_I12_no_character_is_lost_or_turns_its_surroundings(folder: Path, kind: str) -> None:
    through_files(folder, [KINDS[kind]])
    through_store(folder, [KINDS[kind]])
    through_report(folder / "run", [KINDS[kind]])

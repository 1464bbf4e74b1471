"""Every mistake here is answered on one screen: what is wrong, where, what is allowed, what to do.

The exact texts stand in tests/golden/mistakes.md, to be read as a user would. To draw that page
anew: FIATKIT_WRITE_GOLDEN=1 python -m pytest tests/cli/test_mistakes.py
"""

import json
import os
import re
import sys
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import pytest

from fiatkit.cli import _run
from fiatkit.cli._app import app

GOLDEN = Path(__file__).parent.parent / "golden" / "mistakes.md"
SCREEN = 24
TASK = """\
version: 1
name: mail
id: nr
fields: [text]
target: desk
labels: [billing, delivery]
reasoning:
  instruction: "Say what the message is about. End with: Desk: billing or delivery."
  marker: "Desk:"
tuning:
  instruction: Say billing or delivery.
exemplars:
  - fields: {text: "I paid twice."}
    target: billing
    rationale: |
      They speak of a payment.
      Desk: billing
"""
RUN = """\
version: 1
task: task.yaml
data: {file: rows.csv}
large: {provider: scripted}
small: {model: smollm2-135m}
recipes: [instruct]
sizes: [20]
"""
ROWS = "nr,text,desk\n" + "".join(
    f"{i},message number {i},{('billing', 'delivery')[i % 2]}\n" for i in range(60)
)


@dataclass(frozen=True)
class Mistake:
    what: str
    words: tuple[str, ...]
    edit: Callable[[Path], object] = lambda folder: None
    code: int = 2


def put(name: str, text: str | bytes) -> Callable[[Path], object]:
    raw = text if isinstance(text, bytes) else text.encode()
    return lambda folder: (folder / name).write_bytes(raw)


def swap(name: str, old: str, new: str) -> Callable[[Path], object]:
    def edit(folder: Path) -> None:
        text = (folder / name).read_text()
        assert old in text
        (folder / name).write_text(text.replace(old, new, 1))

    return edit


def both(*edits: Callable[[Path], object]) -> Callable[[Path], object]:
    return lambda folder: [edit(folder) for edit in edits]


COMPARE = ("compare", "run.yaml")
run, task, rows = (
    lambda old, new: swap("run.yaml", old, new),
    lambda old, new: swap("task.yaml", old, new),
    lambda text: put("rows.csv", text),
)
TRAIN = "data: {train: rows.csv, test: test.csv}"
MISTAKES = [
    Mistake("no such run file", ("compare", "rum.yaml")),
    Mistake("a data file where the run file goes", ("compare", "rows.csv")),
    Mistake("YAML that is none", COMPARE, run("sizes: [20]", "sizes: [20")),
    Mistake("a key twice", COMPARE, run("sizes: [20]", "sizes: [20]\nsizes: [40]")),
    Mistake("an unknown key", COMPARE, run("sizes: [20]", "size: [20]")),
    Mistake("an unknown key inside a block", COMPARE, run("sizes:", "tuning: {epoch: 3}\nsizes:")),
    Mistake("a needed key misspelt", COMPARE, run("small:", "smal:")),
    Mistake("a needed key left out", COMPARE, run("small: {model: smollm2-135m}\n", "")),
    Mistake("a word for a number", COMPARE, run("[20]", "[many]")),
    Mistake("a number for a list", COMPARE, run("[20]", "20")),
    Mistake("a size of nothing", COMPARE, run("[20]", "[0]")),
    Mistake("a number without end", COMPARE, run("sizes:", "tuning: {clip: .inf}\nsizes:")),
    Mistake(
        "weights of no label", COMPARE, run("sizes:", "tuning: {class_weights: equal}\nsizes:")
    ),
    Mistake("a key that is a number", COMPARE, run("sizes:", "tuning: {1: 2}\nsizes:")),
    Mistake("an unknown way to cut", COMPARE, run("sizes:", "truncate: front\nsizes:")),
    Mistake("an unknown recipe", COMPARE, run("[instruct]", "[instruct, fiatt]")),
    Mistake("an unknown provider", COMPARE, run("scripted", "openai")),
    Mistake(
        "a provider's key misspelt",
        COMPARE,
        both(
            run("[instruct]", "[fiat]"),
            run("provider: scripted", "provider: llama_cpp, modle: smollm2-135m"),
        ),
    ),
    Mistake(
        "an address without http",
        COMPARE,
        both(
            run("[instruct]", "[fiat]"),
            run("scripted", "openai_compatible, base_url: localhost:8000, model: m"),
        ),
    ),
    Mistake(
        "an API key that is not in the environment",
        COMPARE,
        both(
            run("[instruct]", "[fiat]"),
            run(
                "scripted",
                "openai_compatible, base_url: 'https://llm.example/v1', model: m, "
                "api_key_env: MY_LLM_KEY",
            ),
        ),
        code=5,
    ),
    Mistake("an unknown small model", COMPARE, run("smollm2-135m", "smolm2-135m")),
    Mistake("an unknown task", COMPARE, run("task.yaml", "sib-200")),
    Mistake("a task file that is not there", COMPARE, run("task.yaml", "tasks.yaml")),
    Mistake("a newer version of the run file", COMPARE, run("version: 1", "version: 2")),
    Mistake("one file and several", COMPARE, run("rows.csv}", "rows.csv, test: test.csv}")),
    Mistake(
        "training rows without test rows", COMPARE, run("{file: rows.csv}", "{train: rows.csv}")
    ),
    Mistake("a variable that is not set", COMPARE, run("rows.csv", "'${MY_DATA}/rows.csv'")),
    Mistake("a task without a target", COMPARE, task("target: desk\nlabels", "labels")),
    Mistake("one label twice", COMPARE, task("[billing, delivery]", "[billing, Billing]")),
    Mistake(
        "a label that YAML takes for a truth", COMPARE, task("[billing, delivery]", "[yes, no]")
    ),
    Mistake("an exemplar with another label", COMPARE, task("target: billing", "target: Billing")),
    Mistake(
        "an exemplar whose rationale ends otherwise",
        COMPARE,
        task("      Desk: billing", "      Desk: delivery"),
    ),
    Mistake(
        "an exemplar without the marker",
        COMPARE,
        task("      Desk: billing", "      So it is billing."),
    ),
    Mistake("an exemplar without a field", COMPARE, task("{text: ", "{txt: ")),
    Mistake("an unknown metric", COMPARE, task("labels:", "metrics: [acuracy]\nlabels:")),
    Mistake("a metric for other answers", COMPARE, task("labels:", "metrics: [span_f1]\nlabels:")),
    Mistake(
        "a column that is not in the file",
        COMPARE,
        task("fields: [text]", "fields: [message]"),
    ),
    Mistake("no such data file", COMPARE, run("rows.csv", "row.csv")),
    Mistake(
        "a kind of file that cannot be read",
        COMPARE,
        both(run("rows.csv", "rows.xlsx"), put("rows.xlsx", "x")),
    ),
    Mistake("an empty file", COMPARE, rows("")),
    Mistake("a header and no rows", COMPARE, rows("nr,text,desk\n")),
    Mistake("a row with too many fields", COMPARE, rows(ROWS + "60,one, two,billing\n")),
    Mistake("a quote that never ends", COMPARE, rows(ROWS + '60,"one,billing\n')),
    Mistake("a label outside the set", COMPARE, rows(ROWS + "60,one,Billing\n61,two,shipping\n")),
    Mistake(
        "a label that the task lacks",
        COMPARE,
        rows(ROWS + "".join(f"{i},one {i},shipping\n" for i in range(60, 70))),
    ),
    Mistake(
        "labels in another case than the file's",
        COMPARE,
        task("[billing, delivery]", "[Billing, Delivery]"),
    ),
    Mistake("empty cells", COMPARE, rows(ROWS + "60,,billing\n61,two,\n")),
    Mistake("an id twice", COMPARE, rows(ROWS + "3,another,billing\n")),
    Mistake(
        "text in Latin-1", COMPARE, rows(ROWS.encode() + "60,Größe,billing\n".encode("latin-1"))
    ),
    Mistake(
        "text in Latin-1 on the command line",
        ("evaluate", "p.jsonl", "--gold", "rows.csv", "--task", "task.yaml"),
        both(put("p.jsonl", ""), rows(ROWS.encode() + "60,Größe,billing\n".encode("latin-1"))),
    ),
    Mistake(
        "an encoding that does not exist",
        ("predict", "model", "rows.csv", "--encoding", "utf-9"),
    ),
    Mistake(
        "a broken line of JSON",
        COMPARE,
        both(run("rows.csv", "rows.jsonl"), put("rows.jsonl", '{"nr": "1", "text": "a"\n')),
    ),
    Mistake("more training rows than there are", COMPARE, run("[20]", "[1000]")),
    Mistake(
        "more test rows than there are", COMPARE, run("rows.csv}", "rows.csv, test_rows: 100}")
    ),
    Mistake(
        "a test row among the training rows",
        COMPARE,
        both(
            run("data: {file: rows.csv}", TRAIN),
            put("test.csv", "nr,text,desk\nt1,Message  number 7,delivery\n"),
        ),
    ),
    Mistake("an unknown command", ("compar", "run.yaml")),
    Mistake("an unknown option", ("compare", "run.yaml", "--output", "x")),
    Mistake(
        "a word for a number on the command line",
        ("tune", "run.yaml", "--out", "x", "--size", "all"),
    ),
    Mistake("a needed argument left out", ("predict",)),
    Mistake("an unknown recipe to tune", ("tune", "run.yaml", "--out", "x", "--recipe", "icl")),
    Mistake(
        "a folder that is there already",
        ("tune", "run.yaml", "--out", "."),
    ),
    Mistake("a folder that is no artefact", ("predict", ".", "rows.csv")),
    Mistake("a folder without a run", ("report", ".")),
    Mistake("no such store", ("store", "status", "--store", "none.sqlite")),
    Mistake("a file that is no store", ("store", "status", "--store", "rows.csv")),
    Mistake("an unknown model to fetch", ("models", "get", "smollm")),
    Mistake("an unknown task to show", ("tasks", "show", "singlelabel")),
    Mistake(
        "predictions without answers",
        ("evaluate", "p.jsonl", "--gold", "rows.csv", "--task", "task.yaml"),
        put("p.jsonl", json.dumps({"id": "1", "label": "billing"}) + "\n"),
    ),
]


def told(
    mistake: Mistake,
    folder: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> str:
    for name, text in (("task.yaml", TASK), ("run.yaml", RUN), ("rows.csv", ROWS)):
        (folder / name).write_text(text)
    mistake.edit(folder)
    for name in ("MY_LLM_KEY", "MY_DATA", "FORCE_COLOR"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setenv("NO_COLOR", "1")
    monkeypatch.setenv("TERMINAL_WIDTH", "100")
    monkeypatch.setenv("COLUMNS", "100")
    monkeypatch.chdir(folder)
    monkeypatch.setattr(sys, "argv", ["fiat", *mistake.words])
    assert _run(app, debug=False) == mistake.code, capsys.readouterr().err
    shown = capsys.readouterr().err
    shown = re.sub(r"about \d+( to \d+)? (minute|hour)s?", "about N minutes", shown)
    lines = [line.rstrip() for line in shown.replace(f"{folder}{os.sep}", "").splitlines()]
    return "\n".join(lines).replace(str(folder), "FOLDER").strip()


def recorded() -> dict[str, str]:
    parts = GOLDEN.read_text(encoding="utf-8").split("\n## ")[1:]
    return {part.split("\n", 1)[0]: part.split("```text\n")[1].split("\n```")[0] for part in parts}


@pytest.mark.parametrize("mistake", MISTAKES, ids=lambda mistake: mistake.what)
def test_the_user_is_told(
    mistake: Mistake,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    text = told(mistake, tmp_path, monkeypatch, capsys)
    assert "Traceback" not in text and "pydantic" not in text
    assert 0 < len(text.splitlines()) <= SCREEN
    if os.environ.get("FIATKIT_WRITE_GOLDEN"):
        write(mistake, text)
    assert text == recorded()[mistake.what]


def test_the_page_holds_these_mistakes_and_no_others() -> None:
    assert list(recorded()) == [mistake.what for mistake in MISTAKES]
    assert len(MISTAKES) >= 30


def write(mistake: Mistake, text: str) -> None:
    """Draw the page anew, mistake by mistake; the first one begins it."""
    if mistake is MISTAKES[0]:
        head = "# What users are told\n\nThe exact text of each mistake, and its exit code."
        GOLDEN.write_text(head + "\n", encoding="utf-8")
    with GOLDEN.open("a", encoding="utf-8") as file:
        words = " ".join(mistake.words)
        file.write(f"\n## {mistake.what}\n\n`fiat {words}`, exit {mistake.code}\n")
        file.write(f"\n```text\n{text}\n```\n")

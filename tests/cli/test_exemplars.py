"""fiat exemplars: drafted once, mended, approved; their groups leave the pool; no target leaks."""

import sqlite3
from pathlib import Path

import pytest
from tests.command import fiat

from fiatkit.config import read_config
from fiatkit.experiment import Plan, make_plan
from fiatkit.models import create_chat_model
from fiatkit.reasoning import completion_key, draft_request, rationale_request
from fiatkit.tasks import load_task

TASK = """\
version: 1
name: toy
id: id
language: lang
group: [story]   # told in several languages
fields: [text]
target: label
labels: [warm, cold]
reasoning: {instruction: Say warm or cold.}
tuning: {instruction: Say warm or cold.}
"""
RUN = """\
version: 1
task: task.yaml
data: {file: rows.csv, dev_rows: 8, test_rows: 16}
large:
  provider: scripted
  answers: {"right answer: (warm|cold)": "One feels it.\\nAnswer: \\\\1"}
small: {model: smollm2-135m}
sizes: [24]
"""


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    lines = ["id,lang,story,text,label"]
    for number in range(48):
        label = ["warm", "cold"][number // 2 % 2]
        language = ["en", "es"][number % 2]
        lines.append(f"r{number},{language},s{number // 2},text number {number},{label}")
    (tmp_path / "rows.csv").write_text("\n".join(lines) + "\n")
    (tmp_path / "task.yaml").write_text(TASK)
    (tmp_path / "run.yaml").write_text(RUN)
    return tmp_path


def plan(folder: Path) -> Plan:
    return make_plan(read_config(folder / "run.yaml").model_copy(update={"sizes": [1]}))


def test_drafted_once_approved_and_held_out(folder: Path) -> None:
    shown = fiat(folder, "exemplars", "draft", "run.yaml")
    assert "4 drafts, 4 calls" in shown
    draft = folder / "exemplars.draft.yaml"
    drafted = draft.read_text()
    assert drafted.count("One feels it.") == 4
    assert drafted.count("target: warm") == drafted.count("target: cold") == 2
    assert drafted.count("language: en") == drafted.count("language: es") == 2

    assert "--force" in fiat(folder, "exemplars", "draft", "run.yaml", code=2)
    assert "4 drafts, 0 calls" in fiat(folder, "exemplars", "draft", "run.yaml", "--force")
    assert draft.read_text() == drafted, "the store had all of it"

    draft.write_text(drafted.replace("One feels it.", "The text says so."))
    shown = fiat(folder, "exemplars", "approve", "run.yaml")
    assert "4 exemplars added" in shown
    assert "too large now: 24" in shown
    task = load_task(str(folder / "task.yaml"))
    assert all(e.rationale.startswith("The text says so.") for e in task.exemplars)
    assert "# told in several languages" in (folder / "task.yaml").read_text()
    used = {identity for e in task.exemplars for identity in e.held_out["id"]}
    data = plan(folder).data
    left = {e.id for rows in (data.train, data.dev, data.test) for e in rows}
    assert data.held_out == 8, "four groups of two rows"
    assert not left & used
    assert len(left) == 40
    again = fiat(folder, "exemplars", "approve", "run.yaml")
    assert "0 exemplars added" in again
    assert "4 were there already" in again
    assert len(load_task(str(folder / "task.yaml")).exemplars) == 4


def test_no_draft_is_ever_a_rationale(folder: Path) -> None:
    """Not even where a row's own text reads as if a draft of it had been asked for."""
    found = plan(folder)
    model = create_chat_model(found.config.large.values_for_provider())
    row = found.data.train[0]
    request = draft_request(found.task, row)
    assert row.target in request.messages[-1].content
    instruction = request.messages[0].content
    reasoning = found.task.reasoning.model_copy(update={"instruction": instruction})
    sly = found.task.model_copy(update={"reasoning": reasoning})
    text = request.messages[-1].content.removeprefix("Text: ")
    query = type(row.query)(row.id, {"text": text}, row.query.language)
    asked = rationale_request(sly, query)
    assert asked.messages == request.messages
    assert completion_key(model.identity, asked) != completion_key(model.identity, request)
    assert row.target not in rationale_request(found.task, row.query).messages[-1].content

    fiat(folder, "exemplars", "draft", "run.yaml", "--rows", "2")
    with sqlite3.connect(folder / "runs" / "rationales.sqlite") as db:
        stored = {key for (key,) in db.execute("SELECT key FROM completions")}
    rows = [*found.data.train, *found.data.dev, *found.data.test]
    keys = {completion_key(model.identity, rationale_request(found.task, e.query)) for e in rows}
    assert len(stored) == 2
    assert not stored & keys


def test_a_draft_that_misses_the_answer_says_todo_and_is_refused(folder: Path) -> None:
    text = RUN.replace("right answer: (warm|cold)", "right answer: (warm)")
    (folder / "run.yaml").write_text(text)
    assert "2 of them say TODO" in fiat(folder, "exemplars", "draft", "run.yaml")
    told = fiat(folder, "exemplars", "approve", "run.yaml", code=2)
    assert "still says TODO" in told
    assert (folder / "task.yaml").read_text() == TASK


def test_a_draft_without_a_reason_says_todo(folder: Path) -> None:
    (folder / "run.yaml").write_text(RUN.replace("One feels it.\\nAnswer:", "Answer:"))
    assert "4 of them say TODO" in fiat(folder, "exemplars", "draft", "run.yaml")
    draft = (folder / "exemplars.draft.yaml").read_text()
    assert draft.count("TODO: write the reasoning; the model wrote only its answer.") == 4


def test_rows_by_id_and_what_is_told_of_mistakes(folder: Path) -> None:
    train = [e.id for e in plan(folder).data.train]
    fiat(folder, "exemplars", "draft", "run.yaml", "--ids", f"{train[3]}, {train[7]}")
    drafted = (folder / "exemplars.draft.yaml").read_text()
    assert f"[{train[3]}]" in drafted
    assert f"[{train[7]}]" in drafted
    (folder / "exemplars.draft.yaml").unlink()
    assert 'no training row "r99"' in fiat(
        folder, "exemplars", "draft", "run.yaml", "--ids", "r99", code=2
    )
    assert "fiat exemplars draft" in fiat(folder, "exemplars", "approve", "run.yaml", code=2)
    assert "at most" in fiat(folder, "exemplars", "draft", "run.yaml", "--rows", "30", code=2)


def test_rows_without_an_id_are_known_by_their_text_and_the_draft_says_so(folder: Path) -> None:
    task, draft = folder / "task.yaml", folder / "exemplars.draft.yaml"
    fiat(folder, "exemplars", "draft", "run.yaml")
    assert "You may change a row's text" in draft.read_text()
    task.write_text(TASK.replace("id: id\n", ""))
    fiat(folder, "exemplars", "draft", "run.yaml", "--force")
    assert "Leave each row's text as it is" in draft.read_text()
    assert "held_out:" not in draft.read_text()

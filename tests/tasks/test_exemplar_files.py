"""Exemplars as text: drafts are read back as written; a task's own text is only added to."""

from pathlib import Path

import pytest
import yaml

from fiatkit.errors import UsageError
from fiatkit.tasks import Task, load_task
from fiatkit.tasks.exemplars import draft_yaml, merged, read_draft
from fiatkit.tasks.task import ExemplarSettings

TASK = """\
# my task
version: 1
name: toy   # its name
fields: [text]
target: label
labels: [warm, cold]
reasoning: {instruction: Say warm or cold.}
tuning: {instruction: Say warm or cold.}
"""
BLOCK = """\
exemplars:
# the first
- fields: {text: hot tea}
  target: warm
  rationale: |
    It is hot.
    Answer: warm
"""
AFTER = """
# the metric that decides
metrics: [accuracy]
"""


def one(text: str = "ice", target: str = "cold", rationale: str = "So.") -> ExemplarSettings:
    return ExemplarSettings(
        fields={"text": text},
        target=target,
        rationale=f"{rationale}\nAnswer: {target}",
        language="no",
        held_out={"id": ["7"]},
    )


def task_file(folder: Path, text: str) -> Path:
    path = folder / "task.yaml"
    path.write_text(text, encoding="utf-8")
    return path


@pytest.mark.parametrize(
    "text",
    ["plain", "two\nlines", " blank first\nand more", "#x: {y}", "tab\there\n\nlast\n", "\n\n", "é\u2028x",
     "ends with blanks  \nand more", "- a\n- b", "---\nx", "...", "\x07bell\nx", "a\r\nb"],
)  # fmt: skip
def test_a_draft_is_read_back_as_it_was_written(text: str, tmp_path: Path) -> None:
    task = load_task(str(task_file(tmp_path, TASK)))
    path = tmp_path / "draft.yaml"
    path.write_text(draft_yaml("about\nit", [one(text), one("x", rationale=text)]), "utf-8")
    assert path.read_text(encoding="utf-8").startswith("# about\n# it\nversion: 1\n")
    first, second = read_draft(path, task)
    assert (first, second) == (one(text), one("x", rationale=text))


@pytest.mark.parametrize(
    ("before", "after"),
    [
        (TASK, ""),
        (TASK.rstrip("\n"), ""),
        (TASK + BLOCK, ""),
        (TASK + BLOCK.rstrip("\n"), ""),
        (TASK + BLOCK, AFTER),
        (TASK + BLOCK.replace("\n", "\n  ").replace("  exemplars", "exemplars").rstrip(" "), AFTER),
        (TASK + "exemplars: []   # none yet\n", AFTER),
        (TASK + 'exemplars: [{fields: {text: t}, target: warm, rationale: "Answer: warm"}]\n', AFTER),
        ("\ufeff" + TASK, ""),
    ],
)  # fmt: skip
def test_the_task_keeps_its_text(before: str, after: str, tmp_path: Path) -> None:
    path = task_file(tmp_path, before + after)
    old = load_task(str(path))
    added = [one(), one("snow")]
    text = merged(path, added)
    for comment in ("# my task", "# its name", "# the first", "# the metric", "# none yet"):
        assert text.count(comment) == (before + after).count(comment)
    path.write_text(text, encoding="utf-8")
    new = load_task(str(path))
    rationales = [e.rationale.strip() for e in (*old.exemplars, *added)]
    assert [e.rationale.strip() for e in new.exemplars] == rationales
    assert [e.fields for e in new.exemplars] == [e.fields for e in (*old.exemplars, *added)]
    assert new.model_copy(update={"exemplars": old.exemplars}) == old
    assert yaml.safe_load(text)["name"] == "toy"


def test_exemplars_of_the_extended_task_are_kept(tmp_path: Path) -> None:
    path = task_file(tmp_path, "extends: cross_language_qa\nname: mine\n")
    old = load_task(str(path))
    fields = {name: "It is ice." for name in old.field_names}
    marker = old.reasoning.marker
    new = ExemplarSettings(fields=fields, target="ice", rationale=f"So.\n{marker} ice")
    path.write_text(merged(path, [new]), encoding="utf-8")
    assert load_task(str(path)).exemplars == [*old.exemplars, new]


def test_what_cannot_be_added_to_is_left_alone(tmp_path: Path) -> None:
    flow = "{" + ", ".join(line for line in TASK.splitlines() if line[0] != "#" and "#" not in line)
    path = task_file(tmp_path, flow + ", name: toy}\n")
    assert load_task(str(path)).name == "toy"
    with pytest.raises(UsageError, match="by hand"):
        merged(path, [one()])


@pytest.mark.parametrize(
    ("wrong", "told"),
    [
        (one(rationale="TODO: more"), "exemplar 2 still says TODO"),
        (one(target="cold").model_copy(update={"rationale": "So."}), "exemplar 2"),
        (one().model_copy(update={"rationale": "Answer: warm"}), "exemplar 2"),
        (one().model_copy(update={"target": "icy"}), '"icy"'),
        (one().model_copy(update={"fields": {"txt": "x"}}), "txt"),
    ],
)
def test_what_cannot_teach_is_refused(wrong: ExemplarSettings, told: str, tmp_path: Path) -> None:
    task: Task = load_task(str(task_file(tmp_path, TASK)))
    path = tmp_path / "draft.yaml"
    path.write_text(draft_yaml("", [one(), wrong]), encoding="utf-8")
    with pytest.raises(UsageError) as raised:
        read_draft(path, task)
    assert told in str(raised.value)

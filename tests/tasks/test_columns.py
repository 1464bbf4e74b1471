"""Which columns a file must have, what may stand in for them, and what is held out."""

import json
import os
from collections.abc import Mapping
from pathlib import Path

import pytest

from fiatkit.data import group_rows, read_rows
from fiatkit.errors import DataError, SettingsError
from fiatkit.settings import parse
from fiatkit.tasks import DataSettings, Task, load_data, load_examples, load_new_rows, load_task
from fiatkit.tasks.rows import grouping

VALUES: Mapping[str, object] = {
    "name": "toy",
    "id": "id",
    "fields": ["text"],
    "target": "label",
    "labels": ["warm", "cold"],
    "reasoning": {"instruction": "Say. End with Answer: and warm or cold."},
    "tuning": {"instruction": "Say."},
}
TASK = """\
name: toy
fields: text
target: label
labels: {labels}
reasoning:
  instruction: Say.
  {marker}: "Answer:"
tuning: {{instruction: Say.}}
"""


def task(**changes: object) -> Task:
    return parse(Task, {**VALUES, **changes}, "task.yaml")


def written(folder: Path, *rows: Mapping[str, object], name: str = "rows.jsonl") -> Path:
    path = folder / name
    path.write_text("".join(json.dumps(row) + "\n" for row in rows), encoding="utf-8")
    return path


def row(number: int, **more: object) -> dict[str, object]:
    return {"id": number, "text": f"text {number}", "label": ["warm", "cold"][number % 2], **more}


def yaml_task(folder: Path, labels: str = "[warm, cold]", marker: str = "marker") -> str:
    path = folder / "task.yaml"
    path.write_text(TASK.format(labels=labels, marker=marker), encoding="utf-8")
    return str(path)


def test_a_mistake_in_a_task_names_file_line_and_key(tmp_path: Path) -> None:
    path = yaml_task(tmp_path, marker="markr")
    with pytest.raises(SettingsError) as caught:
        load_task(path)
    assert f'"{path}", line 7: unknown key "reasoning.markr"' in caught.value.message
    assert caught.value.hint == 'Did you mean "marker"?'


def test_bare_yes_and_no_are_told_to_be_quoted(tmp_path: Path) -> None:
    with pytest.raises(SettingsError, match=r"line 4: labels, item 1: .*put it into quotes"):
        load_task(yaml_task(tmp_path, labels="[yes, no]"))
    assert load_task(yaml_task(tmp_path, labels="['yes', 'no']")).labels == ["yes", "no"]


def test_numbers_are_labels(tmp_path: Path) -> None:
    stars = load_task(yaml_task(tmp_path, labels="[1, 2, 3]"))
    assert stars.labels == ["1", "2", "3"]
    path = written(tmp_path, {"text": "good", "label": 3})
    (example,) = load_examples(stars, path)
    assert (example.id, example.target) == ("rows.jsonl:1", "3")


@pytest.mark.parametrize(
    ("changes", "told"),
    [
        ({"group": "id", "group_pattern": {"id": "("}}, "no regular expression"),
        ({"group": "id", "group_pattern": {"id": "x"}}, "needs (parentheses)"),
        ({"group_pattern": {"id": "(x)"}}, "not one of group"),
        ({"fields": ["text", "text|body"]}, "stands there twice"),
        ({"target": "label|text"}, "must not be one of the fields"),
    ],
)
def test_mistakes_in_columns(changes: dict[str, object], told: str) -> None:
    with pytest.raises(SettingsError) as caught:
        task(**changes)
    assert told in str(caught.value)


@pytest.mark.parametrize("key", ["id", "language", "group", "references", "target"])
def test_I02_a_column_that_no_row_has_is_one_error(tmp_path: Path, key: str) -> None:
    path = written(tmp_path, *[row(i) for i in range(9)])
    changed = task(**{key: "labels" if key != "group" else ["labels"]})
    with pytest.raises(DataError) as caught:
        load_data(changed, DataSettings(file=path))
    message = caught.value.message
    assert message.count("no column labels") == 1
    assert f"(the {key})" in message and 'nearest: "label"' in message


def test_I04_repeated_ids_name_both_places(tmp_path: Path) -> None:
    path = written(tmp_path, *[row(i % 9) for i in range(16)])
    with pytest.raises(DataError) as caught:
        load_data(task(), DataSettings(file=path, skip_bad=True))
    message = caught.value.message
    assert message.startswith("7 rows with an id")
    assert f'line 10: the id "0" is that of {path}, line 1 too' in message
    assert "and 2 more" in message


def test_a_bad_row_is_one_line_with_all_that_is_wrong(tmp_path: Path) -> None:
    bad = {"id": 1, "text": "  ", "label": "Warm"}
    path = written(tmp_path, row(0), bad, {"id": 2, "text": ["x"], "label": None})
    with pytest.raises(DataError) as caught:
        load_data(task(), DataSettings(file=path))
    first, second, third = caught.value.message.split("\n")
    assert first == "2 bad rows:"
    assert second == (
        f'{path}, line 2: text is empty ("  "); text is needed; '
        'label "Warm" is not one of warm, cold; nearest: "warm"'
    )
    assert "line 3: text holds a list" in third and "label is empty (null)" in third


def test_an_answer_without_text_is_a_bad_row(tmp_path: Path) -> None:
    free = task(labels=None, references="answers")
    path = written(tmp_path, row(0, answers=["a", {"text": "b"}]), row(1, answers=[{"start": 3}]))
    with pytest.raises(DataError, match=r"line 2: answers: an answer is empty \(null\)"):
        load_examples(free, path)
    (example,) = load_examples(free, written(tmp_path, row(0, answers=["a", {"text": "b"}])))
    assert example.references == ("warm", "a", "b")


def test_columns_have_alternatives_and_may_be_optional(tmp_path: Path) -> None:
    flexible = task(
        fields={"text|body": "Text", "title": "Title"},
        language="lang|language",
        optional=["title", "id", "lang"],
        group="page|url",
    )
    path = written(
        tmp_path,
        {"body": "a", "label": "warm", "language": "sw", "url": "u"},
        {"text": "", "body": "b", "label": "cold", "page": "u", "title": " "},
    )
    first, second = load_examples(flexible, path)
    assert (first.id, dict(first.query.fields), first.query.language) == (
        "rows.jsonl:1",
        {"text": "a"},
        "sw",
    )
    assert (dict(second.query.fields), second.query.language) == ({"text": "b"}, "")
    assert first.group == second.group == "page:u"


def test_files_with_the_official_fields_fit_the_built_in_tasks(tmp_path: Path) -> None:
    attriqa = {
        "query": "q?",
        "query_language": "te",
        "answers": ["a"],
        "prediction": "p",
        "query_translated_en": "secret",
        "passage_in_language": "in language",
        "passage_en": "passage",
        "ais": True,
    }
    (example,) = load_examples(load_task("attribution"), written(tmp_path, attriqa))
    assert dict(example.query.fields) == {"passage": "passage", "query": "q?", "prediction": "p"}
    assert (example.query.language, example.target) == ("te", "true")
    xtreme = {"question": "q?", "title": "t", "context": "c", "target": "a"}
    (example,) = load_examples(load_task("cross_language_qa"), written(tmp_path, xtreme))
    assert (list(example.query.fields), example.target) == (["title", "context", "question"], "a")


EXEMPLAR: Mapping[str, object] = {
    "fields": {"text": "other"},
    "target": "warm",
    "rationale": "Answer: warm",
}


def everything(data: object) -> set[str]:
    return {e.id for name in ("train", "dev", "test") for e in getattr(data, name)}


def test_a_row_that_an_exemplar_repeats_is_held_out_with_its_group(tmp_path: Path) -> None:
    path = written(tmp_path, *[row(i, g=i // 3) for i in range(12)])
    same = {**EXEMPLAR, "fields": {"text": " TEXT 4 "}}
    data = load_data(task(group="g", exemplars=[same]), DataSettings(file=path))
    assert data.held_out == 3
    assert everything(data).isdisjoint({"3", "4", "5"})


def test_a_bad_row_still_holds_its_group_out(tmp_path: Path) -> None:
    path = written(tmp_path, row(0, g="x", text=""), row(1, g="x"), *[row(i) for i in range(2, 9)])
    adapted = {**EXEMPLAR, "held_out": {"id": [0]}}
    settings = DataSettings(file=path, skip_bad=True)
    data = load_data(task(group="g", exemplars=[adapted]), settings)
    assert data.held_out == 1 and "1" not in everything(data)


def test_what_a_user_should_know_is_noted(tmp_path: Path) -> None:
    path = written(tmp_path, *[row(i, label="warm") for i in range(9)])
    silent = task(reasoning={"instruction": "Say."})
    notes = load_data(silent, DataSettings(file=path)).notes
    assert any('never mentions the marker "Answer:"' in note for note in notes)
    assert "no training row has the label cold" in notes
    told, one = load_data(task(), DataSettings(file=path)).notes
    assert told == "no training row has the label cold"
    assert one == "all training rows have one label, so that nothing can be learnt from them"


def test_queries_need_neither_target_nor_group(tmp_path: Path) -> None:
    path = written(tmp_path, {"id": 7, "text": "x"})
    (query,) = load_new_rows(task(group="g", references="r"), path).queries
    assert query.id == "7"


@pytest.mark.skipif("FIATKIT_DATA" not in os.environ, reason="FIATKIT_DATA is not set")
@pytest.mark.parametrize(
    ("name", "folder", "train", "test"),
    [
        ("sib200", "sib200", 534, 195),
        ("sib200", "sib200_major", 701, 202),
        ("cross_language_qa", "xquad_crosslingual", 160, 60),
        ("attribution", "xquad_attribution", 32, 12),
    ],
)
def test_I21_groups_before_anything_is_held_out(
    name: str, folder: str, train: int, test: int
) -> None:
    chosen = load_task(name)
    columns = [column.split("|")[0] for column in chosen.group]
    found = []
    for part in ("train", "test"):
        rows = read_rows(Path(os.environ["FIATKIT_DATA"]) / folder / f"{part}.jsonl")
        found.append(len(set(group_rows([grouping(chosen, r) for r in rows], columns))))
    assert found == [train, test]

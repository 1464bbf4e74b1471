"""The four kinds of answers: targets read from rows, answers read from what models write."""

import json
from collections.abc import Mapping
from pathlib import Path

import pytest

from fiatkit.errors import DataError, SettingsError, UnknownNameError
from fiatkit.settings import parse
from fiatkit.tasks import (
    DataSettings,
    Task,
    load_data,
    load_examples,
    load_task,
    task_names,
    template_names,
    template_task,
)

VALUES: Mapping[str, object] = {
    "name": "toy",
    "fields": ["text"],
    "target": "target",
    "reasoning": {"instruction": "Say. End with Answer:."},
    "tuning": {"instruction": "Say."},
}
TAGS = {"answer": "labels", "labels": ["billing", "late, again", "praise"]}
NAMES = {"answer": "entities", "labels": ["PER", "LOC"]}


def task(**changes: object) -> Task:
    return parse(Task, {**VALUES, **changes}, "task.yaml")


def targets(folder: Path, of: Task, *values: object, text: str = "Ada in Żory") -> list[str]:
    path = folder / "rows.jsonl"
    rows = ({"text": f"{text}{' ' * i}", "target": value} for i, value in enumerate(values))
    path.write_text("".join(json.dumps(row) + "\n" for row in rows), encoding="utf-8")
    return [example.target for example in load_examples(of, path)]


def test_the_kind_of_answer_follows_the_labels_and_the_metrics_follow_the_kind() -> None:
    assert (task().answer, task().metrics) == ("text", ["qa_f1", "exact_match"])
    named = task(labels=["a", "b"])
    assert (named.answer, named.metrics) == ("label", ["accuracy", "macro_f1"])
    assert task(**TAGS).metrics == ["multilabel_f1", "multilabel_macro_f1"]
    assert task(answer="entities").metrics == ["span_f1"]
    assert task(**TAGS).choices is None
    assert named.choices == ["a", "b"]


@pytest.mark.parametrize(
    ("changes", "told"),
    [
        ({"answer": "labels"}, "needs `labels`, at least two"),
        ({"answer": "label", "labels": ["one"]}, "needs `labels`, at least two"),
        ({"answer": "text", "labels": ["a", "b"]}, "has no `labels`"),
        ({"answer": "labels", "labels": ["a;b", "c"]}, "joined by ;"),
        ({"answer": "spans"}, "'label', 'labels', 'entities' or 'text'"),
        ({"metrics": ["quadratic_kappa"]}, "scores answers of the kind label"),
        ({"labels": ["a", "b"], "metrics": ["chrf"]}, "scores answers of the kind text"),
        ({"answer": "entities", "metrics": ["accuracy", "qa_f1"]}, "of the kind entities"),
    ],
)
def test_kinds_that_do_not_fit_are_refused(changes: dict[str, object], told: str) -> None:
    with pytest.raises(SettingsError) as caught:
        task(**changes)
    assert told in str(caught.value)


def test_several_labels_come_as_a_list_or_as_text_and_leave_in_the_sets_order(
    tmp_path: Path,
) -> None:
    given = [["praise", "billing"], "praise; billing", "late, again", [], "none"]
    found = targets(tmp_path, task(**TAGS), *given)
    assert found == ["billing; praise", "billing; praise", "late, again", "none", "none"]


@pytest.mark.parametrize(
    ("value", "told"),
    [
        ("billing; late", 'target "late" is not one of'),
        ("", 'write "none" or an empty list'),
        (["billing", ["x"]], "holds a list"),
    ],
)
def test_wrong_labels_are_told(tmp_path: Path, value: object, told: str) -> None:
    with pytest.raises(DataError) as caught:
        targets(tmp_path, task(**TAGS), value)
    assert told in str(caught.value)


def test_entities_come_as_text_or_as_spans_of_bytes_or_characters(tmp_path: Path) -> None:
    of_bytes = [
        {"start_byte": 0, "limit_byte": 3, "label": "PER"},
        {"start_byte": 7, "limit_byte": 12, "label": "LOC"},
    ]
    of_characters = [{"start": 7, "end": 11, "label": "LOC", "text": "ignored"}]
    given = ["PER: Ada $$ LOC: Żory", of_bytes, of_characters, [], ""]
    found = targets(tmp_path, task(**NAMES), *given)
    assert found == ["PER: Ada $$ LOC: Żory", "PER: Ada $$ LOC: Żory", "LOC: Żory", "", ""]


def test_a_tab_in_an_entity_becomes_a_blank(tmp_path: Path) -> None:
    span = [{"start": 0, "end": 5, "label": "PER"}]
    assert targets(tmp_path, task(**NAMES), span, text="Ada\tL") == ["PER: Ada L"]


@pytest.mark.parametrize(
    ("value", "told"),
    [
        ("Ada", '"Ada" is not of the form LABEL: entity'),
        ("PERSON: Ada", 'nearest: "PER"'),
        ([{"start_byte": 8, "limit_byte": 12, "label": "LOC"}], "inside a character"),
        ([{"start": 7, "end": 99, "label": "LOC"}], "outside the text"),
        ([{"start": 7, "label": "LOC"}], "needs start_byte, limit_byte and label"),
        (None, "or a list of spans is needed"),
    ],
)
def test_wrong_entities_are_told(tmp_path: Path, value: object, told: str) -> None:
    with pytest.raises(DataError) as caught:
        targets(tmp_path, task(**NAMES), value)
    assert told in str(caught.value)


@pytest.mark.parametrize(
    ("of", "written", "answer"),
    [
        (TAGS, "Praise; BILLING.", "billing; praise"),
        (TAGS, "billing, praise", "billing; praise"),
        (TAGS, "late, again", "late, again"),
        (TAGS, "billing; weather", "billing; weather"),
        (TAGS, "None.", "none"),
        (TAGS, "weather", None),
        (TAGS, "", None),
        (NAMES, "PER: Ada $$ LOC: Żory", "PER: Ada $$ LOC: Żory"),
        (NAMES, "none", ""),
        (NAMES, "", ""),
        ({"labels": ["neg", "negative"]}, "Negative", "negative"),
        ({}, '"Hanoi".', "Hanoi"),
        ({}, "", None),
    ],
)
def test_what_a_model_writes_after_the_marker(
    of: dict[str, object], written: str, answer: str | None
) -> None:
    assert task(**of).parse_answer(f"So.\nAnswer: {written}") == answer


def test_without_a_marker_there_is_no_answer_of_any_kind() -> None:
    for of in (TAGS, NAMES, {"labels": ["a", "b"]}, {}):
        assert task(**of).parse_answer("none") is None


@pytest.mark.parametrize("name", template_names())
def test_templates_are_tasks_whose_marker_the_model_is_told(name: str) -> None:
    found = template_task(name)
    assert found.reasoning.marker in found.reasoning.instruction
    assert all(label in found.reasoning.instruction for label in found.labels or ())


def test_the_tasks_that_are_built_in() -> None:
    assert task_names() == [
        "afriqa",
        "attribution",
        "cross_language_qa",
        "masakhaner_x",
        "sib200",
        "tydiqa",
        "xnli",
        "xor_attriqa",
        "xtreme_up_ner",
        "xtreme_up_qa_cross",
        "xtreme_up_qa_in_language",
    ]


@pytest.mark.parametrize("name", task_names())
def test_built_in_tasks_tell_the_marker_and_every_label(name: str) -> None:
    found = load_task(name)
    assert found.exemplars
    assert found.reasoning.marker in found.reasoning.instruction
    assert all(label in found.reasoning.instruction for label in found.labels or ())


def test_a_task_may_extend_a_built_in_one(tmp_path: Path) -> None:
    path = tmp_path / "mine.yaml"
    path.write_text("extends: masakhaner_x\nname: mine\nlanguage: lang\n", encoding="utf-8")
    mine, base = load_task(str(path)), load_task("masakhaner_x")
    assert (mine.name, mine.language) == ("mine", "lang")
    assert mine.exemplars == base.exemplars
    path.write_text("extends: masakhaner\nname: mine\n", encoding="utf-8")
    with pytest.raises(UnknownNameError, match="masakhaner_x"):
        load_task(str(path))


def test_files_of_one_language_each_are_read_as_a_folder(tmp_path: Path) -> None:
    for split in ("train", "test"):
        folder = tmp_path / split
        folder.mkdir()
        for language in ("sw", "bbj"):
            row = {"text": f"{split} in {language}", "spans": []}
            (folder / f"{language}.jsonl").write_text(json.dumps(row) + "\n", encoding="utf-8")
    data = load_data(
        load_task("xtreme_up_ner"),
        DataSettings(train=tmp_path / "train", test=tmp_path / "test", dev_rows=0),
    )
    assert sorted(e.query.language for e in data.train) == ["bbj", "sw"]
    assert sorted(e.id for e in data.test) == ["test/bbj.jsonl:1", "test/sw.jsonl:1"]
    (tmp_path / "empty").mkdir()
    with pytest.raises(DataError, match="holds no file that can be read"):
        load_examples(load_task("xtreme_up_ner"), tmp_path / "empty")


def test_a_column_may_be_chosen_by_another_one(tmp_path: Path) -> None:
    shared = {"query": "q", "query_language": "bn", "prediction": "p", "ais": True}
    texts = {"passage_en": "english", "passage_in_language": "bangla"}
    rows = [{**shared, **texts, "passage_retrieved_language": code} for code in ("en", "bn")]
    path = tmp_path / "rows.jsonl"
    path.write_text("".join(json.dumps(row) + "\n" for row in rows), encoding="utf-8")
    found = load_examples(load_task("xor_attriqa"), path)
    assert [e.query.fields["passage"] for e in found] == ["english", "bangla"]
    assert {e.target for e in found} == {"true"}


def test_numbered_rows_may_belong_together_in_blocks(tmp_path: Path) -> None:
    path = tmp_path / "rows.jsonl"
    rows = [
        {"id": f"{language}-dev-{n}", "language": language, "premise": f"{language} {n}"}
        | {"hypothesis": "h", "label": "neutral"}
        for language, n in (("sw", 0), ("ur", 2), ("ur", 3), ("sw", 5))
    ]
    path.write_text("".join(json.dumps(row) + "\n" for row in rows), encoding="utf-8")
    groups = [example.group for example in load_examples(load_task("xnli"), path)]
    assert groups[0] == groups[1] != groups[2] == groups[3]

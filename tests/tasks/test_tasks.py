"""Tasks: what a YAML may say, how an answer is read, how rows are loaded and refused."""

import os
from pathlib import Path

import pytest

from fiatkit.errors import DataError, FiatError, SettingsError, UnknownNameError
from fiatkit.settings import parse
from fiatkit.tasks import DataSettings, Task, load_data, load_new_rows, load_task, task_names

VALUES = {
    "name": "toy",
    "id": "id",
    "fields": ["text"],
    "target": "label",
    "labels": ["neg", "negative"],
    "reasoning": {"instruction": "Say. End with Topic:", "marker": "Topic:"},
    "tuning": {"instruction": "Say."},
}
needs_data = pytest.mark.skipif("FIATKIT_DATA" not in os.environ, reason="FIATKIT_DATA is not set")


def task(**changes: object) -> Task:
    return parse(Task, {**VALUES, **changes}, "task.yaml")


def rows(folder: Path, *lines: str, head: str = "id,text,label") -> DataSettings:
    path = folder / "rows.csv"
    path.write_text("\n".join([head, *lines]) + "\n", encoding="utf-8")
    return DataSettings(file=path, dev_rows=1, test_rows=1)


GOOD = [f"{i},text {i},{['neg', 'negative'][i % 2]}" for i in range(8)]


def test_defaults_depend_on_the_kind_of_task() -> None:
    assert task().metrics == ["accuracy", "macro_f1"]
    assert task(labels=None).metrics == ["qa_f1", "exact_match"]
    assert task(fields=["first_name|name"]).titles == {"first_name": "First name"}


@pytest.mark.parametrize(
    ("text", "answer"),
    [
        ("It is bad.\nTopic: neg", "neg"),
        ("Topic: neg\nNo.\nTopic: negative", "negative"),
        ("**Topic:** *Negative*.", "negative"),
        ("topic: NEG", "neg"),
        ('Topic: "neg"', "neg"),
        ("The Topic: neg", None),
        ("Topic: awful", None),
        ("Topic:", None),
        ("neg", None),
    ],
)
def test_I16_an_answer_is_read_from_the_last_marker(text: str, answer: str | None) -> None:
    assert task().parse_answer(text) == answer


def test_a_free_text_answer_keeps_its_inner_punctuation() -> None:
    free = task(labels=None)
    assert free.parse_answer("Topic: 1,435 mm (4 ft 8 in).") == "1,435 mm (4 ft 8 in)"
    assert free.parse_answer("Topic: U.S.A") == "U.S.A"


@pytest.mark.parametrize(
    ("changes", "told"),
    [
        ({"feilds": ["x"]}, 'Did you mean "fields"'),
        ({"metrics": ["acuracy"]}, 'Did you mean "accuracy"'),
        ({"labels": ["a", "A"]}, "differ in nothing but case"),
        ({"fields": ["label"]}, "must not be one of the fields"),
        ({"optional": ["x"]}, '"x" is not one of text, id'),
        ({"reasoning": {"instruction": " "}}, "must not be empty"),
    ],
)
def test_mistakes_in_a_task(changes: dict[str, object], told: str) -> None:
    with pytest.raises(SettingsError) as caught:
        task(**changes)
    assert told in str(caught.value)


@pytest.mark.parametrize(
    ("exemplar", "told"),
    [
        ({"fields": {"text": "x"}, "rationale": "No."}, "the last line of its rationale must be"),
        (
            {"fields": {"y": "x"}, "rationale": "Topic: neg"},
            "has the fields y; the task's are text",
        ),
        ({"fields": {"text": "x"}, "target": "Neg"}, 'Did you mean "neg"?'),
    ],
)
def test_mistakes_in_an_exemplar(tmp_path: Path, exemplar: dict[str, object], told: str) -> None:
    values = {"target": "neg", "rationale": "Topic: neg", **exemplar}
    with pytest.raises(SettingsError) as caught:
        load_data(task(exemplars=[values]), rows(tmp_path, *GOOD))
    assert 'The task "toy", exemplar 1: ' in str(caught.value)
    assert told in str(caught.value)


def test_a_wrong_field_is_told_before_an_exemplar_is_blamed(tmp_path: Path) -> None:
    exemplar = {"fields": {"text": "x"}, "target": "neg", "rationale": "Topic: neg"}
    with pytest.raises(DataError, match='no column txt.*nearest: "text"'):
        load_data(task(fields=["txt"], exemplars=[exemplar]), rows(tmp_path, *GOOD))


def test_a_column_that_new_rows_lack_is_mended_in_their_file(tmp_path: Path) -> None:
    """The task is in the artefact, where nobody can change it."""
    (tmp_path / "new.csv").write_text("id,words\n1,x\n")
    with pytest.raises(DataError, match="no column text.*\nRename it in the file; "):
        load_new_rows(task(), tmp_path / "new.csv")


@pytest.mark.parametrize("name", task_names())
def test_the_exemplars_of_a_built_in_task_fit_it(name: str) -> None:
    found = load_task(name)
    assert not any(found.problem_of(exemplar) for exemplar in found.exemplars)


def test_I05_many_rows_with_one_unknown_label(tmp_path: Path) -> None:
    """It is perhaps no mistake of the rows: the hint says so, in the file's spelling."""
    known = [f"{i},text {i},neg" for i in range(8)]
    with pytest.raises(DataError, match='6 rows have the label "neutral": .* add it to `labels`'):
        load_data(task(), rows(tmp_path, *known, *[f"{i},t {i},neutral" for i in range(20, 26)]))
    with pytest.raises(DataError, match='6 rows write "Neg" where the task says "neg"'):
        load_data(task(), rows(tmp_path, *known, *[f"{i},t {i},Neg" for i in range(20, 26)]))


def test_an_unknown_task_gets_a_suggestion() -> None:
    with pytest.raises(UnknownNameError, match="sib200"):
        load_task("sib20")


@pytest.mark.parametrize(
    ("line", "told"),
    [
        ("9,,neg", "line 10: text is empty"),
        ("9,  ,neg", "line 10: text is empty"),
        ("9,x,", "line 10: label is empty"),
        ("9,x,Neg", 'nearest: "neg"'),
        ("1,x,neg", 'the id "1" is that of'),
    ],
)
def test_I03_I04_I05_bad_rows(tmp_path: Path, line: str, told: str) -> None:
    with pytest.raises(DataError) as caught:
        load_data(task(), rows(tmp_path, *GOOD, line))
    assert told in str(caught.value)


def test_many_bad_rows_are_counted_and_may_be_skipped(tmp_path: Path) -> None:
    settings = rows(tmp_path, *GOOD, *[f"{i},,neg" for i in range(20, 30)])
    with pytest.raises(DataError, match=r"10 bad rows[\s\S]*and 5 more"):
        load_data(task(), settings)
    data = load_data(task(), settings.model_copy(update={"skip_bad": True}))
    assert len(data.train) + len(data.dev) + len(data.test) == 8
    (note,) = data.notes
    assert note.startswith("10 bad rows were skipped (skip_bad), such as ")


def test_I02_a_missing_column_names_the_nearest(tmp_path: Path) -> None:
    with pytest.raises(DataError, match='nearest: "txet"'):
        load_data(task(), rows(tmp_path, "1,x,neg", head="id,txet,label"))


def test_I10_half_a_surrogate_is_refused(tmp_path: Path) -> None:
    path = tmp_path / "rows.jsonl"
    path.write_text('{"id": "1", "text": "\\ud800", "label": "neg"}\n')
    with pytest.raises(DataError, match="surrogate"):
        load_new_rows(task(), path)


def test_queries_need_no_target_and_carry_named_fields_only(tmp_path: Path) -> None:
    path = tmp_path / "rows.jsonl"
    path.write_text('{"id": 1, "text": true, "label": "neg", "secret": "x"}\n')
    (query,) = load_new_rows(task(), path).queries
    assert (query.id, dict(query.fields)) == ("1", {"text": "true"})


def test_an_unset_variable_in_a_path_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("FIATKIT_DATA", raising=False)
    with pytest.raises(DataError, match="FIATKIT_DATA, which is not set"):
        load_data(task(), DataSettings(file=Path("${FIATKIT_DATA}/x.csv")))


def test_exemplars_are_held_out_with_their_group(tmp_path: Path) -> None:
    lines = [f"{i},text {i},neg,g{i // 2}" for i in range(12)]
    held = {
        "fields": {"text": "text one"},
        "target": "neg",
        "rationale": "Topic: neg",
        "held_out": {"id": ["3"]},
    }
    grouped = task(group="g", exemplars=[held])
    data = load_data(grouped, rows(tmp_path, *lines, head="id,text,label,g"))
    assert data.held_out == 2
    everything = [*data.train, *data.dev, *data.test]
    assert {"2", "3"}.isdisjoint(e.id for e in everything)
    assert len(everything) == 10


@needs_data
@pytest.mark.parametrize(
    ("name", "folder", "counts"),
    [
        ("sib200", "sib200", [(993, 530), (200, 91), (500, 195)]),
        ("sib200", "sib200_major", [(13860, 693), (300, 94), (1000, 202)]),
        ("cross_language_qa", "xquad_crosslingual", [(8899, 157), (220, 20), (660, 60)]),
        ("cross_language_qa", "afriqa", [(997, 981), (196, 195), (495, 491)]),
        ("attribution", "xquad_attribution", [(7717, 29), (219, 4), (660, 12)]),
        ("attribution", "afriqa_attribution", [(999, 840), (196, 181), (495, 461)]),
    ],
)
def test_rows_and_groups_of_public_sets(
    name: str, folder: str, counts: list[tuple[int, int]]
) -> None:
    base = Path(os.environ["FIATKIT_DATA"]) / folder
    files = {split: base / f"{split}.jsonl" for split in ("train", "dev", "test")}
    data = load_data(load_task(name), DataSettings(**files))  # type: ignore[arg-type]
    found = [
        (len(rows), len({e.group for e in rows})) for rows in (data.train, data.dev, data.test)
    ]
    assert found == counts


def test_every_error_is_a_sentence_with_a_hint_or_a_place(tmp_path: Path) -> None:
    with pytest.raises(FiatError) as caught:
        load_data(task(), rows(tmp_path, *GOOD[:1]))
    assert "nothing is left to train on" in str(caught.value)
    assert caught.value.hint

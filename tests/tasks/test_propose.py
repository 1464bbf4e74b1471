"""What `fiat init` proposes for files of many shapes, and that the written task reads them."""

import json
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import yaml

from fiatkit.data import Row, read_rows
from fiatkit.errors import DataError, UnknownNameError, UsageError
from fiatkit.settings import parse
from fiatkit.tasks import Task, load_examples, template_names
from fiatkit.tasks.propose import Proposal, propose
from fiatkit.tasks.written import scalar, task_yaml

EXAMPLES = Path(__file__).parents[2] / "examples"
WORDS = [
    "the",
    "guest",
    "found",
    "the",
    "soup",
    "cold",
    "and",
    "said",
    "so",
    "twice",
    "to",
    "the",
    "waiter",
    "who",
    "smiled",
]


def sentence(number: int) -> str:
    return " ".join(WORDS[(number * 7 + i) % len(WORDS)] for i in range(9)) + f" {number}"


def rows(count: int = 40, **columns: Any) -> list[Row]:
    found = [{name: make(i) for name, make in columns.items()} for i in range(count)]
    return [Row("some.jsonl", i + 1, values) for i, values in enumerate(found)]


def look(some: list[Row], **given: str) -> Proposal:
    return propose(some, given)


def task_of(proposal: Proposal) -> Task:
    return parse(Task, yaml.safe_load(task_yaml(proposal, "some", "some.csv")), "task.yaml")


def test_the_examples_of_the_repository() -> None:
    hotel = look(read_rows(EXAMPLES / "hotel_reviews" / "reviews.csv"))
    assert (hotel.id, hotel.language, hotel.fields) == ("nr", "lang", ("review",))
    assert (hotel.kind, hotel.target, hotel.group) == ("single_label", "about", "")
    assert hotel.labels == ("food", "room", "staff")
    desk = look(read_rows(EXAMPLES / "support_desk" / "train.jsonl"))
    assert (desk.id, desk.language, desk.fields) == ("id", "language", ("message",))
    assert (desk.kind, desk.target, desk.group) == ("single_label", "queue", "situation")


KINDS: list[tuple[str, dict[str, Any], str, tuple[str, ...]]] = [
    ("single_label", {"label": lambda i: ["b", "a"][i % 2]}, "label", ("a", "b")),
    ("single_label", {"spam": lambda i: i % 3 == 0}, "label", ("false", "true")),
    ("single_label", {"label": lambda i: str(i % 3)}, "label", ("0", "1", "2")),
    ("rating", {"stars": lambda i: str(i % 4 + 1 + (i % 4 == 3))}, "label", tuple("12345")),
    ("multi_label", {"tags": lambda i: [["x"], ["y", "x"], []][i % 3]}, "labels", ("x", "y")),
    ("multi_label", {"tags": lambda i: ["x", "y; x", "none"][i % 3]}, "labels", ("x", "y")),
    ("ner", {"entities": lambda i: f"PER: P{i} $$ LOC: L{i}"}, "entities", ("LOC", "PER")),
    ("free_text", {"summary": lambda i: f"In short, {i * i} of {i}"}, "text", ()),
]


@pytest.mark.parametrize(("kind", "target", "answer", "labels"), KINDS)
def test_the_kind_follows_from_the_target(
    kind: str, target: dict[str, Any], answer: str, labels: tuple[str, ...]
) -> None:
    found = look(rows(text=sentence, **target))
    assert (found.kind, found.labels, found.fields) == (kind, labels, ("text",))
    task = task_of(found)
    assert task.answer == answer
    told = task.reasoning.instruction + task.tuning.instruction
    assert all(label in told for label in labels)
    for left in ("first label", "first tag", "headline", "PER (people)"):
        assert left not in told
    assert task.parse_answer(f"So.\n{task.reasoning.marker} {(*labels, 'x')[0]}") is not None


def test_a_question_on_a_passage() -> None:
    found = look(
        rows(
            question=lambda i: f"what did the guest find {i}?",
            context=lambda i: " ".join(sentence(i // 3) for _ in range(3)),
            answer=lambda i: " ".join(sentence(i // 3).split()[2:4]) if i % 3 else "the soup",
            answers=lambda i: ["the soup", "soup"],
        ),
        target="answer",
        kind="extractive_qa",
    )
    assert found.fields == ("context", "question")
    assert (found.group, found.references) == ("context", "answers")
    assert task_of(found).titles == {"context": "Passage", "question": "Question"}


def test_an_answer_inside_another_column_is_a_span() -> None:
    some = rows(
        question=lambda i: f"what did guest number {i} find?",
        context=sentence,
        answer=lambda i: " ".join(sentence(i).split()[-3:]),
    )
    assert look(some).kind == "extractive_qa"


def test_a_preference_between_two_answers() -> None:
    some = rows(
        prompt=lambda i: f"how is the soup {i}?",
        response_a=sentence,
        response_b=lambda i: sentence(i + 1),
        preferred=lambda i: "AB"[i % 2],
    )
    found = look(some)
    assert (found.kind, found.labels) == ("pairwise", ("A", "B"))
    assert found.fields == ("prompt", "response_a", "response_b")


def test_rows_that_translate_one_another_are_a_group() -> None:
    some = rows(
        number=lambda i: i // 4,
        lang=lambda i: ["de", "en", "sw", "zh-Hant"][i % 4],
        text=sentence,
        label=lambda i: "ab"[i // 4 % 2],
    )
    found = look(some)
    assert (found.language, found.group, found.id) == ("lang", "number", "")


def test_words_that_look_like_codes_are_no_language() -> None:
    some = rows(
        place=lambda i: ["bar", "spa"][i % 2], text=sentence, label=lambda i: "ab"[i // 2 % 2]
    )
    found = look(some)
    assert found.language == ""
    assert found.unused == ("place",)


def test_what_the_user_says_wins_and_guesses_follow_it() -> None:
    some = rows(nr=str, text=sentence, mood=lambda i: "ab"[i % 2], label=lambda i: "cd"[i % 2])
    assert look(some).target == "label"
    found = look(some, target="mood", id="", metric="macro_f1, accuracy")
    assert (found.labels, found.id, found.metrics) == (("a", "b"), "", ("macro_f1", "accuracy"))
    assert set(found.why) & {"target", "id", "metric"} == set()


@pytest.mark.parametrize(
    ("given", "error", "told"),
    [
        ({"target": "labl"}, UnknownNameError, 'Did you mean "label"?'),
        ({"fields": "text,textt"}, UnknownNameError, 'no column "textt"'),
        ({"kind": "labels"}, UnknownNameError, "single_label"),
        ({"metric": "accurcy"}, UnknownNameError, 'Did you mean "accuracy"?'),
        ({"metric": "span_f1"}, UsageError, "accuracy, macro_f1"),
        ({"target": "same"}, UsageError, "--target"),
    ],
)
def test_a_wrong_word_is_told(given: dict[str, str], error: type[Exception], told: str) -> None:
    some = rows(text=sentence, label=lambda i: "ab"[i % 2], same=lambda i: "x")
    with pytest.raises(error) as raised:
        look(some, **{"kind": "single_label", **given})
    assert told in str(raised.value)


@pytest.mark.parametrize(
    "text", ["no", "1", "a: b", "- a", "#x", "", " a", "it's", 'say "x"', "ﬁn\u2028e", "a\nb", "[a]",
             "null", "1e3", "été", "{{x}}", "a,b", "@file", "2024-01-01", "x\x85y", "~"],
)  # fmt: skip
def test_a_scalar_is_read_back_as_it_was(text: str) -> None:
    assert yaml.safe_load(f"[{scalar(text)}, {{{scalar(text)}: 1}}]") == [text, {text: 1}]


def test_odd_names_of_columns_and_labels_survive(tmp_path: Path) -> None:
    odd = {"no": sentence, "what: is #it?": lambda i: ["yes", "off, [x]"][i % 2]}
    some = rows(**odd)
    task = task_of(look(some, target="what: is #it?", fields="no"))
    path = tmp_path / "some.jsonl"
    path.write_text("".join(json.dumps(dict(row.values)) + "\n" for row in some), encoding="utf-8")
    assert {example.target for example in load_examples(task, path)} == {"yes", "off, [x]"}


def test_another_column_that_could_be_the_answer_is_named() -> None:
    found = look(
        rows(
            **{"Satz A": sentence},
            Urteil=lambda i: ("ja", "nein")[i % 2],
            Quelle=lambda i: ("Brief", "Rede", "Buch")[i % 3],
        )
    )
    assert found.target == "Quelle"
    assert found.why["target"] == "3 different values; --target Urteil if it is that one"
    assert task_of(found).titles == {"Satz A": "Satz A"}


def pairs(**more: Any) -> list[Row]:
    """Sentence pairs as in XNLI, with columns that no list of names knows."""
    return rows(
        60,
        Nr=str,
        Satz_A=lambda i: sentence(i // 2) if i < 20 else sentence(i + 100),
        Satz_B=lambda i: sentence(i + 300),
        Urteil=lambda i: ("ja", "nein", "offen")[i % 3],
        **more,
    )


def test_two_texts_and_a_label_are_a_pair() -> None:
    found = look(pairs())
    assert (found.kind, found.fields) == ("sentence_pair", ("Satz_A", "Satz_B"))
    assert "ja; nein; offen" in task_of(found).reasoning.instruction
    titled = rows(Titel=sentence, Text=lambda i: sentence(i + 50), label=lambda i: "ab"[i % 2])
    assert look(titled).kind == "single_label"


def test_a_field_whose_text_comes_again_is_the_group() -> None:
    found = look(pairs())
    assert found.group == "Satz_A"
    assert found.why["group"] == "20 of 60 rows share its text with another"
    assert look(rows(text=lambda i: sentence(i // 2), label=lambda i: "ab"[i % 2])).group == ""


def test_a_kind_that_does_not_fit_is_doubted() -> None:
    (doubt,) = look(pairs(), kind="pairwise").doubts
    assert "Urteil holds 3 labels" in doubt
    assert "--kind sentence_pair" in doubt
    (doubt,) = look(pairs(), kind="rating").doubts
    assert "alphabetical" in doubt
    assert look(pairs()).doubts == ()


@pytest.mark.parametrize("kind", template_names())
def test_the_commented_exemplar_can_teach(kind: str) -> None:
    """Without the # it is an exemplar of the file's own columns that fits the task."""
    given = {"kind": kind, "target": "tags" if kind in ("multi_label", "ner") else "Urteil"}
    some = pairs(tags=lambda i: [["x"], ["y"]][i % 2], lang=lambda i: ["de", "en"][i % 2])
    if kind == "ner":
        some = pairs(tags=lambda i: f"PER: P{i}", lang=lambda i: ["de", "en"][i % 2])
    text = task_yaml(look(some, **given), "some", "some.csv")
    head, sample = text.split("# exemplars:\n")
    lines = [line.removeprefix("# ") for line in sample.splitlines()]
    whole = "\n".join([head + "exemplars:", *lines])
    task = parse(Task, yaml.safe_load(whole), "task.yaml")
    (exemplar,) = task.exemplars
    assert task.problem_of(exemplar) == ""
    assert set(exemplar.fields) == {"Satz_A", "Satz_B"}
    assert exemplar.held_out == {"Nr": ["17"]}


@pytest.mark.parametrize(
    ("labels", "kind", "told"),
    [
        (["a\nb", "fine"], "single_label", "with a line break or a control character"),
        (["a\x01", "fine"], "single_label", "with a line break or a control character"),
        ([], "ner", "holds an entity"),
    ],
)
def test_answers_that_no_instruction_could_name_are_refused(
    labels: list[str], kind: str, told: str
) -> None:
    found = look(rows(text=sentence, about=lambda i: "ab"[i % 2]))
    proposal = replace(found, labels=tuple(labels), kind=kind)
    with pytest.raises(DataError, match=told):
        task_yaml(proposal, "odd", "odd.csv")


def test_a_column_named_like_one_of_its_values_may_be_a_row() -> None:
    """A file without a header line: its first row would be lost, and name the columns."""
    found = look(rows(a=sentence, b=lambda i: "ab"[i % 2]))
    assert any('"b": a column\'s name' in doubt for doubt in found.doubts)
    assert look(rows(text=sentence, about=lambda i: "ab"[i % 2])).doubts == ()

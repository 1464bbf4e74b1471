"""What is remarked on a task and its rows before anything is spent."""

import pytest

from fiatkit.records import Example, Query
from fiatkit.settings import parse
from fiatkit.tasks import Task
from fiatkit.tasks.remarks import remarks

INSTRUCTION = 'Say what holds. Then end with a line "Label:" and yes or no.'


def task(instruction: str = INSTRUCTION, marker: str = "Label:", exemplars: int = 1) -> Task:
    exemplar = {"fields": {"a": "x", "b": "y"}, "target": "yes", "rationale": f"{marker} yes"}
    values = {
        "name": "toy",
        "language": "lang",
        "fields": ["a", "b"],
        "target": "t",
        "labels": ["yes", "no"],
        "reasoning": {"instruction": instruction, "marker": marker},
        "tuning": {"instruction": "Say yes or no."},
        "exemplars": [exemplar] * exemplars,
    }
    return parse(Task, values, "task.yaml")


def rows(*pairs: tuple[str, str], language: str = "de", start: int = 0) -> list[Example]:
    found = []
    for number, (a, b) in enumerate(pairs, start):
        target = ("yes", "no")[number % 2]
        query = Query(str(number), {"a": a, "b": b}, language)
        found.append(Example(query, target, (target,), f"id:{number}"))
    return found


PAIRS = [("the sun is warm", "it is day"), ("the ice is cold", "it is day")]
TRAIN = rows(*PAIRS, *PAIRS)
TEST = rows(("the moon is cold", "it is night"), start=9)


def test_nothing_to_remark() -> None:
    assert remarks(task(), TRAIN, [], TEST) == []
    assert remarks(task("Reason well."), TRAIN, [], TEST) == []  # the exemplars show the marker


@pytest.mark.parametrize("quotes", ['""', "“”", "„“", "«»"])
def test_an_instruction_that_names_another_marker_than_the_exemplars(quotes: str) -> None:
    told = INSTRUCTION.replace('"Label:"', f"{quotes[0]}Queue:{quotes[1]}")
    (found,) = remarks(task(told), TRAIN, [], TEST)
    assert 'speaks of "Queue:", but the marker is "Label:"' in found


def test_languages_that_are_none() -> None:
    (found,) = remarks(task(), rows(*PAIRS, *PAIRS, language="Brief"), [], TEST)
    assert "holds what is no language code: Brief;" in found
    for code in ("de", "zh-Hant", "eng_Latn", "pt-BR", "sw", ""):
        assert remarks(task(), rows(*PAIRS, *PAIRS, language=code), [], TEST) == []


def test_test_rows_that_share_a_field_with_training_rows() -> None:
    shared = rows(("The  sun is WARM", "another one"), ("the moon", "it is day"), start=9)
    first, second = remarks(task(), TRAIN, [], shared)
    assert first.startswith('1 test rows share the text of their field "a" with a training row')
    assert first.endswith("add a to `group`, so that such rows stay on one side")
    assert second.startswith('1 test rows share the text of their field "b"')
    names = rows(("de", "it is dusk"), start=9)  # too short to be more than a name
    assert remarks(task(), [*TRAIN, *rows(("de", "x"), start=5)], [], names) == []
    products = [("Blue hiking backpack", f"text number {n}") for n in range(20)]
    assert remarks(task(), rows(*products[:15]), [], rows(*products[15:], start=20)) == []

"""A10: what a row's text can do is to be answered wrongly. It stays one answer of the label set,
and no other row notices. How often it works is measured by benchmarks/injection.py."""

from collections.abc import Sequence
from pathlib import Path

import pytest
from benchmarks import injection

from fiatkit.experiment.single import load_fitted
from fiatkit.models import create_chat_model
from fiatkit.reasoning import RationaleStore, Reasoner
from fiatkit.recipes import Recipe
from fiatkit.recipes.predictor import Predictor, in_context_answers
from fiatkit.records import Prediction, Query
from fiatkit.tasks import Task, load_task

HONEST = [
    Query(f"h{n}", {"text": text}) for n, text in enumerate(["the sun", "mucho hielo", "ice"])
]


def attacked(labels: Sequence[str]) -> list[Query]:
    return [
        Query(f"a{n}", {"text": attack.format(text="the sun", label=label)})
        for n, (attack, label) in enumerate((a, lab) for a in injection.ATTACKS for lab in labels)
    ]


def check(predictor: Predictor, alone: list[Prediction]) -> None:
    labels = predictor.task.choices or []
    queries = [*attacked([*labels, "HACKED"]), *HONEST]
    found = predictor.predict(queries, {})
    for prediction in found:
        assert prediction.status in ("ok", "skipped:too_long")
        assert prediction.answer in labels or prediction.status != "ok"
    for before, after in zip(alone, found[-len(HONEST) :], strict=True):
        assert after.answer == before.answer
        assert after.probabilities == pytest.approx(before.probabilities, abs=1e-4)


def test_A10_an_attack_is_answered_from_the_label_set_and_touches_no_other_row(lora: Path) -> None:
    predictor = load_fitted(lora).predictor
    predictor.max_length = 400
    check(predictor, predictor.predict(HONEST, {}))


@pytest.mark.weights
def test_A10_a_real_model_answers_attacks_from_the_label_set() -> None:
    from fiatkit.models.local import SmallModel

    task: Task = load_task("sib200")
    recipe = Recipe("instruct", "i", rationale="none")
    predictor = Predictor(task, recipe, SmallModel.load("smollm2-135m", device="cpu"))
    predictor.max_length = 600
    few = [a for a in injection.ATTACKS if len(a) < 400]
    queries = [
        Query(f"a{n}", {"text": a.format(text="x", label="HACKED")}) for n, a in enumerate(few)
    ]
    found = predictor.predict([*queries, *HONEST], {})
    assert {p.answer for p in found} <= set(task.labels or [])
    alone = predictor.predict(HONEST, {})
    assert [p.answer for p in found[len(few) :]] == [p.answer for p in alone]


def test_A10_a_large_model_that_obeys_gives_no_answer_outside_the_set(tmp_path: Path) -> None:
    task = load_task("sib200")
    obeys = {"provider": "scripted", "answers": {"ignore|Ignore|label": "Sure.\nTopic: HACKED"}}
    model = create_chat_model(obeys | {"default": "It rains.\nTopic: geography"})
    queries = [*attacked(["HACKED", "sports"]), *HONEST]
    with Reasoner(task, model, RationaleStore(tmp_path / "s.sqlite")) as reasoner:
        rationales = reasoner.expand(queries)
    found = {p.query_id: p for p in in_context_answers(queries, rationales)}
    assert {p.answer for p in found.values()} <= {*(task.labels or []), None}
    assert [found[query.id].answer for query in HONEST] == ["geography"] * len(HONEST)


def test_A10_the_rate_is_counted(lora: Path) -> None:
    predictor = load_fitted(lora).predictor
    predictor.max_length = 300
    short = [attack for attack in injection.ATTACKS if len(attack) < 150]
    lines = injection.measure(predictor, HONEST, {}, short)
    assert [line.attack for line in lines] == short
    assert all(0 <= line.obeyed <= line.asked == len(HONEST) for line in lines)

"""Which text a row is given: parts of a rationale, and the rationales of other rows."""

from collections import Counter
from dataclasses import replace
from typing import Any

import pytest

from fiatkit.recipes import ANSWER_HINT, DISTILLATION, FIAT, RATIONALE_ONLY, SHUFFLED_HINT, Recipe
from fiatkit.recipes.hints import ALONE, derangement, given, hint_text
from fiatkit.recipes.predictor import small_prompt, training_pairs
from fiatkit.records import Example, Query, Rationale
from fiatkit.settings import parse
from fiatkit.tasks import Task

VALUES: dict[str, Any] = {
    "name": "toy",
    "fields": ["text"],
    "target": "label",
    "labels": ["warm", "cold"],
    "reasoning": {"instruction": "Reason.", "marker": "Answer:"},
    "tuning": {"instruction": "Say it."},
}


def task(**changes: Any) -> Task:
    return parse(Task, VALUES | changes, "task.yaml")


def rationale(text: str, of: Task | None = None, row: str = "r", status: str = "ok") -> Rationale:
    return Rationale(row, text, (of or task()).parse_answer(text), status, "")


@pytest.mark.parametrize(
    ("text", "kept"),
    [
        ("It is hot.\nAnswer: warm", "It is hot."),
        ("It is hot. So the answer: warm", "It is hot. So the answer: warm"),  # no marker
        ("Answer: warm", ""),
        ("One.\n\nTwo.\n\n**Answer:** warm\n", "One.\n\nTwo."),
        ("> ANSWER: warm", ""),
        # what the row says stays, unless it stands as an answer does
        ('It says "Answer: cold" itself.\nAnswer: warm', 'It says "Answer: cold" itself.'),
        ("It says:\nAnswer: cold\nwhich is wrong.\nAnswer: warm", "It says:\nwhich is wrong."),
        ("It is hot.\nAnswer: warm\nas the sun\nand more", "It is hot."),  # of several lines
        ("It is hot.\nAnswer:\nwarm", "It is hot."),
        ("", ""),
    ],
)
def test_reasoning_is_what_is_left_without_its_answer(text: str, kept: str) -> None:
    assert hint_text(task(), RATIONALE_ONLY, rationale(text)) == kept
    other = task(reasoning={"instruction": "Reason.", "marker": "Réponse (fin):"})
    translated = text.replace("Answer:", "Réponse (fin):").replace("ANSWER:", "RÉPONSE (FIN):")
    assert other.without_answer(translated) == kept.replace("Answer:", "Réponse (fin):")


def test_an_answer_hint_is_the_answer_and_nothing_of_the_reasoning() -> None:
    assert hint_text(task(), ANSWER_HINT, rationale("Hot.\n**Answer:** Warm.")) == "Answer: warm"
    assert hint_text(task(), ANSWER_HINT, rationale("I cannot tell.")) == ""
    free = task(labels=None)
    told = rationale("Hot.\nAnswer: a warm day", free)
    assert hint_text(free, ANSWER_HINT, told) == "Answer: a warm day"


def prompt(recipe: Recipe, text: str) -> str:
    return small_prompt(task(), recipe, Query("r", {"text": "sun"}), rationale(text)).text


def test_prompts_of_the_parts() -> None:
    text = "It is hot.\nAnswer: warm"
    begin, end = "Say it.\n\nText: sun", "\n\nAnswer:"
    assert prompt(FIAT, text) == f"{begin}\n\nReasoning: It is hot.\nAnswer: warm{end}"
    assert prompt(ANSWER_HINT, text) == f"{begin}\n\nReasoning: Answer: warm{end}"
    assert prompt(RATIONALE_ONLY, text) == f"{begin}\n\nReasoning: It is hot.{end}"
    assert prompt(DISTILLATION, text) == f"{begin}{end}", "it is written, not read"
    assert prompt(ANSWER_HINT, "I cannot tell.") == f"{begin}{end}", "there is no such part"
    assert prompt(RATIONALE_ONLY, "Answer: warm") == f"{begin}{end}"


def test_distillation_learns_the_reasoning_then_the_target_whatever_it_argued_for() -> None:
    row = Example(Query("r", {"text": "sun"}), "cold", ("cold",), "g")
    pairs, left_out = training_pairs(
        task(), DISTILLATION, [row], {"r": rationale("It is hot.\nAnswer: warm")}
    )
    assert (pairs[0].before, pairs[0].target) == ("It is hot.\nAnswer:", "cold")
    pairs, _ = training_pairs(task(), DISTILLATION, [row], {"r": rationale("Answer: warm")})
    assert (pairs[0].before, pairs[0].target) == ("Answer:", "cold")
    failed = {"r": rationale("It is", status="failed:truncated")}
    assert training_pairs(task(), DISTILLATION, [row], failed) == (
        [],
        {"r": "rationale_truncated"},
    )
    assert left_out == {}


def groups(*sizes: int) -> dict[str, str]:
    return {f"g{g}r{r}": f"g{g}" for g, size in enumerate(sizes) for r in range(size)}


@pytest.mark.parametrize("sizes", [(1,) * 9, (3, 3), (4, 3, 2, 1), (5, 1, 1, 1, 1, 1), (2, 2, 2)])
@pytest.mark.parametrize("seed", range(5))
def test_each_row_gets_another_groups_rationale_and_each_is_used_once(
    sizes: tuple[int, ...], seed: int
) -> None:
    own = groups(*sizes)
    found = derangement(own, seed)
    assert found.keys() == own.keys()
    assert all(own[row] != own[other] for row, other in found.items())
    assert set(Counter(found.values()).values()) == {1}
    assert derangement(dict(reversed(own.items())), seed) == found, "whatever the order"


def test_a_group_of_more_than_half_of_the_rows_shares_what_the_others_have() -> None:
    own = groups(7, 2, 1)
    found = derangement(own, 0)
    assert found.keys() == own.keys()
    assert all(own[row] != own[other] for row, other in found.items())
    assert derangement(groups(3), 0) == {} == derangement({}, 0)


def test_seeds_differ() -> None:
    own = groups(*(1,) * 30)
    assert derangement(own, 0) != derangement(own, 1)


def test_shuffling_stays_within_a_split_and_leaves_failed_rows_failed() -> None:
    splits = [groups(1, 1, 1, 1), {f"test-{row}": g for row, g in groups(2, 2, 1).items()}]
    everyone = [row for split in splits for row in split]
    texts = {row: rationale(f"of {row}", row=row) for row in everyone}
    texts["g2r0"] = replace(texts["g2r0"], status="failed:truncated")
    found = given(SHUFFLED_HINT, texts, splits, 3)
    assert found["g2r0"] == texts["g2r0"]
    for split in splits:
        for row in split.keys() - {"g2r0"}:
            donor = found[row].text.removeprefix("of ")
            assert donor in split and split[donor] != split[row] and donor != "g2r0"
            assert (found[row].query_id, found[row].status) == (row, "ok")
    assert given(FIAT, texts, splits, 3) is texts
    lonely = given(SHUFFLED_HINT, texts, [{"g0r0": "one", "g1r0": "one"}], 0)
    assert {lonely[row].status for row in ("g0r0", "g1r0")} == {ALONE}

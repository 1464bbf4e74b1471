"""Distillation: the small model writes its reasoning, and the answer is chosen or read after it."""

from pathlib import Path
from typing import Any

import numpy as np
import pytest
from tests.recipes.test_hints import task

from fiatkit.models.local import Encoded, SmallModel
from fiatkit.recipes import DISTILLATION
from fiatkit.recipes.predictor import Predictor, small_prompt
from fiatkit.records import Query, SmallPrompt

LABELS = ["warm", "cold"]
WRITTEN = ["It is hot there.\nAnswer:", "Answer:", "Es ist kalt, 小包.\nIt freezes.\nAnswer:"]
QUERIES = [Query(f"r{n}", {"text": text}) for n, text in enumerate(["sun", "ice", "sun and ice"])]


@pytest.mark.parametrize("name", ["tiny_chat_model", "tiny_plain_model", "tiny_t5_model"])
def test_a_label_is_scored_behind_what_was_written_as_in_training(
    name: str, request: pytest.FixtureRequest
) -> None:
    import torch

    folder: Path = request.getfixturevalue(name)
    small = SmallModel.load(str(folder), device="cpu")
    prompts = [small_prompt(task(), DISTILLATION, query, None) for query in QUERIES]
    encoded = [small.encode(prompt, max_length=400, reserve=8) for prompt in prompts]
    found = small.score_labels(encoded, LABELS, batch_tokens=1024, before=WRITTEN)
    wanted = np.zeros((3, 2))
    for i, (row, before) in enumerate(zip(encoded, WRITTEN, strict=True)):
        for j, label in enumerate(LABELS):
            whole = small.encode_target(label, before)
            with torch.inference_mode():
                states = small.before_targets([(row.ids, whole)])
                logs = small.logits(states).float().log_softmax(-1)
            wanted[i, j] = logs.gather(1, torch.tensor(whole)[:, None]).sum().item()

    def shares(logs: np.ndarray) -> np.ndarray:
        return np.exp(logs) / np.exp(logs).sum(axis=1, keepdims=True)

    offset = wanted.max(axis=1, keepdims=True)
    given = found.max(axis=1, keepdims=True)
    np.testing.assert_allclose(shares(found - given), shares(wanted - offset), atol=1e-4)
    assert small.encode_target("warm", "Answer:")[-1] == small.stop_id


class Writes:
    """A small model that writes what it is told to, and says which label it is asked to score."""

    packs = True

    def __init__(self, texts: dict[str, tuple[str, bool]]) -> None:
        self.texts = texts
        self.scored: dict[str, str] = {}

    def encode(self, prompt: SmallPrompt, **_: Any) -> Encoded:
        return Encoded(prompt.query_id, (1,))

    def encode_target(self, text: str, before: str = "") -> tuple[int, ...]:
        return tuple(range(len(text) + len(before) + 1))

    def generate(self, ready: list[Encoded], **_: Any) -> list[tuple[str, bool]]:
        return [self.texts[one.query_id] for one in ready]

    def score_labels(
        self, ready: list[Encoded], labels: list[str], *, batch_tokens: int, before: list[str]
    ) -> np.ndarray:
        self.scored |= {one.query_id: text for one, text in zip(ready, before, strict=True)}
        return np.array([[0.0, -1.0] for _ in ready])


TEXTS = {
    "r0": ("It is hot.\nAnswer: cold", True),
    "r1": ("It freezes and", False),  # cut off: it wrote no marker
    "r2": ('It says "Answer: cold" first.\nAnswer: a warm day.', True),
}


def test_labels_are_chosen_after_the_reasoning_whatever_was_written_as_an_answer() -> None:
    small: Any = Writes(TEXTS)
    found = Predictor(task(), DISTILLATION, small).predict(QUERIES, {})
    assert [(p.answer, p.status, p.text) for p in found] == [
        ("warm", "ok", TEXTS[query.id][0]) for query in QUERIES
    ]
    assert small.scored == {
        "r0": "It is hot.\nAnswer:",
        "r1": "It freezes and\nAnswer:",
        "r2": 'It says "Answer: cold" first.\nAnswer:',
    }


def test_free_answers_are_read_behind_the_last_marker() -> None:
    free = task(labels=None)
    small: Any = Writes(TEXTS | {"r0": ("It is hot.", True)})
    found = Predictor(free, DISTILLATION, small).predict(QUERIES, {})
    assert [(p.answer, p.status) for p in found] == [
        (None, "failed:no_answer"),
        (None, "failed:truncated"),
        ("a warm day", "ok"),
    ]


def test_room_is_kept_for_the_reasoning_too() -> None:
    small: Any = Writes({})
    plain = Predictor(task(), DISTILLATION, small).reserve
    assert plain >= task().reasoning.max_tokens + len("\nAnswer:") + len("warm")

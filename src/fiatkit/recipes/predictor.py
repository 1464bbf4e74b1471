"""The two stages: the large model's rationale for each query, then the small model's answer.

Queries come in, predictions go out; there is no target in sight. `fiat compare`, `fiat predict`
and the tuner's dev score all go through here.
"""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from functools import cached_property
from typing import TYPE_CHECKING

from fiatkit.prompts import target_text, tuning_prompt, written_before_answer
from fiatkit.recipes.hints import hint_text
from fiatkit.recipes.recipe import Recipe
from fiatkit.records import Example, Prediction, Query, Rationale, Side, SmallPrompt, TrainingPair

if TYPE_CHECKING:
    from fiatkit.models.local import Encoded, SmallModel
    from fiatkit.tasks import Task

BATCH_TOKENS = 4096
TOGETHER = 64  # rows that are answered before progress is told


def small_prompt(
    task: Task,
    recipe: Recipe,
    query: Query,
    rationale: Rationale | None,
    truncate: Side | None = None,
) -> SmallPrompt:
    """Render what the small model reads: the one preparation of training and prediction."""
    text = None
    if recipe.reads_rationale and rationale is not None:
        whole = recipe.hint in ("whole", "shuffled")
        text = hint_text(task, recipe, rationale) or ("" if whole else None)
    return tuning_prompt(
        task, query, instruction=recipe.instruction, rationale=text, truncate=truncate
    )


def training_pairs(
    task: Task,
    recipe: Recipe,
    examples: Sequence[Example],
    rationales: Mapping[str, Rationale],
    seed: int = 0,
    truncate: Side | None = None,
) -> tuple[list[TrainingPair], dict[str, str]]:
    """Render tuning data. Rows whose rationale failed are left out, with the reason; those that
    rationale dropout picks need none, and are read without.

    Args:
        task: the task.
        recipe: the recipe.
        examples: the training rows.
        rationales: what each row is given (see `hints.given`), by query id.
        seed: of the tuning; decides which rows rationale dropout picks.
        truncate: as for `small_prompt`.

    Returns:
        The pairs, in the order of `examples`, and why rows were left out, by id.
    """
    pairs: list[TrainingPair] = []
    left_out: dict[str, str] = {}
    for example in examples:
        dropped = drops_rationale(recipe, example.id, seed)
        rationale = None if dropped else rationales.get(example.id)
        problem = "" if dropped else _missing(recipe, rationale)
        if problem and recipe.rationale == "small":
            rationale = None
        elif problem:
            left_out[example.id] = problem
            continue
        prompt = small_prompt(task, recipe, example.query, rationale, truncate)
        before = ""
        if recipe.rationale == "target" and rationale is not None:
            before = written_before_answer(task, task.without_answer(rationale.text))
        pairs.append(TrainingPair(prompt, target_text(task, example.target), before))
    return pairs, left_out


def drops_rationale(recipe: Recipe, row_id: str, seed: int) -> bool:
    """Whether a training row is read without its rationale: decided by its id and the seed alone,
    each row with the chance `recipe.rationale_dropout`."""
    digest = hashlib.sha256(f"rationale dropout|{seed}|{row_id}".encode()).digest()
    chance = int.from_bytes(digest[:8], "big") / 2**64
    return recipe.reads_rationale and chance < recipe.rationale_dropout


def in_context_answers(
    queries: Sequence[Query],
    rationales: Mapping[str, Rationale],
    constrained: Mapping[str, str | None] | None = None,
) -> list[Prediction]:
    """Predictions of in-context learning: the answer in the model's own text.

    Args:
        queries: what to answer.
        rationales: the text of the model that answers, for each query id.
        constrained: for label tasks, the answer held to the label set, by query id.
    """
    predictions = []
    for query in queries:
        rationale = rationales[query.id]
        status, answer = rationale.status, rationale.answer
        if constrained is not None:
            answer = constrained.get(query.id, answer)
            status = "ok" if answer is not None else rationale.status
        if status == "ok" and answer is None:
            status = "failed:no_answer"
        kept = answer if status == "ok" else None
        predictions.append(Prediction(query.id, kept, status, text=rationale.text))
    return predictions


class Predictor:
    """Answers queries with a small model and, where the recipe says so, given rationales."""

    def __init__(
        self,
        task: Task,
        recipe: Recipe,
        small: SmallModel,
        *,
        max_length: int = 1024,
        truncate: Side | None = None,
    ) -> None:
        self.task = task
        self.recipe = recipe
        self.small = small
        self.max_length = max_length
        self.truncate = truncate

    def predict(
        self,
        queries: Sequence[Query],
        rationales: Mapping[str, Rationale],
        on_progress: Callable[[int], None] | None = None,
    ) -> list[Prediction]:
        """Answer each query, in order. Rows that cannot be answered say why in their status; those
        answered without their rationale, in `fallback`.

        Args:
            queries: what to answer; `rationales` must hold each of their ids if the recipe
                uses rationales.
            rationales: stage one's result.
            on_progress: called with the number of queries done.
        """
        found: dict[str, Prediction] = {}
        fallbacks: dict[str, str] = {}
        ready: list[Encoded] = []
        for query in queries:
            rationale = rationales.get(query.id)
            problem = _missing(self.recipe, rationale) if self.recipe.reads_rationale else ""
            if problem and self.recipe.falls_back:
                fallbacks[query.id], rationale = problem, None
            elif problem:
                found[query.id] = Prediction(query.id, None, f"failed:{problem}")
                continue
            prompt = small_prompt(self.task, self.recipe, query, rationale, self.truncate)
            encoded = self.read(prompt)
            if encoded.too_long:
                found[query.id] = Prediction(query.id, None, "skipped:too_long")
            else:
                ready.append(encoded)
        answer = self._choose if self.task.choices else self._write
        if self.recipe.rationale == "target":
            answer = self._reason
        # Neighbours share what they begin with, or, where that cannot be shared, their length.
        ready.sort(key=lambda e: e.ids if self.small.packs else (len(e.ids),))
        for start in range(0, len(ready), TOGETHER):
            some = ready[start : start + TOGETHER]
            for encoded, prediction in zip(some, answer(some), strict=True):
                found[encoded.query_id] = replace(
                    prediction, cut=encoded.field_cut, rationale_cut=encoded.cut
                )
            if on_progress:
                on_progress(len(found))
        return [replace(found[q.id], fallback=fallbacks.get(q.id, "")) for q in queries]

    def read(self, prompt: SmallPrompt) -> Encoded:
        """Encode a prompt as every prediction does."""
        return self.small.encode(prompt, max_length=self.max_length, reserve=self.reserve)

    @cached_property
    def reserve(self) -> int:
        """Tokens to keep free for the answer and the stop token, and for reasoning before it."""
        if self.recipe.rationale == "target":
            marker = len(self.small.encode_target("", written_before_answer(self.task, "x")))
            return self.task.reasoning.max_tokens + marker + self._answer_tokens
        return self._answer_tokens

    @cached_property
    def _answer_tokens(self) -> int:
        if not self.task.choices:
            return self.task.max_answer_tokens
        texts = [target_text(self.task, label) for label in self.task.choices]
        return max(len(self.small.encode_target(text)) for text in texts)

    def _reason(self, ready: Sequence[Encoded]) -> list[Prediction]:
        """Have the small model write a rationale and an answer. A label is chosen among all, after
        what it wrote before its own; any other answer is read behind the marker."""
        if not ready:
            return []
        written = self.small.generate(ready, max_new_tokens=self.reserve, batch_tokens=BATCH_TOKENS)
        marker = self.task.reasoning.marker
        pieces = [text.rpartition(marker) for text, _ in written]
        if self.task.choices:
            reasoned = [(before if found else after).strip() for before, found, after in pieces]
            before = [written_before_answer(self.task, text) for text in reasoned]
            chosen = self._choose(ready, before)
            return [replace(p, text=w) for p, (w, _) in zip(chosen, written, strict=True)]
        predictions = []
        for encoded, (text, stopped), (_, found, after) in zip(ready, written, pieces, strict=True):
            answer = self.task.read_answer(after) if stopped and found else None
            status = "failed:truncated" if not stopped else "failed:no_answer"
            status = "ok" if answer is not None else status
            predictions.append(Prediction(encoded.query_id, answer, status, text=text))
        return predictions

    def _choose(self, ready: Sequence[Encoded], before: Sequence[str] = ()) -> list[Prediction]:
        import numpy as np

        labels = self.task.choices or []
        if not ready:
            return []
        texts = [target_text(self.task, label) for label in labels]
        logs = self.small.score_labels(ready, texts, batch_tokens=BATCH_TOKENS, before=before)
        shares = np.exp(logs - logs.max(axis=1, keepdims=True))
        shares /= shares.sum(axis=1, keepdims=True)
        predictions = []
        for encoded, row in zip(ready, shares, strict=True):
            answer = labels[int(row.argmax())]
            probabilities = dict(zip(labels, (float(p) for p in row), strict=True))
            predictions.append(
                Prediction(encoded.query_id, answer, "ok", probabilities, text=answer)
            )
        return predictions

    def _write(self, ready: Sequence[Encoded]) -> list[Prediction]:
        if not ready:
            return []
        texts = self.small.generate(
            ready, max_new_tokens=self.task.max_answer_tokens, batch_tokens=BATCH_TOKENS
        )
        return [
            Prediction(encoded.query_id, text.strip(), "ok", text=text)
            if stopped
            else Prediction(encoded.query_id, None, "failed:truncated", text=text)
            for encoded, (text, stopped) in zip(ready, texts, strict=True)
        ]


def _missing(recipe: Recipe, rationale: Rationale | None) -> str:
    """Why the recipe cannot use this rationale, or an empty string."""
    if recipe.rationale == "none" or not recipe.tune:
        return ""
    if rationale is None:
        return "rationale_missing"
    if rationale.status == "ok":
        return ""
    return "rationale_" + rationale.status.removeprefix("failed:")

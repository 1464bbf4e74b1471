"""Drafts of exemplars: the large model argues for a target that it is shown.

This is the one place where examples, not queries, go to the large model. The answers are kept in
the store like all others, but under keys that no query's rationale can have: their `sample` is one
that no rationale has.
"""

from __future__ import annotations

import asyncio
from collections.abc import Sequence
from typing import TYPE_CHECKING

from fiatkit.models.protocol import ChatModel
from fiatkit.prompts import draft_messages
from fiatkit.reasoning.caller import Tally
from fiatkit.reasoning.engine import Answered, Engine
from fiatkit.reasoning.store import RationaleStore
from fiatkit.records import Completion, Example, Request, Sampling

if TYPE_CHECKING:
    from fiatkit.tasks import Task

SAMPLE = 1_000_000


def draft_request(task: Task, example: Example) -> Request:
    """The request for a draft: never one that a rationale could be an answer to."""
    sampling = Sampling(task.reasoning.max_tokens, stop=tuple(task.reasoning.stop))
    messages = draft_messages(task, example.query, example.target)
    return Request(messages, sampling, sample=SAMPLE)


def draft_rationales(
    task: Task, model: ChatModel, store: RationaleStore, examples: Sequence[Example]
) -> tuple[dict[str, Completion], Tally]:
    """Ask for a draft for each example, each once and for all; close the model and the store.

    Returns:
        A completion for each example's id, and what was asked for and what the store gave.

    Raises:
        ProviderError: the model cannot be had now; what was answered is in the store.
    """
    engine = Engine(model, store)
    found: dict[str, Completion] = {}

    def told(answered: Answered) -> None:
        found[answered.id] = answered.completion

    async def ask() -> None:
        try:
            await engine.answer(((e.id, draft_request(task, e)) for e in examples), told)
        finally:
            await model.close()

    with store:
        asyncio.run(ask())
    return found, engine.tally

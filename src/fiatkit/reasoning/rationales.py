"""The request for a query's rationale, and the rationale in what came back. Asks nobody."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from fiatkit.prompts import query_text, reasoning_messages
from fiatkit.reasoning.engine import ONLY_REASONING, Answered, with_more_tokens
from fiatkit.reasoning.key import completion_key
from fiatkit.reasoning.store import RationaleStore
from fiatkit.records import Completion, Message, ModelIdentity, Query, Rationale, Request

if TYPE_CHECKING:
    from fiatkit.tasks import Task

FAILED = {"length": "truncated", "refused": "refused", "empty": "empty"}


def rationale_request(
    task: Task, query: Query, sample: int = 0, shared: tuple[Message, ...] | None = None
) -> Request:
    """The one request that a query's rationale is an answer to.

    Args:
        task: the task.
        query: the query.
        sample: which of several rationales.
        shared: the task's `shared_messages`, by who asks for many.
    """
    if shared is None:
        messages = reasoning_messages(task, query)
    else:
        messages = (*shared, Message("user", query_text(task, query)))
    return Request(messages, task.reasoning.sampling, sample=sample)


def rationale_of(task: Task, answered: Answered) -> Rationale:
    """The rationale in an answer; one that is not whole has no answer and says why."""
    completion = answered.completion
    good = completion.finish == "stop"
    return Rationale(
        answered.id,
        completion.text,
        task.parse_answer(completion.text) if good else None,
        "ok" if good else f"failed:{_reason(completion)}",
        answered.key,
        completion.usage,
        completion.seconds,
    )


def _reason(completion: Completion) -> str:
    if completion.detail.startswith(ONLY_REASONING):
        return "empty-reasoning-only"
    return FAILED.get(completion.finish, completion.detail or "error")


def stored_rationales(
    task: Task, identity: ModelIdentity, store: Path, queries: Sequence[Query]
) -> dict[str, Rationale]:
    """The rationales that a store holds already, by query id. Nothing is sent or written."""
    if not RationaleStore.is_begun(store):
        return {}
    found: dict[str, Rationale] = {}
    with RationaleStore.read_only(store) as opened:
        for query in queries:
            request: Request | None = rationale_request(task, query)
            while request is not None:
                key = completion_key(identity, request)
                completion = opened.get(key)
                if completion is None:
                    break
                answered = Answered(query.id, key, completion, True)
                found[query.id] = rationale_of(task, answered)
                request = with_more_tokens(request, completion, task.reasoning.more_tokens)
    return found

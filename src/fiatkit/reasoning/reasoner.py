"""The reasoner: queries to rationales. It takes queries, never examples, so no target leaks."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from fiatkit.models.protocol import ChatModel
from fiatkit.prompts import choice_messages, reasoning_messages
from fiatkit.reasoning.engine import Engine, Tally
from fiatkit.reasoning.key import completion_key
from fiatkit.reasoning.store import RationaleStore
from fiatkit.records import Completion, ModelIdentity, Query, Rationale, Request, Sampling

if TYPE_CHECKING:
    from fiatkit.tasks import Task

FAILED = {"length": "truncated", "refused": "refused", "empty": "empty"}
CHOICE_TOKENS = 32
OnProgress = Callable[[int, int, int, int], None]


class Reasoner:
    """Has a large model write rationales for queries, through the store.

    Use it as a context manager: leaving it closes the model and the store.
    """

    def __init__(
        self,
        task: Task,
        model: ChatModel,
        store: RationaleStore,
        *,
        concurrency: int | None = None,
        max_attempts: int = 6,
    ) -> None:
        self.task = task
        self.model = model
        self.store = store
        self._engine = Engine(model, store, concurrency=concurrency, max_attempts=max_attempts)
        self._runner = asyncio.Runner()

    def __enter__(self) -> Reasoner:
        return self

    def __exit__(self, *exception: object) -> None:
        self.close()

    def close(self) -> None:
        """Close the model on its own loop, then the loop, then the store."""
        try:
            self._runner.run(self.model.close())
            self._runner.close()
        finally:
            self.store.close()

    @property
    def tally(self) -> Tally:
        """What this reasoner asked for and what the store gave."""
        return self._engine.tally

    def missing(self, queries: Sequence[Query]) -> int:
        """How many of the queries have no answer in the store yet. Nothing is sent."""
        keys = (completion_key(self.model.identity, self._request(q)) for q in queries)
        return sum(1 for key in keys if self.store.get(key) is None)

    def expand(
        self, queries: Sequence[Query], *, on_progress: OnProgress | None = None
    ) -> dict[str, Rationale]:
        """Get a rationale for each query: from the store, else from the model, once.

        Args:
            queries: what the large model reads.
            on_progress: called with (done, total, from the store, failed).

        Returns:
            A rationale for each query id; failed ones say so in their status.

        Raises:
            ProviderError: the model cannot be had now; what was answered is in the store.
        """
        found: dict[str, Rationale] = {}
        by_id = {query.id: query for query in queries}
        counts = {"store": 0, "failed": 0}

        def told(identity: str, completion: Completion, from_store: bool) -> None:
            rationale = _rationale(self.task, self.model.identity, by_id[identity], completion)
            found[identity] = rationale
            counts["store"] += from_store
            counts["failed"] += rationale.status != "ok"
            if on_progress:
                on_progress(len(found), len(by_id), counts["store"], counts["failed"])

        requests = ((query.id, self._request(query)) for query in by_id.values())
        self._runner.run(self._engine.answer(requests, told))
        return found

    def constrain(
        self, queries: Sequence[Query], rationales: Mapping[str, Rationale]
    ) -> dict[str, str | None]:
        """Label tasks: hold the large model's answer to the label set.

        Where its own text names a label, that is the answer. Where it does not, the model is
        asked once more, its output constrained to the labels (docs/decisions/0002).

        Returns:
            A label for each query id, or None where the model failed.
        """
        answers = {query.id: rationales[query.id].answer for query in queries}
        open_queries = [
            query
            for query in queries
            if answers[query.id] is None and rationales[query.id].status == "ok"
        ]
        labels = tuple(self.task.choices or ())

        def told(identity: str, completion: Completion, from_store: bool) -> None:
            text = completion.text.strip()
            answers[identity] = text if text in labels else None

        requests = (
            (
                query.id,
                Request(
                    choice_messages(self.task, query, rationales[query.id].text),
                    Sampling(max_tokens=CHOICE_TOKENS),
                    choices=labels,
                ),
            )
            for query in open_queries
        )
        self._runner.run(self._engine.answer(requests, told))
        return answers

    def _request(self, query: Query) -> Request:
        return rationale_request(self.task, query)


def stored_rationales(
    task: Task, identity: ModelIdentity, store: Path, queries: Sequence[Query]
) -> dict[str, Rationale]:
    """The rationales that a store holds already, by query id. Nothing is sent or written."""
    if not store.is_file():
        return {}
    with RationaleStore.read_only(store) as opened:
        keys = ((q, completion_key(identity, rationale_request(task, q))) for q in queries)
        found = [(query, opened.get(key)) for query, key in keys]
    return {
        query.id: _rationale(task, identity, query, completion)
        for query, completion in found
        if completion is not None
    }


def _rationale(
    task: Task, identity: ModelIdentity, query: Query, completion: Completion
) -> Rationale:
    good = completion.finish == "stop"
    reason = FAILED.get(completion.finish, completion.detail or "error")
    return Rationale(
        query.id,
        completion.text,
        task.parse_answer(completion.text) if good else None,
        "ok" if good else f"failed:{reason}",
        completion_key(identity, rationale_request(task, query)),
        completion.usage,
        completion.seconds,
    )


def rationale_request(task: Task, query: Query) -> Request:
    """The one request that a query's rationale is an answer to."""
    asked = task.reasoning
    sampling = Sampling(asked.max_tokens, asked.temperature, asked.top_p, stop=tuple(asked.stop))
    return Request(reasoning_messages(task, query), sampling)

"""The reasoner: queries to rationales. It takes queries, never examples, so no target leaks."""

from __future__ import annotations

import asyncio
import time
from collections import Counter
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from decimal import Decimal
from itertools import chain, islice
from typing import TYPE_CHECKING

from fiatkit.models.protocol import ChatModel
from fiatkit.prompts import choice_messages, shared_messages
from fiatkit.reasoning.batch import BatchRun, BatchTally
from fiatkit.reasoning.caller import Tally
from fiatkit.reasoning.engine import Answered, Engine
from fiatkit.reasoning.lost import lost_answers
from fiatkit.reasoning.policy import Policy
from fiatkit.reasoning.prices import Price, batch_share, shown
from fiatkit.reasoning.rationales import rationale_of, rationale_request
from fiatkit.reasoning.store import RationaleStore
from fiatkit.records import Query, Rationale, Request, Sampling

if TYPE_CHECKING:
    from fiatkit.tasks import Task

CHOICE_TOKENS = 32
LOOKED_AT = 20_000  # newest requests in the store, in search of answers under other settings
TELL_EVERY = 0.05  # seconds between two reports of progress
ROOM_FROM = 200  # queries looked up before a run to judge the room that it needs


@dataclass(frozen=True, slots=True)
class Standing:
    """How far a run is.

    Attributes:
        done: rows that have come to an end, of `total`.
        from_store: of these, rows that the store held.
        failed: of these, rows without a usable rationale.
        in_flight: requests under way.
        rate: rows a second that the large model answered; None before the first.
        cost: US dollars so far; `unknown_cost` counts calls whose cost is not known.
    """

    done: int
    total: int
    from_store: int
    failed: int
    in_flight: int
    rate: float | None
    cost: Decimal
    unknown_cost: int

    def __str__(self) -> str:
        parts = [
            f"{self.rate:.1f} rows/s" if self.rate is not None else "",
            f"{self.in_flight} under way" if self.in_flight else "",
            f"{self.from_store} from the store" if self.from_store else "",
            f"{self.failed} failed" if self.failed else "",
            shown(self.cost) if self.cost else "",
        ]
        return ", ".join(filter(None, parts))


OnProgress = Callable[[Standing], None]


class Reasoner:
    """Has a large model write rationales for queries, through the store.

    Use it as a context manager: leaving it closes the model and the store. Arguments beside the
    task and `small` (see `lost_answers`) are the engine's.
    """

    def __init__(
        self,
        task: Task,
        model: ChatModel,
        store: RationaleStore,
        *,
        concurrency: int | None = None,
        policy: Policy | None = None,
        prices: Mapping[str, Price] | None = None,
        run: str = "",
        say: Callable[[str], None] = lambda line: None,
        small: tuple[str, str] | None = None,
    ) -> None:
        self.task = task
        self.model = model
        self.store = store
        self._engine = Engine(
            model,
            store,
            concurrency=concurrency,
            policy=policy,
            prices=prices,
            more_tokens=task.reasoning.more_tokens,
            run=run,
            say=say,
        )
        self._share = batch_share(model.identity, prices or {})
        self._run = run
        self._say = say
        self._small = small
        self._runner = asyncio.Runner()

    def __enter__(self) -> Reasoner:
        return self

    def __exit__(self, *exception: object) -> None:
        self.close()

    def close(self) -> None:
        """Say what was spent; close the model on its own loop, then the loop, then the store."""
        if self.tally.calls:
            self._say(self.tally.sentence(self.model.identity))
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
        """How many of the queries would be asked for now. Nothing is sent."""
        left = (self._engine.stored(q.id, rationale_request(self.task, q))[1] for q in queries)
        return sum(request is not None for request in left)

    def expand(
        self, queries: Sequence[Query], *, on_progress: OnProgress | None = None, sample: int = 0
    ) -> dict[str, Rationale]:
        """Get a rationale for each query: from the store, else from the model, once.

        Args:
            queries: what the large model reads.
            on_progress: called at the end, and now and then before.
            sample: which of several rationales; each has a key of its own.

        Returns:
            A rationale for each query id; failed ones say so in their status.

        Raises:
            ProviderError: the model cannot be had now; what was answered is in the store.
            CapReachedError: a limit of the policy; likewise.
            UsageError: some of these rows are in a batch that is not over.
        """
        found: dict[str, Rationale] = {}
        by_id = {query.id: query for query in queries}

        def keep(rationale: Rationale) -> None:
            found[rationale.query_id] = rationale

        self._answer(by_id.values(), len(by_id), keep, on_progress, sample)
        return found

    def write(
        self,
        queries: Iterable[Query],
        total: int,
        *,
        on_progress: OnProgress | None = None,
        on_rationale: Callable[[Rationale], None] = lambda rationale: None,
    ) -> Counter[str]:
        """Get a rationale for each query into the store, and keep none of them in memory.

        Args:
            queries: what the large model reads; taken one by one.
            total: how many they are, for the progress.
            on_progress: called at the end, and now and then before.
            on_rationale: called with each.

        Returns:
            How many rationales have which status.

        Raises:
            ProviderError: the model cannot be had now; what was answered is in the store.
            CapReachedError: a limit of the policy; likewise.
        """
        statuses: Counter[str] = Counter()

        def keep(rationale: Rationale) -> None:
            statuses[rationale.status] += 1
            on_rationale(rationale)

        self._answer(queries, total, keep, on_progress)
        return statuses

    def _answer(
        self,
        queries: Iterable[Query],
        total: int,
        keep: Callable[[Rationale], None],
        on_progress: OnProgress | None,
        sample: int = 0,
    ) -> None:
        counts = {"done": 0, "store": 0, "failed": 0}
        began = told_at = time.monotonic()
        shared = shared_messages(self.task)
        following = iter(queries)
        first = list(islice(following, ROOM_FROM))
        self._check_store(first, total, sample)

        def told(answered: Answered) -> None:
            nonlocal told_at
            rationale = rationale_of(self.task, answered)
            keep(rationale)
            counts["done"] += 1
            counts["store"] += answered.from_store
            counts["failed"] += rationale.status != "ok"
            now = time.monotonic()
            if on_progress and (counts["done"] == total or now - told_at > TELL_EVERY):
                told_at = now
                on_progress(self._standing(counts["done"], total, counts, began))

        requests = (
            (query.id, rationale_request(self.task, query, sample, shared))
            for query in chain(first, following)
        )
        self._runner.run(self._engine.answer(requests, told))

    def _check_store(self, first: Sequence[Query], total: int, sample: int) -> None:
        """Judged by the first queries: warn if the store's disk may not do for what is missing,
        and say which answers a change of settings has lost."""
        asked = [rationale_request(self.task, query, sample) for query in first]
        known = [self._engine.stored("", request) for request in asked]
        left = sum(still is not None for _, still in known)
        if not left:
            return
        self.store.check_room(left * total // len(first))
        new = [still for found, still in known if found is None and still is not None]
        stored = self.store.newest_requests(LOOKED_AT)
        lost = lost_answers(self.model.identity, new, stored, self._small)
        model = self.model.identity.model
        for change, count in lost.items():
            self._say(
                f"{count} of the first {len(first)} rows were answered before under other settings "
                f"({change}); {model} is asked anew. The old answers stay in the store."
            )

    def expand_in_batches(
        self, queries: Sequence[Query], *, sample: int = 0, poll: float = 30.0
    ) -> BatchTally:
        """Have rationales written in batches of the provider's, at its lower price; fetch those
        that an earlier call handed in. What they bring is in the store, for `expand` to find.

        Args:
            queries: what the large model reads.
            sample: which of several rationales.
            poll: seconds between looks.

        Raises:
            UsageError: the provider has no batches.
            ProviderError: it cannot be had now, or refuses a batch; call this again to go on.
            CapReachedError: a limit of the policy.
        """
        batches = self._batches(poll)
        requests = (rationale_request(self.task, query, sample) for query in queries)
        self._runner.run(batches.answer(requests))
        return batches.tally

    def cancel_batches(self, *, poll: float = 30.0) -> BatchTally:
        """Stop all open batches of this model, and keep what they have done until then."""
        batches = self._batches(poll)
        self._runner.run(batches.cancel())
        return batches.tally

    def _batches(self, poll: float) -> BatchRun:
        budget = self._engine.budget
        return BatchRun(
            self.model,
            self.store,
            budget=budget,
            share=self._share,
            run=self._run,
            poll=poll,
            say=self._say,
        )

    def _standing(self, done: int, total: int, counts: dict[str, int], began: float) -> Standing:
        new, seconds = done - counts["store"], time.monotonic() - began
        tally = self.tally
        return Standing(
            done,
            total,
            counts["store"],
            counts["failed"],
            self._engine.in_flight,
            new / seconds if new and seconds > 0 else None,
            tally.cost,
            tally.unknown_cost,
        )

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

        def told(answered: Answered) -> None:
            text = answered.completion.text.strip()
            answers[answered.id] = text if text in labels else None

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

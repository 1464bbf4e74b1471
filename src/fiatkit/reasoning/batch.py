"""Batches: rows handed in together, answered within a day, at half the price.

What is handed in is committed first, with a name of ours; so a crash at any point is followed by
looking for the batch of that name, never by handing it in again. A batch that expired or was
cancelled still holds results that were paid for: each row is settled on its own.
"""

from __future__ import annotations

import asyncio
import time
import uuid
from collections.abc import Awaitable, Callable, Iterable, Iterator
from contextlib import aclosing
from dataclasses import dataclass, field
from decimal import Decimal
from functools import partial
from typing import TypeVar

from fiatkit.errors import CapReachedError, FatalProviderError, ProviderError, UsageError
from fiatkit.models.protocol import BatchState, ChatModel, TakesBatches
from fiatkit.reasoning.batch_table import Batch, OpenRow, Row
from fiatkit.reasoning.budget import Budget
from fiatkit.reasoning.key import completion_key
from fiatkit.reasoning.store import RationaleStore
from fiatkit.records import Completion, Request, Usage

MOST_ROWS = 10_000  # both providers take more; a batch that fails should not take too much along
MOST_BYTES = 64 * 1024 * 1024
ROUNDS = 2  # rows that come back without an answer are handed in once more
TRIES = 8  # of a request that only looks: each costs nothing
LONGEST_PAUSE = 60.0
LOOKED_FOR = 120.0  # seconds after which a batch that cannot be found was never made
T = TypeVar("T")


@dataclass(slots=True)
class BatchTally:
    """What batches brought.

    Attributes:
        submitted: rows that were handed in now.
        answered: rows with an answer.
        failed: rows without one, by reason.
        foreign: results for rows that were not asked for, or for the second time.
    """

    submitted: int = 0
    answered: int = 0
    failed: dict[str, int] = field(default_factory=dict)
    foreign: int = 0

    def __str__(self) -> str:
        failed = ", ".join(f"{number} {reason}" for reason, number in self.failed.items())
        told = f"Batches: {self.submitted} rows handed in, {self.answered} answered"
        told += f", {failed}" if failed else ""
        return told + (f"; {self.foreign} results left out" if self.foreign else "") + "."


class BatchRun:
    """Hands rows in as batches, waits, and keeps what comes.

    Args:
        model: a large model whose provider takes batches.
        store: where answers are kept.
        budget: what may be spent.
        share: what a call in a batch costs, as a share of a single one.
        run: the run's name in the ledger.
        poll: seconds between looks.
        say: receives a line that the user should read.

    Raises:
        UsageError: the provider has no batches.
    """

    def __init__(
        self,
        model: ChatModel,
        store: RationaleStore,
        *,
        budget: Budget,
        share: Decimal = Decimal("0.5"),
        run: str = "",
        poll: float = 30.0,
        say: Callable[[str], None] = lambda line: None,
    ) -> None:
        if not isinstance(model, TakesBatches):
            raise UsageError(
                f'The provider "{model.identity.provider}" has no batches.',
                "Leave --batch and large.batch out; OpenAI, Azure and Anthropic have batches.",
            )
        self.identity = model.identity
        self.batches = model.batches()
        self.store = store
        self.tally = BatchTally()
        self._budget = budget
        self._share = share
        self._reserved: dict[str, Decimal] = {}
        self._run = run
        self._poll = poll
        self._say = say
        self._again: set[str] = set()

    async def answer(self, requests: Iterable[Request]) -> None:
        """Have every request answered that the store does not hold and no batch has already.

        Rows that come back without an answer are handed in once more if that may help; what is
        then still open is for the ordinary engine.

        Raises:
            ProviderError: the provider cannot be had now, or refuses a batch as a whole. What was
                handed in goes on there; call this again to fetch it.
            CapReachedError: a limit of the policy; all that was handed in has been fetched.
        """
        rows = {completion_key(self.identity, request): request for request in requests}
        wanted = set(rows)
        for _ in range(ROUNDS):
            full = True
            while full:
                full = await self._submit_all((k, r) for k, r in rows.items() if k in wanted)
                await self._finish_all()
            wanted, self._again = self._again, set()

    async def cancel(self) -> int:
        """Ask the provider to stop all open batches, and keep what they have done until then.

        Returns:
            How many there were.
        """
        batches = self.store.batches.open(self.identity)
        for batch in batches:
            found = await self._found(batch)
            if found is not None:
                await self._look(partial(self.batches.cancel, found.id))
        await self._finish_all()
        return len(batches)

    async def _submit_all(self, rows: Iterable[Row]) -> bool:
        """Hand in what neither the store nor a batch holds, as far as the budget goes.

        Returns:
            Whether the budget was the end of it.

        Raises:
            CapReachedError: there was room for nothing.
        """
        reserved = self._budget.calls
        full = False
        never = self._budget.policy.retry_ambiguous == "never"

        def affordable() -> Iterator[Row]:
            nonlocal full
            for key, request in rows:
                if self.store.batches.has(key) or self.store.get(key) is not None:
                    continue
                if never and self.store.possibly_billed(key):
                    continue
                worst = self._budget.worst(request) * self._share
                try:
                    full = not self._budget.room(worst)
                except CapReachedError:
                    if self._budget.calls == reserved:
                        raise
                    full = True
                if full:
                    return
                self._budget.reserve(worst)
                self._reserved[key] = worst
                yield key, request

        for chunk in chunks(affordable()):
            await self._submit(chunk)
        return full

    async def _submit(self, rows: list[Row]) -> None:
        name = uuid.uuid4().hex
        self.store.batches.begin(name, self.identity, rows, self._run)
        self.tally.submitted += len(rows)
        try:
            identity = await self._look(lambda: self.batches.submit(name, rows), makes=True)
        except ProviderError as error:
            if error.ambiguous:
                self._say("It is not known whether the batch was taken; looking for it.")
                return
            self._give_up(name, error.reason, ambiguous=False)
            self.store.batches.close(name, f"refused:{error.reason}")
            raise
        self.store.batches.settle(name, identity)
        self._say(f"Batch {identity}: {len(rows)} rows handed in.")

    async def _finish_all(self) -> None:
        """Wait for all open batches of this model and keep what they bring."""
        while batches := self.store.batches.open(self.identity):
            for batch in batches:
                found = await self._found(batch)
                if found is None:
                    continue
                state = await self._look(partial(self.batches.state, found.id))
                self._say(f"Batch {found.id}: {state.word}, {state.done} of {state.total} rows.")
                if state.ended:
                    await self._collect(found, state)
            if self.store.batches.open(self.identity):
                await asyncio.sleep(self._poll)

    async def _found(self, batch: Batch) -> Batch | None:
        """The batch with its id. One that is not found for long enough was never made."""
        if batch.id:
            return batch
        table = self.store.batches
        identity = await self._look(
            lambda: self.batches.find(batch.name, batch.rows, batch.began, table.ids())
        )
        if identity is not None:
            table.settle(batch.name, identity)
            return Batch(batch.name, identity, batch.rows, batch.began)
        if time.time() - batch.began > LOOKED_FOR:
            self._give_up(batch.name, "not_submitted", ambiguous=False, again=True)
            table.close(batch.name, "not_submitted")
        return None

    async def _collect(self, batch: Batch, state: BatchState) -> None:
        """Settle each row of a batch that has ended. May be interrupted and begun again."""
        table = self.store.batches
        if state.refused:
            self._give_up(batch.name, "batch_refused", ambiguous=False)
            table.close(batch.name, "refused")
            raise FatalProviderError(
                f"The provider refused batch {batch.id}: {state.refused}",
                "Nothing of it was carried out.",
                reason="batch_refused",
            )
        ours, others, open_rows = 0, self.tally.foreign, table.count(batch.name)
        rows: dict[str, OpenRow] = {}

        def lookup(key: str) -> Request | None:
            row = table.row(key, batch.name)
            if row is None:
                self.tally.foreign += 1
                return None
            rows[key] = row
            return row.request

        async with aclosing(self.batches.results(batch.id, lookup)) as results:
            async for key, result in results:
                ours += 1
                self._keep(rows.pop(key), result)
        if not ours and self.tally.foreign > others and open_rows == batch.rows:
            self._say(f"Batch {batch.id} is not ours; looking for another.")
            table.disown(batch)
            return
        self._give_up(batch.name, "missing", ambiguous=True, again=True)
        table.close(batch.name, state.word)

    def _keep(self, row: OpenRow, result: Completion | ProviderError) -> None:
        """Settle one row."""
        if isinstance(result, ProviderError):
            again = result.retryable and result.reason != "cancelled"
            self._fail(row, result.reason, ambiguous=result.ambiguous, again=again)
            return
        cost = self._settle(row.key, result.usage)
        if result.finish == "error":
            reason = result.detail or "error"
            self.store.fail(row.attempt, reason, usage=result.usage, cost=cost)
            self._count(reason)
        else:
            self.store.commit(row.attempt, self.identity, row.request, result, cost=cost)
            self.tally.answered += 1
        self.store.batches.close_row(row.key)

    def _settle(
        self, key: str, usage: Usage | None, *, possibly_billed: bool = False
    ) -> Decimal | None:
        """What a row cost. Rows that an earlier command handed in are not in this one's budget."""
        worst = self._reserved.pop(key, None)
        if worst is None:
            return None if usage is None else self._budget.price(usage, self._share)
        return self._budget.settle(worst, usage, possibly_billed=possibly_billed, share=self._share)

    def _fail(self, row: OpenRow, reason: str, *, ambiguous: bool, again: bool) -> None:
        cost = self._settle(row.key, None, possibly_billed=ambiguous)
        self.store.fail(row.attempt, reason, ambiguous=ambiguous, cost=cost)
        self._count(reason)
        if again and (not ambiguous or self._budget.policy.retry_ambiguous == "auto"):
            self._again.add(row.key)
        self.store.batches.close_row(row.key)

    def _count(self, reason: str) -> None:
        self.tally.failed[reason] = self.tally.failed.get(reason, 0) + 1

    def _give_up(self, name: str, reason: str, *, ambiguous: bool, again: bool = False) -> None:
        """Settle all rows of a batch that are still open."""
        while rows := self.store.batches.rows(name):
            for row in rows:
                self._fail(row, reason, ambiguous=ambiguous, again=again)

    async def _look(self, call: Callable[[], Awaitable[T]], *, makes: bool = False) -> T:
        """Make a call until it succeeds. One that makes something is not made again where it may
        have succeeded."""
        for tries in range(1, TRIES + 1):
            try:
                return await call()
            except ProviderError as error:
                lost = makes and error.ambiguous
                if lost or not error.retryable or tries == TRIES:
                    raise
                await asyncio.sleep(error.retry_after or min(self._poll, LONGEST_PAUSE))
        raise AssertionError("unreachable")


def chunks(rows: Iterable[Row]) -> Iterator[list[Row]]:
    """Rows in lists that one batch holds, by number and size."""
    chunk: list[Row] = []
    size = 0
    for key, request in rows:
        needs = sum(len(message.content.encode(errors="replace")) for message in request.messages)
        if chunk and (len(chunk) >= MOST_ROWS or size + needs > MOST_BYTES):
            yield chunk
            chunk, size = [], 0
        chunk.append((key, request))
        size += needs
    if chunk:
        yield chunk

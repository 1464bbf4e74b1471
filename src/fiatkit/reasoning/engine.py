"""The one retry loop: bounded workers, one pause for all, every attempt in the ledger.

Workers pull from a queue; nothing is gathered over all rows. What a request costs in attempts is
bounded; a rate limit pauses every worker and is charged to nobody.
"""

from __future__ import annotations

import asyncio
import random
import time
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass, field

from fiatkit.errors import FatalProviderError, ProviderError
from fiatkit.models.protocol import ChatModel
from fiatkit.reasoning.key import completion_key
from fiatkit.reasoning.store import RationaleStore
from fiatkit.records import Completion, Request, Usage

FATAL_IN_A_ROW = 3
FIRST_PAUSE, LONGEST_PAUSE = 0.5, 60.0
MAX_RATE_LIMIT_WAIT = 3600.0


@dataclass(slots=True)
class Tally:
    """What was made now, and what was taken from the store."""

    calls: int = 0
    from_store: int = 0
    failed: int = 0
    retries: int = 0
    possibly_billed: int = 0
    usage: Usage = field(default_factory=Usage)


class Engine:
    """Answers requests from the store or from the model, each key at most once at a time."""

    def __init__(
        self,
        model: ChatModel,
        store: RationaleStore,
        *,
        concurrency: int | None = None,
        max_attempts: int = 6,
    ) -> None:
        self.model = model
        self.store = store
        self.workers = min(concurrency or model.slots, model.slots)
        self.max_attempts = max_attempts
        self.tally = Tally()
        self._resume_at = 0.0
        self._fatal = 0
        self._random = random.Random(0)

    async def answer(
        self, requests: Iterable[tuple[str, Request]], told: Callable[[str, Completion, bool], None]
    ) -> None:
        """Answer every (id, request); `told(id, completion, from_store)` is called for each.

        A request that can never succeed is told as a completion of kind "error"; it is not
        stored, so that another run asks again.

        Raises:
            FatalProviderError: no request can succeed; rows not told stay open.
            ProviderError: a request failed as often as it may, for a reason that will pass.
        """
        waiting = self._open_requests(requests, told)
        running: dict[str, list[str]] = {}

        async def work() -> None:
            for key, identity, request in waiting:
                if key in running:
                    running[key].append(identity)
                    continue
                running[key] = [identity]
                completion = await self._ask(key, request)
                for waiter in running.pop(key):
                    told(waiter, completion, False)

        tasks = [asyncio.create_task(work()) for _ in range(self.workers)]
        try:
            await asyncio.gather(*tasks)
        finally:
            for task in tasks:
                task.cancel()
            await asyncio.gather(*tasks, return_exceptions=True)

    def _open_requests(
        self, requests: Iterable[tuple[str, Request]], told: Callable[[str, Completion, bool], None]
    ) -> Iterator[tuple[str, str, Request]]:
        """Tell what the store holds; yield the rest. Looked up when a worker is free for it."""
        for identity, request in requests:
            key = completion_key(self.model.identity, request)
            known = self.store.get(key)
            if known is None:
                yield key, identity, request
            else:
                self.tally.from_store += 1
                told(identity, known, True)

    async def _ask(self, key: str, request: Request) -> Completion:
        """One request, as many attempts as it may take."""
        attempts, limited_since = 0, 0.0
        while True:
            await self._pause()
            attempt = self.store.lease(key)
            self.tally.calls += 1
            try:
                answer = await self.model.complete(request)
            except ProviderError as error:
                self._record(attempt, error)
                if isinstance(error, FatalProviderError) or not error.retryable:
                    return self._give_up(error)
                self.tally.retries += 1
                if error.reason == "rate_limit":
                    limited_since = limited_since or time.monotonic()
                    if time.monotonic() - limited_since > MAX_RATE_LIMIT_WAIT:
                        raise
                    self._hold_everyone(error.retry_after)
                    continue
                attempts += 1
                if attempts >= self.max_attempts:
                    raise
                await asyncio.sleep(error.retry_after or self._backoff(attempts))
                continue
            except BaseException:
                self.store.fail(attempt, "interrupted", ambiguous=True)
                self.tally.possibly_billed += 1
                raise
            self._fatal = 0
            return self._keep(attempt, request, answer)

    def _keep(self, attempt: int, request: Request, answer: Completion) -> Completion:
        if answer.finish == "error":
            self.store.fail(attempt, answer.detail or "error")
            self.tally.failed += 1
            return answer
        kept = self.store.commit(attempt, self.model.identity, request, answer)
        if answer.finish != "stop":
            self.tally.failed += 1
        self.tally.usage = add(self.tally.usage, answer.usage)
        return kept

    def _record(self, attempt: int, error: ProviderError) -> None:
        self.store.fail(attempt, error.reason, ambiguous=error.ambiguous)
        self.tally.possibly_billed += int(error.ambiguous)

    def _give_up(self, error: ProviderError) -> Completion:
        """This row fails; the third fatal error in a row, of whichever row, ends the run."""
        if isinstance(error, FatalProviderError):
            self._fatal += 1
            if self._fatal >= FATAL_IN_A_ROW:
                raise error
        self.tally.failed += 1
        return Completion("", "error", detail=error.reason)

    async def _pause(self) -> None:
        while (left := self._resume_at - time.monotonic()) > 0:
            await asyncio.sleep(left)

    def _hold_everyone(self, seconds: float | None) -> None:
        wait = seconds if seconds is not None else self._backoff(3)
        self._resume_at = max(self._resume_at, time.monotonic() + wait)

    def _backoff(self, attempts: int) -> float:
        """Full jitter: uniform up to an exponentially growing cap."""
        return self._random.uniform(0, min(LONGEST_PAUSE, FIRST_PAUSE * 2**attempts))


def add(a: Usage, b: Usage) -> Usage:
    """Sum of two usages; unknown parts count as nothing beside known ones."""

    def plus(x: int | None, y: int | None) -> int | None:
        return None if x is None and y is None else (x or 0) + (y or 0)

    return Usage(
        plus(a.prompt_tokens, b.prompt_tokens),
        plus(a.completion_tokens, b.completion_tokens),
        plus(a.cached_tokens, b.cached_tokens),
    )

"""The one retry loop: bounded workers, one pace for all, every attempt in the ledger.

Workers pull from an iterator; nothing is gathered over all rows. A run that must stop, for
whatever reason, stops sending and lets what is under way come in, since that has been paid for.
"""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass, replace
from itertools import islice

from fiatkit.errors import (
    CapReachedError,
    EnvironmentProblem,
    FatalProviderError,
    ProviderError,
    UsageError,
)
from fiatkit.models.protocol import ChatModel
from fiatkit.reasoning.budget import Budget
from fiatkit.reasoning.caller import Caller, Tally
from fiatkit.reasoning.key import completion_key
from fiatkit.reasoning.limiter import BESIDE, Pace
from fiatkit.reasoning.place import within_file_limit
from fiatkit.reasoning.policy import Policy
from fiatkit.reasoning.prices import Price, pricing
from fiatkit.reasoning.stopping import Stopping
from fiatkit.reasoning.store import RationaleStore
from fiatkit.records import Completion, Request

FATAL_IN_A_ROW = 3
LOOKED_UP = 256  # rows at once, before others on the event loop have their turn
RETRIED = {"refused": "refused", "truncated": "length", "empty": "empty"}
POSSIBLY_BILLED = "possibly_billed"
ONLY_REASONING = "only reasoning"


@dataclass(frozen=True, slots=True)
class Answered:
    """A row's answer, of whatever kind, under the key of the request that brought it."""

    id: str
    key: str
    completion: Completion
    from_store: bool


Told = Callable[[Answered], None]


class Engine:
    """Answers requests from the store or from the model, each key at most once at a time.

    Args:
        model: the large model.
        store: where answers are kept.
        concurrency: requests under way at most; default: all that the model has room for.
        policy: what may be spent, waited and tried again.
        prices: the user's own prices, by model.
        more_tokens: `max_tokens` of a second request where the first answer was cut off.
        run: the run's name in the ledger.
        say: receives a line that the user should read.
        first_pause: seconds at which pauses between tries begin; default: half a second.

    Raises:
        SettingsError: a cap on the cost of a model whose price is not known.
    """

    def __init__(
        self,
        model: ChatModel,
        store: RationaleStore,
        *,
        concurrency: int | None = None,
        policy: Policy | None = None,
        prices: Mapping[str, Price] | None = None,
        more_tokens: int | None = None,
        run: str = "",
        say: Callable[[str], None] = lambda line: None,
        first_pause: float | None = None,
    ) -> None:
        self.model = model
        self.store = store
        self.policy = policy or Policy()
        self.workers = within_file_limit(min(concurrency or model.slots, model.slots))
        self.budget = Budget(self.policy, pricing(model.identity, prices or {}), model.identity)
        per_minute = self.policy.requests_per_minute, self.policy.tokens_per_minute
        pace = Pace(self.workers, *per_minute, first_pause=first_pause)
        self._caller = Caller(model, store, self.budget, pace, run, say)
        self._more_tokens = more_tokens
        self._say = say
        self._again = {RETRIED[reason] for reason in self.policy.retry}
        self._asked_again: set[str] = set()
        self._answers = 0
        self._fatal: list[FatalProviderError] = []

    @property
    def tally(self) -> Tally:
        """What was asked for, what the store gave, and what it cost."""
        return self._caller.tally

    @property
    def in_flight(self) -> int:
        """Requests under way."""
        return self._caller.pace.in_flight

    async def answer(self, requests: Iterable[tuple[str, Request]], told: Told) -> None:
        """Answer every (id, request); `told` is called once for each that came to an end.

        A request that can never succeed is told as a completion of kind "error"; it is not
        stored, so that another run asks again. Signals stop the sending: what is under way is
        waited for, kept and told; a second one gives that up.

        Raises:
            FatalProviderError: no request can succeed; rows not told stay open.
            ProviderError: nobody was answered while a row was tried as often as it may be.
            CapReachedError: a limit of the policy.
        """
        stopping = self._caller.stopping = Stopping(self._say)
        waiting = self._open_requests(requests, told)
        running: dict[str, list[str]] = {}

        async def work() -> None:
            for row in waiting:
                if row is None:
                    await asyncio.sleep(0)
                    continue
                if stopping.asked:
                    return
                identity, request = row
                key = self._key(request)
                if key in running:
                    running[key].append(identity)
                    continue
                running[key] = [identity]
                found = await self._row(identity, request)
                waiters = running.pop(key)
                if found is not None:
                    for waiter in waiters:
                        told(replace(found, id=waiter))

        workers = self.workers + self.workers // BESIDE
        await stopping.drain([self._guarded(work, stopping) for _ in range(workers)])
        if self._fatal:
            raise self._fatal[-1]

    async def _guarded(self, work: Callable[[], Awaitable[None]], stopping: Stopping) -> None:
        """A worker whose error stops the run; the others finish what they have under way."""
        try:
            await work()
        except asyncio.CancelledError:
            raise
        except EnvironmentProblem as problem:
            stopping.because(problem, at_once=True)
        except BaseException as problem:
            stopping.because(problem)

    def _key(self, request: Request) -> str:
        return completion_key(self.model.identity, request)

    def _open_requests(
        self, requests: Iterable[tuple[str, Request]], told: Told
    ) -> Iterator[tuple[str, Request] | None]:
        """Tell what the store holds; yield the rest. Looked up when a worker is free for it."""
        following = iter(requests)
        while rows := list(islice(following, LOOKED_UP)):
            keys = [self._key(request) for _, request in rows]
            held = self.store.get_all(keys)
            for (identity, request), key in zip(rows, keys, strict=True):
                found, left = self._judged(identity, request, key, held.get(key))
                if left is not None or found is None:
                    yield identity, request
                    continue
                self.tally.from_store += 1
                self.tally.failed += found.completion.finish != "stop"
                told(found)
            yield None

    def stored(self, identity: str, request: Request) -> tuple[Answered | None, Request | None]:
        """What the store knows of a row, and the request that is still to be made for it.

        Raises:
            FatalProviderError: it was answered by another model, and the policy is strict.
            UsageError: it is in a batch that is not over.
        """
        key = self._key(request)
        return self._judged(identity, request, key, self.store.get(key))

    def _judged(
        self, identity: str, request: Request, key: str, completion: Completion | None
    ) -> tuple[Answered | None, Request | None]:
        """`stored`, with what the store holds under the request's key."""
        if completion is None:
            self._check_batches(key)
            if self.policy.retry_ambiguous == "never" and self.store.possibly_billed(key):
                lost = Completion("", "error", detail=POSSIBLY_BILLED)
                return Answered(identity, key, lost, True), None
            return None, request
        self._caller.check_model(completion)
        found = Answered(identity, key, completion, True)
        if completion.finish in self._again and key not in self._asked_again:
            return found, request
        more = with_more_tokens(request, completion, self._more_tokens)
        if more is None:
            return found, None
        later, left = self.stored(identity, more)
        return later or found, left

    def _check_batches(self, key: str) -> None:
        """Refuse to ask for a row that is in a batch: it would be paid for twice."""
        if self.store.batches.has(key):
            raise UsageError(
                f"{self.store.batches.open_rows()} rows are in batches that are not over.",
                "`fiat expand --batch` waits for them and fetches them; `fiat expand "
                "--batch-cancel` stops them.",
            )

    async def _row(self, identity: str, request: Request) -> Answered | None:
        """Ask until the row has come to its end; None if the run stops before that."""
        found, left = self.stored(identity, request)
        while left is not None:
            key = self._key(left)
            completion = await self._ask(key, left)
            if completion is None:
                return None
            if completion.finish in self._again:
                self._asked_again.add(key)
            found = Answered(identity, key, completion, False)
            left = with_more_tokens(left, completion, self._more_tokens)
        assert found is not None
        self.tally.failed += found.completion.finish != "stop"
        return found

    async def _ask(self, key: str, request: Request) -> Completion | None:
        """One request, as many attempts as it may take; None if the run stops before its end."""
        tries, empty, answers_before = 0, 0, self._answers
        while True:
            try:
                last = empty + 1 >= self.policy.max_empty
                answer = await self._caller.attempt(key, request, keep_empty=last)
            except CapReachedError:
                raise
            except ProviderError as error:
                if not error.retryable or (error.ambiguous and not self._asks_lost_again):
                    return self._refused(error)
                self.tally.retries += 1
                if error.reason == "rate_limit":
                    continue
                tries += 1
                if tries >= self.policy.max_attempts:
                    return self._exhausted(error, answers_before)
                await self._caller.stopping.sleep(self._caller.pace.backoff(tries))
                continue
            if answer is None:
                return None
            self._answers += 1
            self._fatal.clear()
            if answer.finish != "empty" or last:
                return answer
            empty += 1
            self.tally.retries += 1

    @property
    def _asks_lost_again(self) -> bool:
        return self.policy.retry_ambiguous == "auto"

    def _refused(self, error: ProviderError) -> Completion:
        """This row fails; the third fatal error of one kind in a row ends the run."""
        if isinstance(error, FatalProviderError):
            if self._fatal and self._fatal[-1].reason != error.reason:
                self._fatal.clear()
            self._fatal.append(error)
            if len(self._fatal) >= FATAL_IN_A_ROW:
                raise error
        lost = error.retryable and error.ambiguous
        return Completion("", "error", detail=POSSIBLY_BILLED if lost else error.reason)

    def _exhausted(self, error: ProviderError, answers_before: int) -> Completion:
        """The row fails alone if others were answered meanwhile; else the endpoint is down."""
        if self._answers == answers_before:
            raise error
        return Completion("", "error", detail=error.reason)


def with_more_tokens(request: Request, answer: Completion, more: int | None) -> Request | None:
    """The second and last request of a row whose answer was cut off; None if there is none."""
    cut = answer.finish == "length" or answer.detail.startswith(ONLY_REASONING)
    if not cut or more is None or more <= request.sampling.max_tokens:
        return None
    return replace(request, sampling=replace(request.sampling, max_tokens=more))

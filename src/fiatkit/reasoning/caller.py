"""One attempt: wait for its turn, put it into the ledger, send it, keep what becomes of it.

Where nothing is lacking but a place among those under way, a few attempts are put into the ledger
before their turn, so that no place stays empty while the disk is waited for.
"""

from __future__ import annotations

import asyncio
import contextlib
import time
from collections.abc import Callable
from dataclasses import dataclass, field
from decimal import Decimal
from functools import partial

from fiatkit.errors import (
    CapReachedError,
    EnvironmentProblem,
    FatalProviderError,
    FiatError,
    ProviderError,
)
from fiatkit.models.protocol import ChatModel, NeedsKey, TellsLimits
from fiatkit.reasoning.budget import Budget
from fiatkit.reasoning.group_commit import GroupCommit
from fiatkit.reasoning.limiter import Pace
from fiatkit.reasoning.prices import IN_PROCESS, shown
from fiatkit.reasoning.stopping import Stopping, clock
from fiatkit.reasoning.store import RationaleStore
from fiatkit.records import Completion, ModelIdentity, Request, Usage

WORTH_TELLING = 10.0  # seconds of a pause


@dataclass(slots=True)
class Tally:
    """What was made now, and what was taken from the store."""

    calls: int = 0
    from_store: int = 0
    failed: int = 0
    retries: int = 0
    possibly_billed: int = 0
    usage: Usage = field(default_factory=Usage)
    cost: Decimal = Decimal(0)
    unknown_cost: int = 0
    other_models: dict[str, int] = field(default_factory=dict)

    def sentence(self, writer: ModelIdentity) -> str:
        """What was spent on the model that wrote, in words."""
        read, cached = self.usage.prompt_tokens, self.usage.cached_tokens
        told = f"{self.calls:,} calls of {writer.model}"
        where = "" if writer.provider in IN_PROCESS else " by the provider"
        if read is not None:
            told += f": {read:,} prompt tokens"
            told += f" ({cached / read:.0%} cached{where})" if cached and read else ""
            told += f", {self.usage.completion_tokens or 0:,} written"
        told += f"; {shown(self.cost)}" if self.cost else ""
        told += f"; cost of {self.unknown_cost:,} not known" if self.unknown_cost else ""
        told += f"; {self.possibly_billed:,} possibly billed without an answer" * bool(
            self.possibly_billed
        )
        return told + "."


class Caller:
    """Makes attempts for all rows of a run, each when pace and budget allow it.

    Args:
        model: the large model.
        store: ledger and answers.
        budget: calls and money.
        pace: when a request may be sent.
        run: the run's name in the ledger.
        say: receives a line for the user.
    """

    def __init__(
        self,
        model: ChatModel,
        store: RationaleStore,
        budget: Budget,
        pace: Pace,
        run: str,
        say: Callable[[str], None],
    ) -> None:
        self.tally = Tally()
        self.pace = pace
        self.stopping = Stopping(say)
        self._model = model
        self._store = store
        self._written = GroupCommit(store)
        self._budget = budget
        self._run = run
        self._say = say
        self._tells = model if isinstance(model, TellsLimits) else None
        self._needs_key = model if isinstance(model, NeedsKey) else None
        self._next = asyncio.Lock()  # held by whose turn is next
        self._ready = 0  # attempts in the ledger whose turn has not come
        self._quiet_since: float | None = None
        self._told_until = 0.0

    async def attempt(self, key: str, request: Request, *, keep_empty: bool) -> Completion | None:
        """Make one attempt.

        Args:
            key: the store's key of the request.
            request: what is asked.
            keep_empty: whether an empty answer is this row's last word, and kept as such.

        Returns:
            The answer, of whatever kind; None if the run stops before it was sent.

        Raises:
            ProviderError: what the attempt came to, when no answer came.
            CapReachedError: nothing more may be sent.
        """
        if self._needs_key is not None:
            self._needs_key.check_key()  # without one nothing is sent, so that no call is counted
        leased = await self._leased_ahead(key, request)
        worst: Decimal | None = None
        try:
            worst = await self._turn(request)
        finally:
            if leased is not None:
                self._ready -= 1
                if worst is None:
                    await self._unsent(leased)
        if worst is None:
            return None
        self._budget.reserve(worst)
        tokens = self._budget.prompt_tokens(request) + request.sampling.max_tokens
        sent = self.pace.begin(tokens)
        usage = Usage()
        try:
            attempt = leased or await self._lease_now(key, worst)
            answer = await self._sent(attempt, request, sent, worst)
            usage = answer.usage
            self._heed_model(answer)
        finally:
            used = (usage.prompt_tokens or 0) + (usage.completion_tokens or 0)
            self.pace.end(tokens - used if used else 0)
            self._learn(tokens)
            self.stopping.changed()
        self._quiet_since = None
        self.pace.answered(sent)
        self._budget.learn(request, answer.usage)
        return await self._kept(attempt, request, answer, worst, keep_empty)

    def check_model(self, answer: Completion) -> None:
        """Count answers of another model than the one asked for.

        Raises:
            FatalProviderError: there is one, and the policy is strict.
        """
        asked = self._model.identity.model
        if same_model(asked, answer.model):
            return
        others = self.tally.other_models
        if answer.model not in others:
            self._say(f'"{answer.model}" answered where "{asked}" was asked.')
        others[answer.model] = others.get(answer.model, 0) + 1
        if self._budget.policy.strict:
            raise FatalProviderError(
                f'"{answer.model}" answered where "{asked}" was asked.',
                "Without --strict, such answers are used and counted.",
                reason="other_model",
            )

    def _heed_model(self, answer: Completion) -> None:
        """Stop a strict run before the place of a wrong model's answer is given to another call."""
        try:
            self.check_model(answer)
        except FatalProviderError as problem:
            self.stopping.because(problem)

    async def _leased_ahead(self, key: str, request: Request) -> int | None:
        """An attempt in the ledger before its turn; None where it could go now, where more than a
        place is lacking, or where enough of them stand ready."""
        wait = self.pace.wait()
        could_go = wait == 0 and not self._next.locked()
        if could_go or wait or self._ready >= self.pace.beside or self.stopping.asked:
            return None
        if not self._budget.room(self._budget.worst(request)):
            return None
        self._ready += 1
        try:
            return await self._lease(key)
        except BaseException:
            self._ready -= 1
            raise

    async def _lease_now(self, key: str, worst: Decimal) -> int:
        try:
            return await self._lease(key)
        except BaseException:
            self._budget.settle(worst, None)
            raise

    async def _lease(self, key: str) -> int:
        """Put an attempt into the ledger; one that is then not sent after all is closed there."""
        model, leased = self._model.identity.model, list[int]()
        try:
            await self._written(lambda: leased.append(self._store.lease(key, self._run, model)))
        except BaseException:
            for attempt in leased:
                await self._unsent(attempt)
            raise
        return leased[0]

    async def _unsent(self, attempt: int) -> None:
        with contextlib.suppress(FiatError):
            await self._written(partial(self._store.fail, attempt, "unsent"))

    async def _sent(
        self, attempt: int, request: Request, sent: float, worst: Decimal
    ) -> Completion:
        """Send it; close the attempt if that brings no answer."""
        self.tally.calls += 1
        try:
            return await self._model.complete(request)
        except ProviderError as error:
            if error.reason != "refused":
                await self._failed(attempt, error, sent, worst)
                raise
            return Completion("", "refused", detail=error.message)
        except BaseException:
            with contextlib.suppress(EnvironmentProblem):
                await self._lost(attempt, "interrupted", worst)
            raise

    async def _turn(self, request: Request) -> Decimal | None:
        """Wait until a request may be sent; the most it can cost, or None if the run stops.

        First come, first served: only whose turn is next looks whether it has come.
        """
        async with self._next:
            while not self.stopping.asked:
                worst = self._budget.worst(request)
                wait = self.pace.wait()
                if wait == 0 and self._budget.room(worst):
                    return worst
                if self.pace.resume_at > time.monotonic():
                    self._check_pause()
                await self.stopping.rest(wait or None)
        return None

    def _check_pause(self) -> None:
        """Tell a long pause once; stop where it is longer than the user will wait.

        Raises:
            CapReachedError: max_wait.
        """
        now, until = time.monotonic(), self.pace.resume_at
        if self._quiet_since is None:
            self._quiet_since = now
        most = self._budget.policy.max_wait
        if until - self._quiet_since > most:
            raise CapReachedError(
                f"The endpoint asks to wait until {clock(until - now)}, longer than max_wait "
                f"({most:g} s) allows.",
                "Every answer is kept. Run the same command again then, or raise --max-wait.",
            )
        if until - now >= WORTH_TELLING and until > self._told_until + 1:
            self._told_until = until
            self._say(f"Paused by the endpoint; going on at {clock(until - now)}.")

    def _learn(self, tokens: int) -> None:
        if self._tells is not None and (limits := self._tells.limits) is not None:
            self.pace.heard(limits, tokens)

    async def _failed(
        self, attempt: int, error: ProviderError, sent: float, worst: Decimal
    ) -> None:
        """Close an attempt that brought no answer, and slow down if that helps."""
        if self._quiet_since is None:
            self._quiet_since = sent
        if error.reason == "rate_limit":
            self.pace.refused(sent, error.retry_after)
        elif error.retryable and self.pace.failed(error.retry_after):
            self._say("More than half of the last 50 calls failed; paused, then one call tries.")
        if error.ambiguous:
            await self._lost(attempt, error.reason, worst)
        else:
            self._budget.settle(worst, None)
            await self._written(partial(self._store.fail, attempt, error.reason))

    async def _lost(self, attempt: int, reason: str, worst: Decimal) -> None:
        cost = self._budget.settle(worst, None, possibly_billed=True)
        self._account()
        self.tally.possibly_billed += 1
        await self._written(partial(self._store.fail, attempt, reason, ambiguous=True, cost=cost))

    async def _kept(
        self, attempt: int, request: Request, answer: Completion, worst: Decimal, keep_empty: bool
    ) -> Completion:
        """Commit an answer; one that is unusable, or asked for once more, only as an attempt."""
        cost = self._budget.settle(worst, answer.usage)
        self._account()
        self.tally.usage = add(self.tally.usage, answer.usage)
        if answer.finish == "error" or (answer.finish == "empty" and not keep_empty):
            reason = answer.detail or answer.finish
            await self._written(
                partial(self._store.fail, attempt, reason, usage=answer.usage, cost=cost)
            )
            return answer
        identity = self._model.identity
        return await self._written(
            partial(self._store.commit, attempt, identity, request, answer, cost=cost)
        )

    def _account(self) -> None:
        self.tally.cost, self.tally.unknown_cost = self._budget.cost, self._budget.unknown


def same_model(asked: str, answered: str) -> bool:
    """Whether a model's name in an answer is the one asked for, a dated version of it, or none."""
    short, other = asked.rpartition("/")[2].casefold(), answered.casefold()
    return not other or short in other or other in asked.casefold()


def add(a: Usage, b: Usage) -> Usage:
    """Sum of two usages; unknown parts count as nothing beside known ones."""

    def plus(x: int | None, y: int | None) -> int | None:
        return None if x is None and y is None else (x or 0) + (y or 0)

    return Usage(
        plus(a.prompt_tokens, b.prompt_tokens),
        plus(a.completion_tokens, b.completion_tokens),
        plus(a.cached_tokens, b.cached_tokens),
        plus(a.reasoning_tokens, b.reasoning_tokens),
        plus(a.written_tokens, b.written_tokens),
        plus(a.written_1h_tokens, b.written_1h_tokens),
    )

"""What every large model offers: one async call, an identity, and how many calls fit at once.

Some offer batches too: many requests in one job that takes hours and costs half.
"""

from __future__ import annotations

from collections.abc import AsyncGenerator, Callable, Collection, Sequence
from dataclasses import dataclass
from typing import Protocol, runtime_checkable

from fiatkit.errors import ProviderError
from fiatkit.records import Completion, ModelIdentity, RateLimits, Request


class ChatModel(Protocol):
    """A frozen large model. Implementations make exactly one attempt per call and never retry.

    `complete` raises TransientProviderError, RowProviderError or FatalProviderError; an answer
    that is cut off, empty or refused is not an exception but a Completion whose `finish` says so.
    """

    @property
    def identity(self) -> ModelIdentity:
        """What decides the answers; part of the store's key."""
        ...

    @property
    def slots(self) -> int:
        """How many calls may be under way at once."""
        ...

    async def complete(self, request: Request) -> Completion:
        """Make one attempt at `request`."""
        ...

    async def close(self) -> None:
        """Free connections, processes and memory. May be called twice."""
        ...


@runtime_checkable
class TellsLimits(Protocol):
    """A large model whose endpoint says in its answers what is left of its rate limits."""

    @property
    def limits(self) -> RateLimits | None:
        """What it said last; None before it has said anything."""
        ...


@runtime_checkable
class NeedsKey(Protocol):
    """A large model for which there must be a key."""

    def check_key(self) -> None:
        """Raise FatalProviderError where the key is missing or cannot be one."""
        ...


@dataclass(frozen=True, slots=True)
class BatchState:
    """How far a batch is. `refused` says why the provider took none of its rows, if so."""

    ended: bool
    done: int
    total: int
    word: str
    refused: str = ""


Row = tuple[str, Request]
Lookup = Callable[[str], Request | None]
Result = tuple[str, Completion | ProviderError]


class BatchModel(Protocol):
    """A large model whose provider takes batches. A row is a store's key and its request.

    All methods raise ProviderErrors, and none tries twice.
    """

    async def submit(self, name: str, rows: Sequence[Row]) -> str:
        """Hand in a batch; its id. An error that is `ambiguous` may have left one behind."""
        ...

    async def find(self, name: str, rows: int, since: float, others: Collection[str]) -> str | None:
        """The id of the batch that a lost `submit` left behind, if there is one.

        Args:
            name: what the batch was called.
            rows: how many it has.
            since: Unix time before which it was not handed in.
            others: ids of batches that it is not.
        """
        ...

    async def state(self, batch: str) -> BatchState:
        """How far it is."""
        ...

    def results(self, batch: str, lookup: Lookup) -> AsyncGenerator[Result, None]:
        """The results of a batch that has ended, in any order, perhaps not of all rows.

        A row that was not carried out is an error with the reason "expired" or "cancelled".
        Keys that `lookup` does not know are left out.
        """
        ...

    async def cancel(self, batch: str) -> None:
        """Ask the provider to stop; what is done already is paid for and can be had."""
        ...


@runtime_checkable
class TakesBatches(Protocol):
    """A large model that may have batches."""

    def batches(self) -> BatchModel:
        """Its batches. Raises UsageError where this endpoint has none."""
        ...

"""What every large model offers: one async call, an identity, and how many calls fit at once."""

from __future__ import annotations

from typing import Protocol, runtime_checkable

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

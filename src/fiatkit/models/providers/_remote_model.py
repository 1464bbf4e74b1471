"""What the large models over HTTP have in common: one attempt a call, and an SDK's client."""

from __future__ import annotations

import json
import time
from typing import Any

from fiatkit.models.providers._remote import Remote
from fiatkit.records import Completion, RateLimits, Request

NOT_AN_ANSWER = ValueError, KeyError, IndexError, TypeError, AttributeError, RecursionError


class RemoteModel:
    """The part of `ChatModel` that is the same for every API over HTTP.

    Attributes:
        answers_with: what the API calls an answer, for messages.
        slots: how many calls may be under way at once.
        remote: the place on the network.
    """

    answers_with = "an answer"

    def __init__(self, remote: Remote, slots: int) -> None:
        self.remote = remote
        self.slots = slots
        self._client: Any = None

    def body(self, request: Request) -> dict[str, Any]:
        """The request's JSON, the same for a single call and for one of a batch."""
        raise NotImplementedError

    def read(self, value: Any, request: Request, seconds: float) -> Completion:
        """The completion in an answer's JSON; raises one of NOT_AN_ANSWER if there is none."""
        raise NotImplementedError

    def new_client(self) -> Any:
        """The SDK's client, and where `remote` posts to."""
        raise NotImplementedError

    def client(self) -> Any:
        """The SDK's client, made with the first call."""
        if self._client is None:
            self.remote.check_key()
            self._client = self.new_client()
        return self._client

    def check_key(self) -> None:
        """Raise FatalProviderError where the key is missing or cannot be one."""
        self.remote.check_key()

    async def complete(self, request: Request) -> Completion:
        """Make one attempt within the deadline."""
        self.client()
        body = self.body(request)
        began = time.monotonic()
        content = await self.remote.answer(body)
        try:
            return self.read(json.loads(content), request, time.monotonic() - began)
        except NOT_AN_ANSWER:
            failed = self.remote.bad_response(self.answers_with, content)
        raise failed  # out here, so that it carries nothing of what could not be read

    @property
    def limits(self) -> RateLimits | None:
        """What the endpoint last said of its rate limits."""
        return self.remote.limits

    async def close(self) -> None:
        """Close the connections."""
        if self._client is not None:
            await self._client.close()
            self._client = None

"""Anthropic's message batches: requests in, a stream of results out.

They carry no name of ours. One whose id was lost is known by its time and size, and by the keys
of its results, which are hashes of the requests: whoever made it, they are answers to ours.
"""

from __future__ import annotations

import json
from collections.abc import AsyncGenerator, Collection, Sequence
from typing import TYPE_CHECKING, Any

from fiatkit.errors import TransientProviderError
from fiatkit.models.protocol import BatchState, Lookup, Result, Row
from fiatkit.models.providers._openai_batches import SLACK, values_of
from fiatkit.records import Completion, Request

if TYPE_CHECKING:
    from fiatkit.errors import ProviderError
    from fiatkit.models.providers.anthropic import Anthropic

STATUS = {
    "invalid_request_error": 400,
    "authentication_error": 401,
    "billing_error": 402,
    "permission_error": 403,
    "not_found_error": 404,
    "request_too_large": 413,
    "rate_limit_error": 429,
    "api_error": 500,
    "timeout_error": 504,
    "overloaded_error": 529,
}
NOT_DONE = {"expired": "expired", "canceled": "cancelled"}


class AnthropicBatches:
    """The batches of one endpoint. Implements `BatchModel`."""

    def __init__(self, model: Anthropic) -> None:
        self.model = model
        self.remote = model.remote

    @property
    def _batches(self) -> Any:
        return self.model.client().messages.batches

    async def submit(self, name: str, rows: Sequence[Row]) -> str:
        """Make the batch."""
        batches = self._batches
        requests = [{"custom_id": key, "params": self.model.body(r)} for key, r in rows]
        made = await self.remote.created(lambda: batches.create(requests=requests))
        return str(made.id)

    async def find(self, name: str, rows: int, since: float, others: Collection[str]) -> str | None:
        """A batch of that time and size that is no other's; the list has the newest first."""
        batches = self._batches

        async def look() -> str | None:
            async for batch in batches.list(limit=100):
                if batch.created_at.timestamp() < since - SLACK:
                    break
                if batch.id not in others and _counts(batch)[1] == rows:
                    return str(batch.id)
            return None

        return await self.remote.once(look)

    async def state(self, batch: str) -> BatchState:
        """How far it is."""
        batches = self._batches
        value = await self.remote.once(lambda: batches.retrieve(batch))
        return BatchState(
            value.processing_status == "ended", *_counts(value), str(value.processing_status)
        )

    async def results(self, batch: str, lookup: Lookup) -> AsyncGenerator[Result, None]:
        """What its file of results holds."""
        stream = self._batches.with_streaming_response.results
        with await self.remote.lines(lambda: stream(batch)) as file:
            for line in values_of(file):
                key = str(line.get("custom_id"))
                request = lookup(key)
                if request is not None:
                    yield key, self._result(line, request)

    def _result(self, line: dict[str, Any], request: Request) -> Completion | ProviderError:
        from fiatkit.models.providers.anthropic import read

        try:
            result = line["result"]
            kind = str(result["type"])
            if kind in NOT_DONE:
                return TransientProviderError("It was not carried out.", reason=NOT_DONE[kind])
            if kind == "errored":
                status = STATUS.get(str(result["error"]["error"]["type"]), 500)
                return self.remote.by_status(status, result["error"], {})
            return read(result["message"], request, 0.0)
        except (ValueError, KeyError, IndexError, TypeError, AttributeError):
            return self.remote.bad_response("a message", json.dumps(line).encode())

    async def cancel(self, batch: str) -> None:
        """Ask to stop it."""
        batches = self._batches
        await self.remote.once(lambda: batches.cancel(batch))


def _counts(batch: Any) -> tuple[int, int]:
    """Rows that are over, and all rows."""
    counts = batch.request_counts
    over = counts.succeeded + counts.errored + counts.canceled + counts.expired
    return over, over + counts.processing

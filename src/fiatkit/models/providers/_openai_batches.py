"""OpenAI's batches: a file of requests in, a file of answers and one of errors out.

A batch carries our name for it in its metadata, so that one whose id was lost is found again.
"""

from __future__ import annotations

import json
import tempfile
from collections.abc import AsyncGenerator, Collection, Iterator, Sequence
from functools import partial
from typing import IO, TYPE_CHECKING, Any

from fiatkit.errors import ProviderError, TransientProviderError
from fiatkit.models.protocol import BatchState, Lookup, Result, Row

if TYPE_CHECKING:
    from fiatkit.models.providers.openai_compatible import OpenAICompatible

NAMED = "fiatkit"
SLACK = 300.0  # seconds by which the provider's clock may be behind
OVER = ("completed", "failed", "expired", "cancelled")
NOT_DONE = {"batch_expired": "expired", "batch_cancelled": "cancelled"}
HELD = 16 * 1024 * 1024  # bytes of a file of requests that stay in memory


class OpenAIBatches:
    """The batches of one endpoint. Implements `BatchModel`."""

    def __init__(self, model: OpenAICompatible) -> None:
        self.model = model
        self.remote = model.remote
        self.path = "/v1/chat/completions"
        if model.manners.name == "azure":
            self.path = "/chat/completions"

    async def submit(self, name: str, rows: Sequence[Row]) -> str:
        """Upload the file, then make the batch of it."""
        client = self.model.client()
        with tempfile.SpooledTemporaryFile(max_size=HELD) as file:
            for key, request in rows:
                body = self.model.manners.body(request)
                line = {"custom_id": key, "method": "POST", "url": self.path, "body": body}
                file.write(json.dumps(line).encode() + b"\n")
            file.seek(0)
            try:
                uploaded = await self.remote.created(
                    lambda: client.files.create(file=(f"{name}.jsonl", file), purpose="batch")
                )
            except ProviderError as error:
                error.ambiguous = False  # a file alone costs nothing
                raise
        made = await self.remote.created(
            lambda: client.batches.create(
                input_file_id=uploaded.id,
                endpoint=self.path,
                completion_window="24h",
                metadata={NAMED: name},
            )
        )
        return str(made.id)

    async def find(self, name: str, rows: int, since: float, others: Collection[str]) -> str | None:
        """The batch with our name in its metadata; the list has the newest first."""
        client = self.model.client()

        async def look() -> str | None:
            async for batch in client.batches.list(limit=100):
                if (batch.metadata or {}).get(NAMED) == name:
                    return str(batch.id)
                if batch.created_at < since - SLACK:
                    break
            return None

        return await self.remote.once(look)

    async def state(self, batch: str) -> BatchState:
        """How far it is."""
        client = self.model.client()
        value = await self.remote.once(lambda: client.batches.retrieve(batch))
        counts = value.request_counts
        done, total = (counts.completed + counts.failed, counts.total) if counts else (0, 0)
        refused = ""
        if value.status == "failed":
            told = (value.errors.data if value.errors else None) or []
            words = "; ".join(str(error.message) for error in told[:3]) or "no reason given"
            refused = self.remote.quoted(words.encode(errors="replace"))
        return BatchState(value.status in OVER, done, total, str(value.status), refused)

    async def results(self, batch: str, lookup: Lookup) -> AsyncGenerator[Result, None]:
        """What the file of answers and the file of errors hold; either may be missing."""
        client = self.model.client()
        content = client.files.with_streaming_response.content
        value = await self.remote.once(lambda: client.batches.retrieve(batch))
        for file_id in (value.output_file_id, value.error_file_id):
            if not file_id:
                continue
            with await self.remote.lines(partial(content, file_id)) as file:
                for line in values_of(file):
                    key = str(line.get("custom_id"))
                    request = lookup(key)
                    if request is not None:
                        yield key, self._result(line, request)

    def _result(self, line: dict[str, Any], request: Any) -> Any:
        from fiatkit.models.providers.openai_compatible import read

        error, response = line.get("error"), line.get("response")
        if isinstance(error, dict):
            code = str(error.get("code"))
            reason = NOT_DONE.get(code, "batch_error")
            said = self.remote.quoted(str(error.get("message") or code).encode(errors="replace"))
            return TransientProviderError(f"It was not carried out: {said}", reason=reason)
        raw = json.dumps(line).encode()
        try:
            assert isinstance(response, dict)
            status, body = int(response["status_code"]), response["body"]
            if status != 200:
                return self.remote.by_status(status, body, {})
            return read(body, request, self.model.manners.flavour, 0.0)
        except (AssertionError, ValueError, KeyError, IndexError, TypeError, AttributeError):
            return self.remote.bad_response("a chat completion", raw)

    async def cancel(self, batch: str) -> None:
        """Ask to stop it."""
        client = self.model.client()
        await self.remote.once(lambda: client.batches.cancel(batch))


def values_of(file: IO[bytes]) -> Iterator[dict[str, Any]]:
    """The JSON objects of a file of lines; a torn or foreign line is left out."""
    for line in file:
        try:
            value = json.loads(line)
        except (ValueError, RecursionError):
            continue
        if isinstance(value, dict):
            yield value

"""Any OpenAI-compatible endpoint: OpenAI itself, vLLM, llama.cpp's server, Ollama, gateways.

One attempt a call: the SDK's own retries are off, so that each attempt on the wire is one that
the ledger knows. The key comes from the environment and is never part of a message.
"""

from __future__ import annotations

import asyncio
import email.utils
import json
import math
import os
import time
from typing import Any
from urllib.parse import urlsplit, urlunsplit

from pydantic import Field

from fiatkit.errors import (
    FatalProviderError,
    MissingExtraError,
    ProviderError,
    RowProviderError,
    TransientProviderError,
)
from fiatkit.records import Completion, Finish, ModelIdentity, Request, Usage
from fiatkit.settings import Strict

MAX_BYTES = 8 * 1024 * 1024
LONGEST_WAIT = 24 * 3600.0
FINISH: dict[str, Finish] = {
    "stop": "stop",
    "length": "length",
    "content_filter": "refused",
}


class Settings(Strict):
    """Keys of `large:` in a run file for this provider.

    Attributes:
        model: the endpoint's name of the model.
        base_url: the endpoint, up to and including its version, such as https://host/v1.
        api_key_env: name of the environment variable that holds the key.
        endpoint: name of the endpoint in the store's keys, if it may move; default: base_url.
        concurrency: calls under way at once.
        timeout: seconds for one call as a whole.
    """

    provider: str = "openai_compatible"
    model: str
    base_url: str = "https://api.openai.com/v1"
    api_key_env: str = "OPENAI_API_KEY"
    endpoint: str = ""
    revision: str = ""
    concurrency: int = Field(default=8, ge=1, le=1024)
    timeout: float = Field(default=120.0, gt=0)


def create(settings: Settings) -> OpenAICompatible:
    """Make the model; nothing is sent yet."""
    return OpenAICompatible(settings)


class OpenAICompatible:
    """A chat-completions endpoint. Implements `ChatModel`."""

    def __init__(self, settings: Settings) -> None:
        self.settings = settings
        self.slots = settings.concurrency
        self.place = without_secrets(settings.base_url)
        self.identity = ModelIdentity(
            "openai_compatible",
            settings.endpoint or self.place,
            settings.model,
            settings.revision,
        )
        self._client: Any = None

    async def complete(self, request: Request) -> Completion:
        """Make one attempt within the deadline."""
        client = self._open()
        began = time.monotonic()
        try:
            async with asyncio.timeout(self.settings.timeout):
                arguments = _arguments(self.settings.model, request)
                streaming = client.chat.completions.with_streaming_response
                async with streaming.create(**arguments) as response:
                    content = await _capped(response)
        except TimeoutError:
            raise TransientProviderError(
                f'No whole answer of "{self.place}" within {self.settings.timeout:g} s.',
                "Raise large.timeout, or lower large.concurrency.",
                reason="timeout",
                ambiguous=True,
            ) from None
        except Exception as error:
            raise self._mapped(error) from None
        return _completion(content, request, time.monotonic() - began)

    async def close(self) -> None:
        """Close the connections."""
        if self._client is not None:
            await self._client.close()
            self._client = None

    def _open(self) -> Any:
        if self._client is None:
            try:
                import httpx2
                import openai
            except ImportError:
                raise MissingExtraError("openai", "openai", "A remote large model") from None
            key = os.environ.get(self.settings.api_key_env, "")
            local = (urlsplit(self.place).hostname or "") in ("localhost", "127.0.0.1", "::1")
            if not key and not local:
                raise FatalProviderError(
                    f"The environment variable {self.settings.api_key_env} holds no key "
                    f'for "{self.place}".',
                    f"Set it: export {self.settings.api_key_env}=...",
                    reason="auth",
                )
            self._client = openai.AsyncOpenAI(
                api_key=key or "none",
                base_url=self.settings.base_url,
                max_retries=0,
                timeout=self.settings.timeout,
                http_client=httpx2.AsyncClient(
                    follow_redirects=False,
                    timeout=self.settings.timeout,
                    limits=httpx2.Limits(max_connections=self.slots),
                ),
            )
        return self._client

    def _mapped(self, error: Exception) -> ProviderError:
        """Turn an SDK error into one of ours. Nothing of the request is quoted."""
        import httpx2
        import openai

        if isinstance(error, ProviderError):
            return error
        if isinstance(error, openai.APIStatusError):
            return _by_status(error, self.place)
        cause = error.__cause__ if isinstance(error, openai.APIConnectionError) else error
        refused = isinstance(cause, httpx2.ConnectError | httpx2.ConnectTimeout)
        what = type(cause or error).__name__
        if isinstance(cause or error, openai.APIError | httpx2.HTTPError | OSError | ValueError):
            return TransientProviderError(
                f'The connection to "{self.place}" failed ({what}).',
                "Check large.base_url and whether the server runs.",
                reason="connect" if refused else "connection",
                ambiguous=not refused,
            )
        return RowProviderError(f'"{self.place}" could not be asked ({what}).', reason="request")


async def _capped(response: Any) -> bytes:
    """Read the body with a cap on its decoded bytes."""
    body = bytearray()
    async for chunk in response.iter_bytes():
        body += chunk
        if len(body) > MAX_BYTES:
            raise RowProviderError(f"An answer of more than {MAX_BYTES} bytes.", reason="too_big")
    return bytes(body)


def _arguments(model: str, request: Request) -> dict[str, Any]:
    sampling = request.sampling
    arguments: dict[str, Any] = {
        "model": model,
        "messages": [{"role": m.role, "content": m.content} for m in request.messages],
        "max_tokens": sampling.max_tokens,
        "temperature": sampling.temperature,
    }
    if sampling.temperature:
        arguments |= {"top_p": sampling.top_p, "seed": sampling.seed + request.sample}
    if sampling.stop:
        arguments["stop"] = list(sampling.stop)
    if request.choices:
        schema = {
            "type": "object",
            "properties": {"answer": {"type": "string", "enum": list(request.choices)}},
            "required": ["answer"],
            "additionalProperties": False,
        }
        named = {"name": "answer", "strict": True, "schema": schema}
        arguments["response_format"] = {"type": "json_schema", "json_schema": named}
    return arguments


def _completion(raw: bytes, request: Request, seconds: float) -> Completion:
    """Read an answer without trusting its shape (G13, G14, G16 to G20)."""
    try:
        value = json.loads(raw)
        choice = value["choices"][0]
        message = choice["message"]
        text = message.get("content")
        if text is not None and not isinstance(text, str):
            raise TypeError
    except (ValueError, KeyError, IndexError, TypeError, AttributeError):
        shown = raw[:200].decode(errors="replace")
        raise TransientProviderError(
            f"The answer is not a chat completion: {shown!r}.",
            reason="bad_response",
            ambiguous=True,
        ) from None
    finish = FINISH.get(str(choice.get("finish_reason")), "error")
    if message.get("refusal"):
        finish, text = "refused", str(message["refusal"])
    text = text or ""
    if request.choices and finish == "stop":
        text = _chosen(text)
    if finish == "stop" and not text.strip():
        finish = "empty"
    detail = "" if finish != "error" else f"finish_reason {choice.get('finish_reason')}"
    return Completion(text, finish, _usage(value), str(value.get("model", "")), seconds, detail)


def _chosen(text: str) -> str:
    try:
        return str(json.loads(text)["answer"])
    except (ValueError, KeyError, TypeError):
        return text


def _usage(value: dict[str, Any]) -> Usage:
    usage = value.get("usage")
    if not isinstance(usage, dict):
        return Usage()
    details = usage.get("prompt_tokens_details")
    cached = details.get("cached_tokens") if isinstance(details, dict) else None
    return Usage(
        _count(usage.get("prompt_tokens")), _count(usage.get("completion_tokens")), _count(cached)
    )


def _count(value: Any) -> int | None:
    return value if isinstance(value, int) and not isinstance(value, bool) else None


def _by_status(error: Any, place: str) -> ProviderError:
    """One table from HTTP status to what it means for the run."""
    status = int(error.status_code)
    body = error.body if isinstance(error.body, dict) else {}
    code = str(body.get("code") or body.get("type") or "")
    said = f'"{place}" answered {status}'
    said += f" ({code})." if code.replace("_", "").isalnum() else "."
    if status == 429 and "quota" in code:
        return FatalProviderError(said, "The account has no quota left.", reason="quota")
    if status == 429:
        wait = retry_after(error.response.headers, time.time())
        return TransientProviderError(said, reason="rate_limit", retry_after=wait)
    if status in (401, 403):
        return FatalProviderError(said, "Check the key and its rights.", reason="auth")
    if status == 404:
        return FatalProviderError(said, "Check large.model and large.base_url.", reason="not_found")
    if status in (408, 409) or status >= 500:
        wait = retry_after(error.response.headers, time.time())
        return TransientProviderError(
            said, reason=f"http_{status}", ambiguous=status in (408, 502, 504), retry_after=wait
        )
    if 300 <= status < 400:
        hint = "Redirects are not followed; give the final address as large.base_url."
        return FatalProviderError(said, hint, reason="redirect")
    return RowProviderError(said, reason=f"http_{status}")


def retry_after(headers: Any, now: float) -> float | None:
    """Seconds to wait, from retry-after-ms or Retry-After; None if absent, invalid or absurd."""
    seconds: float | None = None
    try:
        if headers.get("retry-after-ms"):
            seconds = float(headers["retry-after-ms"]) / 1000
    except ValueError:
        seconds = None
    given = headers.get("retry-after")
    if seconds is None and given:
        try:
            seconds = float(given)
        except ValueError:
            try:
                seconds = email.utils.parsedate_to_datetime(given).timestamp() - now
            except (TypeError, ValueError, OverflowError):
                return None
    if seconds is None or not math.isfinite(seconds) or not 0 < seconds <= LONGEST_WAIT:
        return None
    return seconds


def without_secrets(url: str) -> str:
    """The address without user name, password, query or fragment."""
    parts = urlsplit(url)
    host = parts.hostname or ""
    place = f"{host}:{parts.port}" if parts.port else host
    return urlunsplit((parts.scheme, place, parts.path.rstrip("/"), "", ""))

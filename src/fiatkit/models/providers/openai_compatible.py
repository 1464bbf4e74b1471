"""Any OpenAI-compatible endpoint: OpenAI itself, vLLM, llama.cpp's server, Ollama, gateways.

One attempt a call: the SDK's own retries are off, so that each attempt on the wire is one that
the ledger knows. The key comes from the environment and is never part of a message.
"""

from __future__ import annotations

import asyncio
import base64
import contextlib
import email.utils
import json
import math
import os
import time
from collections.abc import Callable
from typing import Any, Literal
from urllib.parse import quote, urlsplit, urlunsplit

from pydantic import Field

from fiatkit.errors import (
    FatalProviderError,
    MissingExtraError,
    ProviderError,
    RowProviderError,
    SettingsError,
    TransientProviderError,
)
from fiatkit.models.providers._grammar import grammar
from fiatkit.records import Completion, Finish, ModelIdentity, Request, Usage
from fiatkit.settings import Strict

MAX_BYTES = 8 * 1024 * 1024
LONGEST_WAIT = 24 * 3600.0
SEARCHED, SHOWN = 4096, 200
AROUND = " \t\r\n\"'`*.“”‘’«»"
ROW_REASONS = {"context_length_exceeded": "too_long", "content_filter": "refused"}
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
        choices: how the server is held to a set of answers: "json_schema" (OpenAI's
            response_format, which most servers know), "vllm" (its structured_outputs),
            "llama_cpp" (a grammar), or "none": the answer is only checked.
    """

    provider: str = "openai_compatible"
    model: str
    base_url: str = "https://api.openai.com/v1"
    api_key_env: str = "OPENAI_API_KEY"
    endpoint: str = ""
    revision: str = ""
    concurrency: int = Field(default=8, ge=1, le=1024)
    timeout: float = Field(default=120.0, gt=0)
    choices: Literal["json_schema", "vllm", "llama_cpp", "none"] = "json_schema"


def create(settings: Settings) -> OpenAICompatible:
    """Make the model; nothing is sent yet."""
    return OpenAICompatible(settings)


class OpenAICompatible:
    """A chat-completions endpoint. Implements `ChatModel`."""

    def __init__(self, settings: Settings) -> None:
        self.settings = settings
        self.slots = settings.concurrency
        _check_address(settings.base_url)
        self.place = without_secrets(settings.base_url)
        self.identity = ModelIdentity(
            "openai_compatible",
            settings.endpoint or self.place,
            settings.model,
            settings.revision,
        )
        self._client: Any = None
        self._key = os.environ.get(settings.api_key_env, "").strip()

    async def complete(self, request: Request) -> Completion:
        """Make one attempt within the deadline."""
        client = self._open()
        began = time.monotonic()
        content, failed = b"", None
        try:
            async with asyncio.timeout(self.settings.timeout):
                arguments = _arguments(self.settings, request)
                streaming = client.chat.completions.with_streaming_response
                async with streaming.create(**arguments) as response:
                    content = await _capped(response)
        except Exception as error:
            failed = self._mapped(error)
        if failed:  # raised out here, so that it carries no error of the SDK, which holds the key
            raise failed
        try:
            return _completion(content, request, time.monotonic() - began)
        except (ValueError, KeyError, IndexError, TypeError, AttributeError, RecursionError):
            failed = TransientProviderError(
                f"The answer is not a chat completion: {self._quoted(content)!r}.",
                reason="bad_response",
                ambiguous=True,
            )
        raise failed

    async def close(self) -> None:
        """Close the connections."""
        if self._client is not None:
            await self._client.close()
            self._client = None

    def _open(self) -> Any:
        if self._client is None:
            try:
                import openai

                from fiatkit.models.providers._http import Client
            except ImportError:
                raise MissingExtraError("openai", "openai", "A remote large model") from None
            self._check_key()
            self._client = openai.AsyncOpenAI(
                api_key=self._key or "none",
                base_url=self.settings.base_url,
                max_retries=0,
                timeout=self.settings.timeout,
                http_client=Client(self.settings.timeout, self.slots),
            )
        return self._client

    def _check_key(self) -> None:
        name = self.settings.api_key_env
        local = (urlsplit(self.place).hostname or "") in ("localhost", "127.0.0.1", "::1")
        if not self._key and not local:
            raise FatalProviderError(
                f'The environment variable {name} holds no key for "{self.place}".',
                f"Set it: export {name}=...",
                reason="auth",
            )
        if not (self._key.isascii() and self._key.replace(" ", "").isprintable()):
            raise FatalProviderError(
                f"The key in the environment variable {name} holds characters that no key has.",
                "Copy it again, without line breaks.",
                reason="auth",
            )

    def _quoted(self, raw: bytes) -> str:
        """The head of what a server wrote, without the key, should it echo that.

        Far more is searched than is shown, and a mask is as long as what it hides, so that no
        key is cut in two by the end of what is searched.
        """
        text = raw[:SEARCHED].decode(errors="replace")
        if self._key:
            coded = base64.b64encode(self._key.encode()).decode()
            for form in (self._key, quote(self._key, safe=""), coded):
                text = text.replace(form, "*" * len(form))
        return text[:SHOWN]

    def _mapped(self, error: Exception) -> ProviderError:
        """Turn an SDK error into one of ours. Nothing of the request is quoted."""
        import httpx2
        import openai

        if isinstance(error, ProviderError):
            return error
        if isinstance(error, TimeoutError):
            return TransientProviderError(
                f'No whole answer of "{self.place}" within {self.settings.timeout:g} s.',
                "Raise large.timeout, or lower large.concurrency.",
                reason="timeout",
                ambiguous=True,
            )
        if isinstance(error, openai.APIStatusError):
            return _by_status(error, self.place, self._quoted)
        cause = error
        if isinstance(error, openai.APIConnectionError) and isinstance(error.__cause__, Exception):
            cause = error.__cause__
        never_sent = httpx2.ConnectError | httpx2.ConnectTimeout | httpx2.PoolTimeout
        unsent = isinstance(cause, never_sent)
        what = type(cause).__name__
        if isinstance(cause, openai.APIError | httpx2.HTTPError | OSError):
            return TransientProviderError(
                f'The connection to "{self.place}" failed ({what}).',
                "Check large.base_url and whether the server runs.",
                reason="connect" if unsent else "connection",
                ambiguous=not unsent,
            )
        return RowProviderError(
            f'The request to "{self.place}" cannot be written ({what}).', reason="request"
        )


async def _capped(response: Any) -> bytes:
    """Read the body with a cap on its decoded bytes."""
    body = bytearray()
    async for chunk in response.iter_bytes():
        body += chunk
        if len(body) > MAX_BYTES:
            raise RowProviderError(f"An answer of more than {MAX_BYTES} bytes.", reason="too_big")
    return bytes(body)


def _arguments(settings: Settings, request: Request) -> dict[str, Any]:
    sampling = request.sampling
    arguments: dict[str, Any] = {
        "model": settings.model,
        "messages": [{"role": m.role, "content": m.content} for m in request.messages],
        "max_tokens": sampling.max_tokens,
        "temperature": sampling.temperature,
    }
    if sampling.temperature:
        arguments |= {"top_p": sampling.top_p, "seed": sampling.seed + request.sample}
    if sampling.stop:
        arguments["stop"] = list(sampling.stop)
    return arguments | (_held_to(settings.choices, request.choices) if request.choices else {})


def _held_to(manner: str, choices: tuple[str, ...]) -> dict[str, Any]:
    """What holds a server to a set of answers, in the words that it knows."""
    if manner == "json_schema":
        schema = {
            "type": "object",
            "properties": {"answer": {"type": "string", "enum": list(choices)}},
            "required": ["answer"],
            "additionalProperties": False,
        }
        named = {"name": "answer", "strict": True, "schema": schema}
        return {"response_format": {"type": "json_schema", "json_schema": named}}
    if manner == "vllm":
        return {"extra_body": {"structured_outputs": {"choice": list(choices)}}}
    if manner == "llama_cpp":
        return {"extra_body": {"grammar": grammar(choices)}}
    return {}


def _completion(raw: bytes, request: Request, seconds: float) -> Completion:
    """Read an answer without trusting its shape. Raises ValueError, TypeError and the like."""
    value = json.loads(raw)
    choice = value["choices"][0]
    message = choice["message"]
    text = message.get("content")
    if text is not None and not isinstance(text, str):
        raise TypeError("content is no text")
    finish = FINISH.get(str(choice.get("finish_reason")), "error")
    if message.get("refusal"):
        finish, text = "refused", str(message["refusal"])
    text = text or ""
    detail = "" if finish != "error" else f"finish_reason {choice.get('finish_reason')}"
    if finish == "stop" and not text.strip():
        finish = "empty"
    if request.choices and finish == "stop":
        text = _chosen(text, request.choices)
        if text not in request.choices:
            finish, detail = "error", "outside_the_choices"
    if finish == "empty" and (message.get("reasoning_content") or message.get("reasoning")):
        detail = "only reasoning was written; raise max_tokens"
    return Completion(text, finish, _usage(value), str(value.get("model", "")), seconds, detail)


def _chosen(text: str, choices: tuple[str, ...]) -> str:
    """The choice that a text names: as it stands, in JSON, or but for blanks, quotes and case."""
    with contextlib.suppress(ValueError, KeyError, TypeError):
        text = str(json.loads(text)["answer"])
    if text in choices:
        return text
    bare = text.strip(AROUND).casefold()
    named = [choice for choice in choices if choice.strip(AROUND).casefold() == bare]
    return named[0] if len(named) == 1 else text


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
    good = isinstance(value, int) and not isinstance(value, bool) and value >= 0
    return value if good else None


def _by_status(error: Any, place: str, quoted: Callable[[bytes], str]) -> ProviderError:
    """One table from HTTP status to what it means for the run."""
    status = int(error.status_code)
    body = error.body if isinstance(error.body, dict) else {}
    code = quoted(str(body.get("code") or body.get("type") or "").encode(errors="replace"))
    said = f'"{place}" answered {status}'
    said += f" ({code})." if code.replace("_", "").isalnum() and len(code) < 60 else "."
    if status == 402 or (status == 429 and "quota" in code):
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
    words = quoted(str(body.get("message") or "").encode(errors="replace"))
    hint = f"It says: {words!r}" if words else ""
    return RowProviderError(said, hint, reason=ROW_REASONS.get(code, f"http_{status}"))


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


def _check_address(url: str) -> None:
    """Refuse what is no address, without showing a password that may stand in it."""
    try:
        parts = urlsplit(url)
        whole = parts.scheme in ("http", "https") and parts.hostname and parts.port != 0
    except ValueError:
        whole = False
    if not whole:
        shown = url.rpartition("@")[2].partition("?")[0]
        raise SettingsError(
            f'large.base_url: "{shown}" is no address.', "It looks like this: https://host/v1"
        )


def without_secrets(url: str) -> str:
    """The address without user name, password, query or fragment."""
    parts = urlsplit(url)
    host = parts.hostname or ""
    host = f"[{host}]" if ":" in host else host
    place = f"{host}:{parts.port}" if parts.port else host
    return urlunsplit((parts.scheme, place, parts.path.rstrip("/"), "", ""))

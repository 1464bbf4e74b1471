"""Anthropic's Messages API. One attempt a call, as for every provider.

Its present version (2026-10-21) takes no temperature, top_p or seed at all: none is sent, and
`temperature: 0` is not greedy there. What all rows share is marked, so that its cache serves it.
"""

from __future__ import annotations

import json
from itertools import takewhile
from typing import Any, Literal

from pydantic import Field, model_validator

from fiatkit.models.protocol import BatchModel
from fiatkit.models.providers._anthropic_batches import AnthropicBatches
from fiatkit.models.providers._choices import OUTSIDE, chosen, schema
from fiatkit.models.providers._remote import Remote, check_address, count, revision, word
from fiatkit.models.providers._remote_model import RemoteModel
from fiatkit.records import Completion, Finish, Message, ModelIdentity, Request, Usage
from fiatkit.settings import Strict

REASONING_ROOM = 4096
FINISH: dict[str, Finish] = {
    "end_turn": "stop",
    "stop_sequence": "stop",
    "tool_use": "stop",
    "max_tokens": "length",
    "model_context_window_exceeded": "length",
    "refusal": "refused",
}


class Settings(Strict):
    """Keys of `large:` in a run file for this provider.

    Attributes:
        model: Anthropic's name of the model.
        base_url: the endpoint, without a version.
        api_key_env: name of the environment variable that holds the key.
        endpoint: name of the endpoint in the store's keys, if it may move; default: base_url.
        revision: part of the store's key, for a model that changes under one name.
        concurrency: calls under way at once.
        timeout: seconds for one call as a whole.
        choices: how the model is held to a set of answers: "json_schema", "tool" (a tool that
            it must call, for older models; not while it thinks), or "none": only checked.
        thinking: "adaptive", "enabled" (older models; reasoning_tokens is its budget) or
            "disabled"; default: the model's own way. Part of the store's key.
        effort: how much effort the model makes; part of the store's key.
        reasoning_tokens: room for thinking beside the answer's max_tokens; part of the store's
            key. Default: 4096 where thinking is asked for, else 0.
        cache: how long the provider keeps what rows share; null: it is not marked.
    """

    provider: str = "anthropic"
    model: str
    base_url: str = "https://api.anthropic.com"
    api_key_env: str = "ANTHROPIC_API_KEY"
    endpoint: str = ""
    revision: str = ""
    concurrency: int = Field(default=8, ge=1, le=1024)
    timeout: float = Field(default=120.0, gt=0)
    choices: Literal["json_schema", "tool", "none"] = "json_schema"
    thinking: Literal["adaptive", "enabled", "disabled"] | None = None
    effort: Literal["low", "medium", "high", "xhigh", "max"] | None = None
    reasoning_tokens: int | None = Field(default=None, ge=0)
    cache: Literal["5m", "1h"] | None = "5m"

    @model_validator(mode="after")
    def _possible(self) -> Settings:
        if self.choices == "tool" and self.thinks:
            raise ValueError('choices: "tool" cannot be had while the model thinks')
        if self.thinking == "enabled" and self.room < 1024:
            raise ValueError("reasoning_tokens: a model that thinks needs at least 1024")
        return self

    @property
    def thinks(self) -> bool:
        """Whether thinking is asked for."""
        return self.thinking in ("adaptive", "enabled")

    @property
    def room(self) -> int:
        """Tokens beside the answer's for thinking."""
        if self.reasoning_tokens is not None:
            return self.reasoning_tokens
        return REASONING_ROOM if self.thinks else 0


def create(settings: Settings) -> Anthropic:
    """Make the model; nothing is sent yet."""
    return Anthropic(settings)


class Anthropic(RemoteModel):
    """The Messages API. Implements `ChatModel`."""

    answers_with = "a message"

    def __init__(self, settings: Settings) -> None:
        check_address(settings.base_url)
        remote = Remote("anthropic", settings.base_url, settings.api_key_env, settings.timeout)
        super().__init__(remote, settings.concurrency)
        self.settings = settings
        self.identity = ModelIdentity(
            "anthropic",
            settings.endpoint or remote.place,
            settings.model,
            revision(
                settings.revision,
                thinking=settings.thinking,
                effort=settings.effort,
                reasoning_tokens=settings.reasoning_tokens,
            ),
        )
        self._before: tuple[Message, ...] = ()

    def batches(self) -> BatchModel:
        """Anthropic's message batches."""
        return AnthropicBatches(self)

    def new_client(self) -> Any:
        """The SDK's client, and where `remote` posts to."""
        settings, remote = self.settings, self.remote
        client = remote.sdk.AsyncAnthropic(
            api_key=remote.key or "none",
            base_url=settings.base_url,
            max_retries=0,
            timeout=settings.timeout,
            open_telemetry=False,
            http_client=remote.http_client(self.slots),
        )
        remote.post_to(f"{settings.base_url.rstrip('/')}/v1/messages", client, {})
        return client

    def read(self, value: Any, request: Request, seconds: float) -> Completion:
        """The completion in a message."""
        return read(value, request, seconds)

    def body(self, request: Request) -> dict[str, Any]:
        """The request's JSON, the same for a single call and for one of a batch."""
        settings, sampling = self.settings, request.sampling
        blocks = self._blocks(request.messages)
        turns = zip(request.messages, blocks, strict=True)
        body: dict[str, Any] = {
            "model": settings.model,
            "max_tokens": sampling.max_tokens + settings.room,
            "messages": [{"role": m.role, "content": [b]} for m, b in turns if m.role != "system"],
        }
        system = [b for m, b in zip(request.messages, blocks, strict=True) if m.role == "system"]
        if system:
            body["system"] = system
        if sampling.stop:
            body["stop_sequences"] = list(sampling.stop)
        if settings.thinking:
            body["thinking"] = {"type": settings.thinking}
            if settings.thinks:
                body["thinking"]["display"] = "summarized"
            if settings.thinking == "enabled":
                body["thinking"]["budget_tokens"] = settings.room
        output: dict[str, Any] = {"effort": settings.effort} if settings.effort else {}
        if request.choices and settings.choices == "json_schema":
            output["format"] = {"type": "json_schema", "schema": schema(request.choices)}
        if output:
            body["output_config"] = output
        if request.choices and settings.choices == "tool":
            body["tools"] = [{"name": "answer", "input_schema": schema(request.choices)}]
            body["tool_choice"] = {
                "type": "tool",
                "name": "answer",
                "disable_parallel_tool_use": True,
            }
        return body

    def _blocks(self, messages: tuple[Message, ...]) -> list[dict[str, Any]]:
        """The texts, the last one that the request before had too marked as the end of a prefix."""
        before, self._before = self._before or messages, messages
        same = takewhile(lambda pair: pair[0] == pair[1], zip(messages, before, strict=False))
        shared = min(len(list(same)), len(messages) - 1)
        blocks: list[dict[str, Any]] = [{"type": "text", "text": m.content} for m in messages]
        if shared and self.settings.cache:
            blocks[shared - 1]["cache_control"] = {"type": "ephemeral", "ttl": self.settings.cache}
        return blocks


def read(value: Any, request: Request, seconds: float) -> Completion:
    """Read a message without trusting its shape.

    Raises:
        ValueError, KeyError, TypeError, AttributeError: it is no message.
    """
    if value["type"] != "message":
        raise ValueError("no message")
    blocks = value["content"]
    texts = [_text(block, "text") for block in blocks if block["type"] == "text"]
    tools = [json.dumps(block["input"]) for block in blocks if block["type"] == "tool_use"]
    thoughts = [_text(block, "thinking") for block in blocks if block["type"] == "thinking"]
    text, reasoning = "".join(texts or tools), "\n".join(filter(None, thoughts))
    why = value["stop_reason"]
    finish: Finish = FINISH.get(str(why), "error")
    detail = (
        "" if finish in ("stop", "length") and why != "model_context_window_exceeded" else word(why)
    )
    if finish == "stop" and not text.strip():
        finish = "empty"
    if finish == "refused":
        told = value.get("stop_details")
        text = text or str((told or {}).get("explanation") or "")
    if request.choices and finish == "stop":
        named = chosen(text, request.choices)
        if named is None:
            finish, detail = "error", OUTSIDE
        text = text if named is None else named
    if not text.strip() and finish == "length" and why == "max_tokens":
        detail = "only thinking was written; raise large.reasoning_tokens or max_tokens"
    usage = _usage(value.get("usage"))
    return Completion(text, finish, usage, word(value.get("model", "")), seconds, detail, reasoning)


def _text(block: dict[str, Any], name: str) -> str:
    if not isinstance(block[name], str):
        raise TypeError(f"{name} is no text")
    return str(block[name])


def _usage(told: Any) -> Usage:
    """Tokens. Anthropic counts what its cache served, or took in, beside `input_tokens`."""
    if not isinstance(told, dict):
        return Usage()
    fresh, read_, written = (
        count(told.get(name))
        for name in ("input_tokens", "cache_read_input_tokens", "cache_creation_input_tokens")
    )
    prompt = None if fresh is None else fresh + (read_ or 0) + (written or 0)
    details = told.get("output_tokens_details")
    thinking = count(details.get("thinking_tokens")) if isinstance(details, dict) else None
    kinds = told.get("cache_creation")
    hour = count(kinds.get("ephemeral_1h_input_tokens")) if isinstance(kinds, dict) else None
    return Usage(prompt, count(told.get("output_tokens")), read_, thinking, written, hour)

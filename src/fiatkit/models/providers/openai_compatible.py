"""Any OpenAI-compatible endpoint: OpenAI, Azure, vLLM, llama.cpp's server, Ollama, gateways.

One attempt a call: the SDK's own retries are off, so that each attempt on the wire is one that
the ledger knows. The key comes from the environment and is never part of a message.
"""

from __future__ import annotations

import re
from typing import Any
from urllib.parse import quote

from pydantic import Field

from fiatkit.errors import SettingsError, UsageError
from fiatkit.models.protocol import BatchModel
from fiatkit.models.providers._choices import OUTSIDE, chosen
from fiatkit.models.providers._flavours import (
    FLAVOURS,
    Effort,
    Flavour,
    Manner,
    Manners,
    Name,
    recognised,
)
from fiatkit.models.providers._openai_batches import OpenAIBatches
from fiatkit.models.providers._remote import Remote, check_address, count, revision, word
from fiatkit.models.providers._remote_model import RemoteModel
from fiatkit.records import Completion, Finish, ModelIdentity, Request, Usage
from fiatkit.settings import Strict

REASONING_ROOM = 4096
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
        flavour: whose server it is, where base_url does not tell (vllm and llama_cpp).
        api_version: Azure's, for a base_url that ends in /openai instead of /openai/v1.
        api_key_env: name of the environment variable that holds the key; default: by flavour.
        endpoint: name of the endpoint in the store's keys, if it may move; default: base_url.
        revision: part of the store's key, for a model that changes under one name.
        concurrency: calls under way at once.
        timeout: seconds for one call as a whole.
        choices: how the server is held to a set of answers: "json_schema" (OpenAI's
            response_format, which most servers know), "vllm" (its structured_outputs),
            "llama_cpp" (a grammar), or "none": the answer is only checked. Default: by flavour.
        reasoning: whether the model is one of OpenAI's reasoning models, which refuse
            temperature, seed and stop; default: by its name.
        reasoning_effort: how much it reasons in secret; part of the store's key.
        reasoning_tokens: room for hidden reasoning beside the answer's max_tokens; part of the
            store's key. Default: 4096 for such a model, else 0.
        logprobs: ask for the log-probabilities of the answer's tokens.
    """

    provider: str = "openai_compatible"
    model: str
    base_url: str = "https://api.openai.com/v1"
    flavour: Name | None = None
    api_version: str = ""
    api_key_env: str = ""
    endpoint: str = ""
    revision: str = ""
    concurrency: int = Field(default=8, ge=1, le=1024)
    timeout: float = Field(default=120.0, gt=0)
    choices: Manner | None = None
    reasoning: bool | None = None
    reasoning_effort: Effort | None = None
    reasoning_tokens: int | None = Field(default=None, ge=0)
    logprobs: bool = False


def create(settings: Settings) -> OpenAICompatible:
    """Make the model; nothing is sent yet."""
    return OpenAICompatible(settings)


class OpenAICompatible(RemoteModel):
    """A chat-completions endpoint. Implements `ChatModel`."""

    answers_with = "a chat completion"

    def __init__(self, settings: Settings) -> None:
        check_address(settings.base_url)
        self.manners = _manners(settings)
        key_env = settings.api_key_env or self.manners.flavour.key_env
        remote = Remote("openai", settings.base_url, key_env, settings.timeout)
        super().__init__(remote, settings.concurrency)
        self.settings = settings
        self.identity = ModelIdentity(
            "openai_compatible",
            settings.endpoint or remote.place,
            settings.model,
            revision(
                settings.revision,
                effort=settings.reasoning_effort,
                reasoning_tokens=settings.reasoning_tokens,
            ),
        )

    def body(self, request: Request) -> dict[str, Any]:
        """The request's JSON, the same for a single call and for one of a batch."""
        return self.manners.body(request)

    def read(self, value: Any, request: Request, seconds: float) -> Completion:
        """The completion in a chat completion."""
        return read(value, request, self.manners.flavour, seconds)

    def batches(self) -> BatchModel:
        """OpenAI's batches. Raises UsageError where this flavour has none."""
        if not self.manners.flavour.batches:
            raise UsageError(
                f'The flavour "{self.manners.name}" has no batches.',
                "Leave --batch and large.batch out; OpenAI, Azure and Anthropic have batches.",
            )
        return OpenAIBatches(self)

    def new_client(self) -> Any:
        """The SDK's client, and where `remote` posts to."""
        settings, remote = self.settings, self.remote
        sdk = remote.sdk
        common = {
            "api_key": remote.key or "none",
            "base_url": settings.base_url,
            "max_retries": 0,
            "timeout": settings.timeout,
            "http_client": remote.http_client(self.slots),
        }
        base = settings.base_url.rstrip("/")
        if not settings.api_version:
            client = sdk.AsyncOpenAI(**common)
            remote.post_to(f"{base}/chat/completions", client, {})
            return client
        version = {"api-version": settings.api_version}
        client = sdk.AsyncAzureOpenAI(**common, api_version=settings.api_version)
        if "/deployments" not in base:
            base += f"/deployments/{quote(settings.model, safe='')}"
        remote.post_to(f"{base}/chat/completions", client, version, api_key=common["api_key"])
        return client


def _manners(settings: Settings) -> Manners:
    """The table's row for these settings, with what the user settled in it."""
    name = settings.flavour or recognised(settings.base_url)
    flavour = FLAVOURS[name]
    by_name = bool(flavour.reasoners and re.search(flavour.reasoners, settings.model))
    reasons = by_name if settings.reasoning is None else settings.reasoning
    room = settings.reasoning_tokens
    manners = Manners(
        flavour,
        name,
        settings.model,
        settings.choices or flavour.choices,
        reasons,
        settings.reasoning_effort,
        (REASONING_ROOM if reasons else 0) if room is None else room,
        settings.logprobs,
    )
    if settings.logprobs and not (flavour.logprobs and manners.sampled):
        who = f'"{settings.model}"' if flavour.logprobs else f'the flavour "{name}"'
        raise SettingsError(
            f"large.logprobs: {who} gives no log-probabilities.", "Leave large.logprobs out."
        )
    if settings.api_version and name != "azure":
        raise SettingsError(
            f'large.api_version is Azure\'s, but the flavour is "{name}".',
            "Set large.flavour: azure, or leave large.api_version out.",
        )
    return manners


def read(value: Any, request: Request, flavour: Flavour, seconds: float) -> Completion:
    """Read an answer without trusting its shape.

    Raises:
        ValueError, KeyError, IndexError, TypeError, AttributeError: it is no chat completion.
    """
    choice, more = value["choices"][0], len(value["choices"]) - 1
    message = choice["message"]
    text = message.get("content")
    if text is not None and not isinstance(text, str):
        raise TypeError("content is no text")
    if choice.get("error"):
        raise ValueError("a gateway's error in the place of an answer")
    text, reasoning = _apart(text or "", message, flavour)
    finish = FINISH.get(str(choice.get("finish_reason")), "error")
    detail = "" if finish != "error" else f"finish_reason {word(choice.get('finish_reason'))}"
    if message.get("refusal"):
        finish, text = "refused", str(message["refusal"])
    text, finish = _cut(text, request.sampling.stop, finish)
    if finish == "stop" and not text.strip():
        finish = "empty"
    if request.choices and finish == "stop":
        named = chosen(text, request.choices)
        if named is None:
            finish, detail = "error", OUTSIDE
        text = text if named is None else named
    if reasoning and not text.strip() and finish in ("empty", "length"):
        detail = "only reasoning was written; raise large.reasoning_tokens or max_tokens"
    if more and not detail:
        detail = f"{more} more choices than asked for were ignored"
    model = word(value.get("model", ""))
    usage = _usage(value, flavour)
    return Completion(text, finish, usage, model, seconds, detail, reasoning, _logprobs(choice))


def _apart(text: str, message: dict[str, Any], flavour: Flavour) -> tuple[str, str]:
    """The answer, and the hidden reasoning: from its own field, or from the head of the text."""
    for field in flavour.hidden:
        if isinstance(message.get(field), str) and message[field]:
            return text, message[field]
    opening, closing = flavour.tags
    head = text.lstrip()
    if not head.startswith(opening):
        return text, ""
    reasoning, _, rest = head[len(opening) :].partition(closing)
    return rest.lstrip(), reasoning.strip()


def _cut(text: str, stops: tuple[str, ...], finish: Finish) -> tuple[str, Finish]:
    """Cut the answer at the first stop text, for servers that take none or only some of them."""
    places = [text.find(stop) for stop in stops if stop and stop in text]
    if not places or finish not in ("stop", "length"):
        return text, finish
    return text[: min(places)], "stop"


def _logprobs(choice: dict[str, Any]) -> tuple[tuple[str, float], ...]:
    """The written tokens with their log-probabilities; nothing where the server tells none."""
    told = choice.get("logprobs")
    tokens = told.get("content") if isinstance(told, dict) else None
    return tuple(
        (str(token.get("token")), float(token["logprob"]))
        for token in (tokens if isinstance(tokens, list) else ())
        if isinstance(token, dict) and isinstance(token.get("logprob"), int | float)
    )


def _usage(value: dict[str, Any], flavour: Flavour) -> Usage:
    usage = value.get("usage")
    if not isinstance(usage, dict):
        return Usage()

    def detail(group: str, name: str) -> int | None:
        details = usage.get(group)
        return count(details.get(name)) if isinstance(details, dict) else None

    prompt, completion = count(usage.get("prompt_tokens")), count(usage.get("completion_tokens"))
    cached = detail("prompt_tokens_details", "cached_tokens")
    reasoning = detail("completion_tokens_details", "reasoning_tokens")
    total = count(usage.get("total_tokens"))
    if flavour.counted_apart and None not in (total, prompt, completion):
        assert total is not None and prompt is not None and completion is not None
        hidden = max(0, total - prompt - completion)
        completion, reasoning = completion + hidden, max(reasoning or 0, hidden)
    return Usage(prompt, completion, cached, reasoning)

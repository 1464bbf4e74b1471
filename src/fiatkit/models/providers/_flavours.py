"""Servers that speak OpenAI's chat completions, and how they differ: one table.

Checked against the openai SDK 3.54 and the servers' own documentation, November 2026. A server
that is not in the table is "other", which asks for nothing that only some servers know.
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from typing import Any, Literal
from urllib.parse import urlsplit

from fiatkit.models.providers._choices import schema
from fiatkit.models.providers._grammar import grammar
from fiatkit.records import Request

Name = Literal[
    "openai", "azure", "vllm", "llama_cpp", "ollama", "openrouter", "gemini", "other"
]  # fmt: skip
Manner = Literal["json_schema", "vllm", "llama_cpp", "none"]
Effort = Literal["none", "minimal", "low", "medium", "high", "xhigh", "max"]
THINK = ("<think>", "</think>")


@dataclass(frozen=True, slots=True)
class Flavour:
    """One server's ways.

    Attributes:
        hosts: expression for the hosts of base_url by which it is recognised; "" for none.
        key_env: the environment variable that holds the key, if the user names no other.
        limit: the field that bounds the answer. OpenAI's reasoning models refuse `max_tokens`;
            their limit counts hidden reasoning too.
        seed: whether a seed may be sent. Gemini's endpoint refuses fields that it does not know.
        stops: how many stop texts may be sent; the answer is cut at the others here.
        choices: how it is held to a set of answers.
        effort: where the reasoning effort goes: a field, OpenRouter's object, the chat template's
            arguments, or field and template.
        logprobs: whether it tells log-probabilities (all that do use OpenAI's shape).
        hidden: fields of the message that may hold hidden reasoning, the present name first.
        tags: what surrounds hidden reasoning that a server leaves at the head of the text.
        counted_apart: hidden tokens are in `total_tokens` but not in `completion_tokens`.
        batches: whether it has OpenAI's files and batches.
        reasoners: expression for names of reasoning models that refuse sampling parameters,
            stop texts and log-probabilities; "" where the server itself drops them.
    """

    hosts: str
    key_env: str
    limit: Literal["max_tokens", "max_completion_tokens"] = "max_tokens"
    seed: bool = True
    stops: int = 16
    choices: Manner = "json_schema"
    effort: Literal["field", "object", "template", "both"] = "field"
    logprobs: bool = True
    hidden: tuple[str, ...] = ("reasoning", "reasoning_content")
    tags: tuple[str, str] = THINK
    counted_apart: bool = False
    batches: bool = False
    reasoners: str = ""


OPENAI = r"(^|/|:)(o[1-9]|gpt-[5-9])(?!.*-chat)"
FLAVOURS: dict[Name, Flavour] = {
    "openai": Flavour(
        r"(^|\.)api\.openai\.com$", "OPENAI_API_KEY", "max_completion_tokens", stops=4,
        hidden=(), batches=True, reasoners=OPENAI,
    ),
    "azure": Flavour(
        r"\.(openai|cognitiveservices|services\.ai)\.azure\.(com|us|cn)$", "AZURE_OPENAI_API_KEY",
        "max_completion_tokens", stops=4, hidden=(), batches=True, reasoners=OPENAI,
    ),
    "vllm": Flavour("", "VLLM_API_KEY", choices="vllm", effort="both"),
    "llama_cpp": Flavour("", "LLAMA_API_KEY", choices="llama_cpp", effort="template",
                         hidden=("reasoning_content",)),
    "ollama": Flavour(r"(^|\.)ollama\.com$", "OLLAMA_API_KEY", hidden=("reasoning", "thinking")),
    "openrouter": Flavour(r"(^|\.)openrouter\.ai$", "OPENROUTER_API_KEY", stops=4,
                          effort="object", hidden=("reasoning",)),
    "gemini": Flavour(
        r"^generativelanguage\.googleapis\.com$", "GEMINI_API_KEY", seed=False, stops=5,
        logprobs=False, hidden=(), tags=("<thought>", "</thought>"), counted_apart=True,
    ),
    "other": Flavour("", "OPENAI_API_KEY", stops=4),
}  # fmt: skip
OLLAMA_PORT = 11434


def recognised(base_url: str) -> Name:
    """The flavour of an address: by its host, and Ollama by its port; else "other"."""
    parts = urlsplit(base_url)
    host = parts.hostname or ""
    for name, flavour in FLAVOURS.items():
        if flavour.hosts and re.search(flavour.hosts, host):
            return name
    return "ollama" if parts.port == OLLAMA_PORT else "other"


@dataclass(frozen=True, slots=True)
class Manners:
    """A flavour with what the user settled: all that decides how a request is written.

    Attributes:
        reasons: the model is one that refuses sampling parameters.
        room: tokens beside the answer's for hidden reasoning.
    """

    flavour: Flavour
    name: Name
    model: str
    choices: Manner
    reasons: bool
    effort: Effort | None
    room: int
    logprobs: bool

    @property
    def sampled(self) -> bool:
        """Whether temperature, seed, stop texts and log-probabilities may be asked for."""
        return not self.reasons or self.effort == "none"

    def body(self, request: Request) -> dict[str, Any]:
        """The request's JSON, the same for a single call and for a line of a batch."""
        sampling, flavour = request.sampling, self.flavour
        body: dict[str, Any] = {
            "model": self.model,
            "messages": [{"role": m.role, "content": m.content} for m in request.messages],
            flavour.limit: sampling.max_tokens + self.room,
        }
        if self.sampled:
            body["temperature"] = sampling.temperature
            if sampling.temperature:
                body["top_p"] = sampling.top_p
                if flavour.seed:
                    body["seed"] = sampling.seed + request.sample
            if sampling.stop:
                body["stop"] = list(sampling.stop)[: flavour.stops]
            if self.logprobs:
                body["logprobs"] = True
        if self.effort:
            body |= self._effort(self.effort)
        return body | self._held_to(request.choices)

    def _effort(self, effort: Effort) -> dict[str, Any]:
        where = self.flavour.effort
        if where == "object":
            return {"reasoning": {"effort": effort}}
        template = {"enable_thinking": effort != "none", "reasoning_effort": effort}
        field = {} if where == "template" else {"reasoning_effort": effort}
        return field if where == "field" else {**field, "chat_template_kwargs": template}

    def _held_to(self, choices: tuple[str, ...]) -> dict[str, Any]:
        """What holds a server to a set of answers, in the words that it knows."""
        if not choices or self.choices == "none":
            return {}
        if self.choices == "vllm":
            return {"structured_outputs": {"choice": list(choices)}}
        if self.choices == "llama_cpp":
            return {"grammar": grammar(choices)}
        named = {"name": "answer", "strict": True, "schema": schema(choices)}
        held: dict[str, Any] = {"response_format": {"type": "json_schema", "json_schema": named}}
        if self.name == "openrouter":  # else it may choose a provider that ignores the schema
            held["provider"] = {"require_parameters": True}
        return held

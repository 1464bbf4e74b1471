"""Servers as the real ones behave: each refuses what the real one refuses, and answers its way.

`SPOKEN` holds one for each row of the table of flavours, and Anthropic's. Each answers what it is
asked with "It is warm. Answer: warm", or with the last of the choices that it is held to.
"""

import json
from dataclasses import dataclass, field
from typing import Any

TEXT = "It is warm. Answer: warm"
THOUGHT = "Thirty degrees is warm."
PLAIN = {"model", "messages", "max_tokens", "temperature", "top_p", "seed", "stop"}
SAMPLING = {"temperature", "top_p", "seed", "stop", "logprobs", "top_logprobs"}
Answer = tuple[int, Any]


@dataclass(frozen=True)
class Spoken:
    """One server: what it is called in a run file, and how it answers."""

    settings: dict[str, Any]
    known: set[str]
    path: str = "/v1/chat/completions"
    key_header: str = "authorization"
    hidden: str = ""
    around: tuple[str, str] = ("", "")
    most_stops: int = 100
    usage: dict[str, Any] = field(default_factory=dict)
    error_in_list: bool = False
    reasons: bool = False

    def refuse(self, message: str, code: str = "invalid_request_error") -> Answer:
        error = {"error": {"message": message, "code": code, "status": "INVALID_ARGUMENT"}}
        return 400, [error] if self.error_in_list else error

    def __call__(self, receipt: dict[str, Any]) -> Answer:
        body = receipt["body"]
        if receipt["path"].partition("?")[0] != self.path:
            return 404, {"error": {"message": "no such path"}}
        if "sk-canary" not in receipt["headers"].get(self.key_header, ""):
            return 401, {"error": {"message": "no key"}}
        for name in body:
            if name not in self.known:
                return self.refuse(f'Unknown name "{name}": Cannot find field.', "unknown")
        if self.reasons and body.get("reasoning_effort") != "none":
            for name in SAMPLING & body.keys():
                return self.refuse(f"Unsupported parameter: '{name}'", "unsupported_parameter")
        if len(body.get("stop", [])) > self.most_stops:
            return self.refuse("too many stop sequences")
        return 200, self.answer(body)

    def answer(self, body: dict[str, Any]) -> dict[str, Any]:
        choice: dict[str, Any] = {"index": 0, "finish_reason": "stop"}
        message = {
            "role": "assistant",
            "content": self.around[0] + self.text(body) + self.around[1],
        }
        if self.hidden:
            message[self.hidden] = THOUGHT
        if body.get("logprobs"):
            tokens = [{"token": "It", "logprob": -0.5}, {"token": " is", "logprob": -0.25}]
            choice["logprobs"] = {"content": tokens}
        usage = {"prompt_tokens": 20, "completion_tokens": 9, "total_tokens": 29} | self.usage
        return {"model": "m-1", "choices": [choice | {"message": message}], "usage": usage}

    def text(self, body: dict[str, Any]) -> str:
        if "response_format" in body:
            schema = body["response_format"]["json_schema"]["schema"]
            return json.dumps({"answer": schema["properties"]["answer"]["enum"][-1]})
        if "structured_outputs" in body:
            return str(body["structured_outputs"]["choice"][-1])
        if "grammar" in body:
            return str(body["grammar"].rpartition("| ")[2].strip('"'))
        return TEXT


@dataclass(frozen=True)
class SpokenByAnthropic(Spoken):
    """The Messages API, version 2026-10-21."""

    def __call__(self, receipt: dict[str, Any]) -> Answer:
        if receipt["headers"].get("anthropic-version") != "2026-10-21":
            return self.refuse("anthropic-version: not the one that this test knows")
        return super().__call__(receipt)

    def answer(self, body: dict[str, Any]) -> dict[str, Any]:
        blocks: list[dict[str, Any]] = [{"type": "text", "text": TEXT}]
        if "output_config" in body and "format" in body["output_config"]:
            enum = body["output_config"]["format"]["schema"]["properties"]["answer"]["enum"]
            blocks = [{"type": "text", "text": json.dumps({"answer": enum[-1]})}]
        why = "end_turn"
        if "tool_choice" in body:
            enum = body["tools"][0]["input_schema"]["properties"]["answer"]["enum"]
            blocks = [
                {"type": "tool_use", "id": "t", "name": "answer", "input": {"answer": enum[-1]}}
            ]
            why = "tool_use"
        if body.get("thinking", {}).get("type") in ("adaptive", "enabled"):
            shown = body["thinking"].get("display") == "summarized"
            thought = {"type": "thinking", "thinking": THOUGHT if shown else "", "signature": "s"}
            blocks.insert(0, thought)
        usage = {
            "input_tokens": 5,
            "cache_read_input_tokens": 12,
            "cache_creation_input_tokens": 3,
            "output_tokens": 9,
            "output_tokens_details": {"thinking_tokens": 4},
        }
        return {
            "id": "msg_1",
            "type": "message",
            "role": "assistant",
            "model": "m-1",
            "content": blocks,
            "stop_reason": why,
            "usage": usage,
        }


def details(cached: int | None = None, hidden: int | None = None) -> dict[str, Any]:
    found: dict[str, Any] = {}
    if cached is not None:
        found["prompt_tokens_details"] = {"cached_tokens": cached}
    if hidden is not None:
        found["completion_tokens_details"] = {"reasoning_tokens": hidden}
    return found


NEW_LIMIT = PLAIN - {"max_tokens"} | {"max_completion_tokens", "response_format", "logprobs"}
EFFORT = {"reasoning_effort"}
SPOKEN: dict[str, Spoken] = {
    "openai": Spoken(
        {"flavour": "openai", "model": "gpt-4.1"}, NEW_LIMIT | EFFORT, most_stops=4, usage=details(12, 0)
    ),
    "openai, a reasoning model": Spoken(
        {"flavour": "openai", "model": "gpt-6-astra"}, NEW_LIMIT | EFFORT, reasons=True,
        usage=details(12, 4),
    ),
    "azure": Spoken(
        {"flavour": "azure", "model": "gpt-4.1", "api_version": "2026-10-01-preview"},
        NEW_LIMIT | EFFORT, path="/openai/deployments/gpt-4.1/chat/completions",
        key_header="api-key", most_stops=4, usage=details(12, 0),
    ),
    "azure, its version 1": Spoken(
        {"flavour": "azure", "model": "mine", "reasoning": True}, NEW_LIMIT | EFFORT,
        path="/openai/v1/chat/completions", reasons=True, usage=details(12, 4),
    ),
    "vllm": Spoken(
        {"flavour": "vllm"}, PLAIN | EFFORT | {"structured_outputs", "logprobs", "chat_template_kwargs"},
        hidden="reasoning",
    ),
    "vllm before its field was renamed": Spoken(
        {"flavour": "vllm"}, PLAIN | {"structured_outputs"}, hidden="reasoning_content"
    ),
    "vllm without a reasoning parser": Spoken(
        {"flavour": "vllm"}, PLAIN | {"structured_outputs"},
        around=(f"<think>\n{THOUGHT}\n</think>\n\n", ""),
    ),
    "llama_cpp": Spoken(
        {"flavour": "llama_cpp"}, PLAIN | {"grammar", "logprobs", "chat_template_kwargs"},
        hidden="reasoning_content", usage=details(12),
    ),
    "ollama": Spoken(
        {"flavour": "ollama"}, PLAIN | EFFORT | {"response_format", "logprobs"}, hidden="reasoning"
    ),
    "openrouter": Spoken(
        {"flavour": "openrouter"},
        PLAIN | {"response_format", "logprobs", "provider", "reasoning"}, most_stops=4,
        hidden="reasoning", usage=details(12, 4) | {"cost": 0.001},
    ),
    "gemini": Spoken(
        {"flavour": "gemini"}, PLAIN - {"seed"} | EFFORT | {"response_format"}, most_stops=5,
        path="/v1beta/openai/chat/completions", around=(f"<thought>{THOUGHT}</thought>", ""),
        usage={"total_tokens": 33, "completion_tokens": 5}, error_in_list=True,
    ),
    "other": Spoken({}, PLAIN | {"response_format", "logprobs"}, usage=details(12, 0)),
    "anthropic": SpokenByAnthropic(
        {"provider": "anthropic"},
        {"model", "max_tokens", "messages", "system", "stop_sequences", "thinking", "output_config",
         "tools", "tool_choice"},
        path="/v1/messages",
    ),
}  # fmt: skip


def settings_for(name: str, url: str) -> dict[str, Any]:
    """The `large:` block for a server of SPOKEN at this loopback address (without a path)."""
    spoken = SPOKEN[name]
    values = {"provider": "openai_compatible", "model": "m"} | spoken.settings
    base = spoken.path.partition("/deployments/")[0].removesuffix("/chat/completions")
    if values["provider"] == "anthropic":
        base = ""
    return values | {"base_url": url + base, "api_key_env": "CANARY_KEY"}

"""What servers really answer when they do not answer, and what a run makes of it.

Each row is an answer as its server sends it, shortened, with where that can be read: the issue
threads named, or the provider's own list of errors (OpenAI: guides/error-codes, Anthropic:
api/errors, OpenRouter: api/reference/errors-and-debugging, Gemini: api/troubleshooting).
"""

from typing import Any

import pytest

from fiatkit.errors import (
    FatalProviderError,
    ProviderError,
    RowProviderError,
    TransientProviderError,
)
from fiatkit.models.providers._statuses import by_status

KINDS: dict[str, tuple[type[ProviderError], bool]] = {
    "retry": (TransientProviderError, False),  # certainly not billed
    "pause": (TransientProviderError, False),  # a rate limit: everyone waits
    "ambiguous": (TransientProviderError, True),  # tried again, possibly billed
    "fatal": (FatalProviderError, False),
    "row": (RowProviderError, False),
}


def openai(code: str | None, message: str, type_: str | None = None) -> dict[str, Any]:
    return {"error": {"message": message, "type": type_, "param": None, "code": code}}


def anthropic(type_: str, message: str) -> dict[str, Any]:
    return {"type": "error", "error": {"type": type_, "message": message}, "request_id": "req_1"}


def gemini(code: int, status: str, message: str) -> list[dict[str, Any]]:
    return [{"error": {"code": code, "message": message, "status": status}}]


def llama(code: int, type_: str, message: str) -> dict[str, Any]:
    return {"error": {"code": code, "message": message, "type": type_}}


INVALID, BAD = "invalid_request_error", "BadRequestError"
LONG = "This model's maximum context length is 16384 tokens. However, you requested 122946 tokens."
FILTER = "The response was filtered due to the prompt triggering Azure OpenAI's content policy."
FLAGGED = "Invalid prompt: your prompt was flagged as potentially violating our usage policy."
LARGE = "Request too large for gpt-4o on tokens per min (TPM): Limit 30000, Requested 36278."
LIMIT = "Rate limit reached for gpt-4o on tokens per min (TPM): Limit 30000. Try again in 18.642s."
CREDITS = "This request requires more credits, or fewer max_tokens."
PRICING = "Requests have exceeded token rate limit of your current pricing tier. Retry after 6 s."

ROWS: list[tuple[str, int, Any, str, str]] = [
    # OpenAI
    ("openai", 401, openai("invalid_api_key", "Incorrect API key provided"), "fatal", "auth"),
    ("openai", 403, openai("unsupported_country_region_territory", "No"), "fatal", "auth"),
    ("openai", 404, openai("model_not_found", "It does not exist"), "fatal", "not_found"),
    ("openai", 400, openai("context_length_exceeded", LONG, INVALID), "row", "too_long"),
    ("openai", 400, openai("string_above_max_length", "string too long"), "row", "too_long"),
    ("openai", 400, openai("unsupported_parameter", "'max_tokens'"), "fatal", "unsupported"),
    ("openai", 400, openai("unsupported_value", "'temperature'"), "fatal", "unsupported"),
    # big-AGI #712, pal-mcp-server #178
    ("openai", 400, openai("invalid_prompt", FLAGGED, INVALID), "row", "refused"),
    ("openai", 400, openai("content_policy_violation", "No"), "row", "refused"),
    # aider #1880: such a row never fits, however long one waits
    ("openai", 429, openai("rate_limit_exceeded", LARGE, "tokens"), "row", "too_long"),
    # codel #72
    ("openai", 429, openai("rate_limit_exceeded", LIMIT, "tokens"), "pause", "rate_limit"),
    # extended_openai_conversation #147
    ("openai", 429, openai("insufficient_quota", "quota", "insufficient_quota"), "fatal", "quota"),
    ("openai", 429, openai("billing_not_active", "Not active"), "fatal", "quota"),
    # acode-plugin-chatgpt #19
    ("openai", 400, openai("billing_hard_limit_reached", "Limit reached"), "fatal", "quota"),
    ("openai", 409, openai(None, "Conflict"), "ambiguous", "http_409"),
    ("openai", 500, openai(None, "The server had an error", "server_error"), "retry", "http_500"),
    ("openai", 503, openai(None, "That model is overloaded"), "retry", "http_503"),
    # Azure: helm #3327, compl-ai #20
    ("azure", 400, openai("content_filter", FILTER), "row", "refused"),
    # TinyLLM #17
    ("azure", 429, {"error": {"code": "429", "message": PRICING}}, "pause", "rate_limit"),
    ("azure", 404, {"error": {"code": "DeploymentNotFound", "message": "No"}}, "fatal",
     "not_found"),
    # chat.md #2
    ("azure", 404, {"error": {"code": "404", "message": "Resource not found"}}, "fatal",
     "not_found"),
    ("azure", 401, {"error": {"code": "401", "message": "Access denied"}}, "fatal", "auth"),
    ("azure", 408, {"error": {"code": "Timeout", "message": "It timed out."}}, "ambiguous",
     "http_408"),
    # Anthropic
    ("anthropic", 400, anthropic(INVALID, "prompt is too long: 208310 tokens"), "row", "too_long"),
    # claude-code #66297
    ("anthropic", 400, anthropic(INVALID, "Your credit balance is too low to access"), "fatal",
     "quota"),
    ("anthropic", 400, anthropic(INVALID, "messages: roles must alternate"), "row", "http_400"),
    ("anthropic", 401, anthropic("authentication_error", "invalid key"), "fatal", "auth"),
    ("anthropic", 402, anthropic("billing_error", "Payment"), "fatal", "quota"),
    ("anthropic", 403, anthropic("permission_error", "Not allowed"), "fatal", "auth"),
    ("anthropic", 404, anthropic("not_found_error", "model: x"), "fatal", "not_found"),
    ("anthropic", 413, anthropic("request_too_large", "More than 32 MB"), "row", "too_long"),
    ("anthropic", 429, anthropic("rate_limit_error", "Too many"), "pause", "rate_limit"),
    ("anthropic", 500, anthropic("api_error", "Internal server error"), "retry", "http_500"),
    ("anthropic", 504, anthropic("timeout_error", "Timed out"), "ambiguous", "http_504"),
    # claude-code #35792
    ("anthropic", 529, anthropic("overloaded_error", "Overloaded"), "retry", "http_529"),
    # vLLM #20409: its error stands alone, with the status as its code
    ("vllm", 400, {"object": "error", "message": LONG, "type": BAD, "code": 400}, "row",
     "too_long"),
    ("vllm", 404, {"object": "error", "message": "The model `x` does not exist.", "code": 404},
     "fatal", "not_found"),
    ("vllm", 401, {"error": "Unauthorized"}, "fatal", "auth"),
    ("vllm", 422, {"detail": [{"msg": "Field required"}]}, "row", "http_422"),
    # llama.cpp #15780, #19774: the same overflow comes in two shapes and with two statuses
    ("llama_cpp", 400, llama(400, "exceed_context_size_error", "exceeds"), "row", "too_long"),
    ("llama_cpp", 500, llama(500, "exceed_context_size_error", "exceeds"), "row", "too_long"),
    ("llama_cpp", 500, llama(500, "server_error", "Context size has been exceeded."), "row",
     "too_long"),
    ("llama_cpp", 503, llama(503, "unavailable_error", "Loading model"), "retry", "http_503"),
    ("llama_cpp", 401, llama(401, "authentication_error", "Invalid API Key"), "fatal", "auth"),
    # Ollama: QAnything #555, Automated-AI-Web-Researcher #42
    ("ollama", 404, openai(None, 'model "x" not found, try pulling it first', "api_error"),
     "fatal", "not_found"),
    ("ollama", 404, {"error": "model 'x' not found"}, "fatal", "not_found"),
    # ollama #4144, #15934
    ("ollama", 503, {"error": "server busy, please try again.  maximum pending requests"}, "retry",
     "http_503"),
    # continue #11478: it may fit once another model has been unloaded
    ("ollama", 500, {"error": "model requires more system memory (2.7 GiB)"}, "retry",
     "http_500"),
    # OpenRouter: continue #10298, free-claude-code #772
    ("openrouter", 402, {"error": {"message": CREDITS, "code": 402}}, "fatal", "quota"),
    # its list of errors: "your chosen model requires moderation and your input was flagged"
    ("openrouter", 403, {"error": {"code": 403, "message": "Input was flagged", "metadata": {
        "reasons": ["violence"], "flagged_input": "..."}}}, "row", "refused"),
    # coarse #183: the account's settings forbid the provider
    ("openrouter", 403, {"error": {"code": 403, "message": "a violation of provider Terms"}},
     "fatal", "auth"),
    ("openrouter", 408, {"error": {"code": 408, "message": "timed out"}}, "ambiguous",
     "http_408"),
    ("openrouter", 429, {"error": {"code": 429, "message": "Provider returned error"}}, "pause",
     "rate_limit"),
    ("openrouter", 502, {"error": {"code": 502, "message": "Provider returned error"}},
     "ambiguous", "http_502"),
    ("openrouter", 503, {"error": {"code": 503, "message": "No provider"}}, "retry", "http_503"),
    # Gemini: page-assist #406 (a list)
    ("gemini", 429, gemini(429, "RESOURCE_EXHAUSTED", "Resource has been exhausted"), "pause",
     "rate_limit"),
    ("gemini", 400, gemini(400, "INVALID_ARGUMENT", "API key not valid."), "fatal", "auth"),
    ("gemini", 400, gemini(400, "INVALID_ARGUMENT", "The input token count (9) exceeds the "
                           "maximum number of tokens allowed (8)."), "row", "too_long"),
    ("gemini", 400, gemini(400, "INVALID_ARGUMENT", "Unknown name"), "row", "http_400"),
    ("gemini", 403, gemini(403, "PERMISSION_DENIED", "No"), "fatal", "auth"),
    ("gemini", 500, gemini(500, "INTERNAL", "Internal"), "retry", "http_500"),
    ("gemini", 503, gemini(503, "UNAVAILABLE", "The model is overloaded."), "retry", "http_503"),
    ("gemini", 504, gemini(504, "DEADLINE_EXCEEDED", "Deadline"), "ambiguous", "http_504"),
    # Qwen's endpoint: command-code #813
    ("other", 400, openai("data_inspection_failed", "Inappropriate content."), "row", "refused"),
    # what stands between: proxies that answer with pages, and Cloudflare's own statuses, of which
    # 522 is "not connected", 524 "connected, no answer in time", 520 "an answer that is none"
    ("proxy", 502, "<html>Bad Gateway</html>", "ambiguous", "http_502"),
    ("proxy", 504, "<html>Gateway Time-out</html>", "ambiguous", "http_504"),
    ("proxy", 520, None, "ambiguous", "http_520"),
    ("proxy", 522, None, "retry", "http_522"),
    ("proxy", 524, None, "ambiguous", "http_524"),
    ("proxy", 308, None, "fatal", "redirect"),
]  # fmt: skip


@pytest.mark.parametrize(("server", "status", "body", "what", "reason"), ROWS)
def test_G05_G06_G18_G19_what_servers_answer_means(
    server: str, status: int, body: Any, what: str, reason: str
) -> None:
    def quoted(raw: bytes) -> str:
        return raw.decode()

    error = by_status("https://host/v1", status, body, {}, quoted)
    kind, ambiguous = KINDS[what]
    assert type(error) is kind
    assert (error.reason, error.ambiguous) == (reason, ambiguous)
    assert (what == "pause") == (reason == "rate_limit")


def test_the_table_of_answers_has_every_server_and_more_than_forty_rows() -> None:
    servers = {server for server, *_ in ROWS}
    named = {"openai", "azure", "anthropic", "vllm", "llama_cpp", "ollama", "openrouter", "gemini"}
    assert named <= servers
    assert len(ROWS) >= 40

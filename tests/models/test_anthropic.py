"""Anthropic's Messages API, against a loopback server that behaves as version 2026-10-21 does."""

import asyncio
import json
from collections.abc import Iterator
from typing import Any

import pytest
from tests.models.loopback import Server
from tests.models.spoken import SPOKEN, TEXT, THOUGHT, settings_for

from fiatkit.errors import ProviderError, SettingsError, TransientProviderError
from fiatkit.models import create_chat_model
from fiatkit.records import Completion, Message, Request, Sampling

SHARED = (Message("system", "Be brief."), Message("user", "Ice."), Message("assistant", "cold"))
REQUEST = Request((*SHARED, Message("user", "Thirty degrees.")), Sampling(64, stop=("\n",)))
CANARY = "sk-canary-123456789"


@pytest.fixture
def server(monkeypatch: pytest.MonkeyPatch) -> Iterator[Server]:
    monkeypatch.setenv("CANARY_KEY", CANARY)
    found = Server()
    found.speak(SPOKEN["anthropic"])
    yield found
    found.close()


def ask(server: Server, *requests: Request, **settings: Any) -> list[Completion]:
    async def all_of_them() -> list[Completion]:
        model = create_chat_model(settings_for("anthropic", server.root) | settings)
        try:
            return [await model.complete(request) for request in requests]
        finally:
            await model.close()

    return asyncio.run(all_of_them())


def marked(body: dict[str, Any]) -> list[str]:
    """The texts after which a cached prefix ends."""
    blocks = [*body["system"], *(block for turn in body["messages"] for block in turn["content"])]
    return [block["text"] for block in blocks if "cache_control" in block]


def test_what_is_sent(server: Server) -> None:
    (found,) = ask(server, REQUEST)
    assert (found.text, found.finish, found.model) == (TEXT, "stop", "m-1")
    body = server.receipts[0]["body"]
    assert body["system"] == [{"type": "text", "text": "Be brief."}]
    assert [turn["role"] for turn in body["messages"]] == ["user", "assistant", "user"]
    assert (body["max_tokens"], body["stop_sequences"]) == (64, ["\n"])
    assert not {"temperature", "top_p", "top_k", "seed"} & body.keys()


def test_the_end_of_what_rows_share_is_marked_for_the_cache(server: Server) -> None:
    other = Request((*SHARED, Message("user", "Snow.")), Sampling(64))
    settle = Request(
        (*other.messages, Message("assistant", "Hm."), Message("user", "Choose.")), Sampling(64)
    )
    ask(server, REQUEST, other, settle, settle, REQUEST)
    assert [marked(receipt["body"]) for receipt in server.receipts] == [
        ["cold"], ["cold"], ["Snow."], ["Hm."], ["cold"],
    ]  # fmt: skip
    ask(server, REQUEST, cache=None)
    assert marked(server.receipts[-1]["body"]) == []


def test_thinking_is_kept_apart_and_has_its_own_room(server: Server) -> None:
    (found,) = ask(server, REQUEST, thinking="adaptive", effort="low")
    assert (found.text, found.reasoning, found.usage.reasoning_tokens) == (TEXT, THOUGHT, 4)
    body = server.receipts[0]["body"]
    assert body["max_tokens"] == 64 + 4096
    assert body["output_config"] == {"effort": "low"}
    ask(server, REQUEST, thinking="enabled", reasoning_tokens=2000)
    body = server.receipts[1]["body"]
    assert (body["max_tokens"], body["thinking"]["budget_tokens"]) == (2064, 2000)


@pytest.mark.parametrize(
    "settings",
    [{"thinking": "adaptive", "choices": "tool"}, {"thinking": "enabled", "reasoning_tokens": 9}],
)
def test_what_the_api_refuses_is_told_before_anything_is_sent(settings: dict[str, Any]) -> None:
    with pytest.raises(SettingsError, match="choices|reasoning_tokens"):
        create_chat_model({"provider": "anthropic", "model": "m", **settings})


@pytest.mark.parametrize("manner", ["json_schema", "tool", "none"])
def test_choices(server: Server, manner: str) -> None:
    request = Request(REQUEST.messages, Sampling(64), choices=("cold", "warm"))
    (found,) = ask(server, request, choices=manner)
    held = manner != "none"
    assert (found.text, found.finish) == (("warm", "stop") if held else (TEXT, "error"))
    assert found.detail == ("" if held else "outside_the_choices")


@pytest.mark.parametrize(
    ("changes", "finish", "detail"),
    [
        ({"stop_reason": "stop_sequence"}, "stop", ""),
        ({"stop_reason": "max_tokens"}, "length", ""),
        ({"stop_reason": "max_tokens", "content": []}, "length", "only thinking was written"),
        ({"stop_reason": "model_context_window_exceeded"}, "length", "model_context_window"),
        ({"stop_reason": "refusal", "content": []}, "refused", "refusal"),
        ({"stop_reason": "pause_turn"}, "error", "pause_turn"),
        ({"stop_reason": None}, "error", "None"),
        ({"content": [{"type": "text", "text": " \n"}]}, "empty", ""),
        ({"content": []}, "empty", ""),
    ],
)
def test_G16_to_G20_stop_reasons(
    server: Server, changes: dict[str, Any], finish: str, detail: str
) -> None:
    server.speak(lambda receipt: (200, SPOKEN["anthropic"](receipt)[1] | changes))
    (found,) = ask(server, REQUEST)
    assert found.finish == finish
    assert found.detail.startswith(detail) and bool(found.detail) is bool(detail)


def test_G19_a_refusal_is_explained(server: Server) -> None:
    told = {"stop_details": {"type": "refusal", "explanation": "I must not."}, "content": []}
    changes = {"stop_reason": "refusal", **told}
    server.speak(lambda receipt: (200, SPOKEN["anthropic"](receipt)[1] | changes))
    (found,) = ask(server, REQUEST)
    assert (found.finish, found.text) == ("refused", "I must not.")


def test_G20_missing_usage_is_unknown_not_zero(server: Server) -> None:
    server.speak(lambda receipt: (200, SPOKEN["anthropic"](receipt)[1] | {"usage": None}))
    assert ask(server, REQUEST)[0].usage.prompt_tokens is None


@pytest.mark.parametrize(
    "raw",
    [b"", b"<html>proxy</html>", b"[1]", b'{"type": "message"}', b'{"type": "message", "content": 3}',
     b'{"type": "message", "content": [{"type": "text", "text": 7}], "stop_reason": "end_turn"}'],
)  # fmt: skip
def test_G12_G13_G14_what_is_no_message_is_a_transient_ambiguous_error(
    server: Server, raw: bytes
) -> None:
    server.send(200, raw)
    with pytest.raises(TransientProviderError) as caught:
        ask(server, REQUEST)
    assert (caught.value.reason, caught.value.ambiguous) == ("bad_response", True)


@pytest.mark.parametrize(
    ("status", "kind", "message", "reason"),
    [
        (400, "invalid_request_error", "temperature: Extra inputs are not permitted", "http_400"),
        (400, "invalid_request_error", "prompt is too long: 9 tokens > 8 maximum", "too_long"),
        (400, "invalid_request_error", "Your credit balance is too low to access", "quota"),
        (401, "authentication_error", f"invalid x-api-key {CANARY}", "auth"),
        (402, "billing_error", "", "quota"),
        (403, "permission_error", "", "auth"),
        (404, "not_found_error", "model: m", "not_found"),
        (413, "request_too_large", "", "too_long"),
        (429, "rate_limit_error", "", "rate_limit"),
        (500, "api_error", "", "http_500"),
        (504, "timeout_error", "", "http_504"),
        (529, "overloaded_error", "", "http_529"),
    ],
)
def test_G05_G06_statuses(
    server: Server, status: int, kind: str, message: str, reason: str
) -> None:
    error = {"type": "error", "error": {"type": kind, "message": message}}
    server.send(status, error, {"retry-after": "7"})
    with pytest.raises(ProviderError) as caught:
        ask(server, REQUEST)
    error_ = caught.value
    assert error_.reason == reason
    assert error_.retry_after == (7 if error_.retryable else None)
    assert len(server.receipts) == 1, "one attempt on the wire, no retry of the SDK"
    assert CANARY[:9] not in f"{error_!r} {error_} {json.dumps(error_.hint)}"

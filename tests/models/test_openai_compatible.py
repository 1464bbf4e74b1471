"""An OpenAI-compatible endpoint: a real loopback server that misbehaves on purpose."""

import asyncio
import gzip
import json
import resource
import time
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler
from typing import Any

import pytest
from tests.models.loopback import Server

from fiatkit.errors import (
    FatalProviderError,
    ProviderError,
    RowProviderError,
    SettingsError,
    TransientProviderError,
)
from fiatkit.models import create_chat_model
from fiatkit.models.providers._remote import without_secrets
from fiatkit.models.providers._statuses import retry_after
from fiatkit.records import Completion, Message, Request, Sampling

KEY = "sk-canary-123456789"
REQUEST = Request((Message("system", "Be brief."), Message("user", "Hé")), Sampling(max_tokens=9))


def good(**changes: Any) -> dict[str, Any]:
    message = {"role": "assistant", "content": "Yes."} | changes.pop("message", {})
    choice = {"index": 0, "message": message, "finish_reason": changes.pop("finish", "stop")}
    usage = {
        "prompt_tokens": 7,
        "completion_tokens": 2,
        "prompt_tokens_details": {"cached_tokens": 5},
    }
    return {"id": "1", "model": "m-1", "choices": [choice], "usage": usage} | changes


@pytest.fixture
def server() -> Iterator[Server]:
    found = Server()
    yield found
    found.close()


def ask(server: Server, request: Request = REQUEST, **settings: Any) -> Completion:
    values = {"provider": "openai_compatible", "model": "m", "base_url": server.url, **settings}

    async def once() -> Completion:
        model = create_chat_model(values)
        try:
            return await model.complete(request)
        finally:
            await model.close()

    return asyncio.run(once())


@pytest.fixture(autouse=True)
def key(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("OPENAI_API_KEY", KEY)


def test_a_good_answer(server: Server) -> None:
    server.send(200, good())
    found = ask(server)
    assert (found.text, found.finish, found.model) == ("Yes.", "stop", "m-1")
    usage = found.usage
    assert (usage.prompt_tokens, usage.completion_tokens, usage.cached_tokens) == (7, 2, 5)
    (receipt,) = server.receipts
    assert receipt["path"] == "/v1/chat/completions"
    assert receipt["body"] == {
        "model": "m",
        "messages": [{"role": "system", "content": "Be brief."}, {"role": "user", "content": "Hé"}],
        "max_tokens": 9,
        "temperature": 0.0,
    }


def test_choices_are_a_schema(server: Server) -> None:
    server.send(200, good(message={"content": '{"answer": "b"}'}))
    request = Request(REQUEST.messages, Sampling(), choices=("a", "b"))
    assert ask(server, request).text == "b"
    schema = server.receipts[0]["body"]["response_format"]["json_schema"]["schema"]
    assert schema["properties"]["answer"]["enum"] == ["a", "b"]


@pytest.mark.parametrize(
    ("manner", "sent"),
    [
        ("vllm", {"structured_outputs": {"choice": ["a", 'b"']}}),
        ("llama_cpp", {"grammar": 'root ::= "a" | "b\\""'}),
        ("none", {}),
    ],
)
def test_choices_in_the_words_of_other_servers(
    server: Server, manner: str, sent: dict[str, Any]
) -> None:
    server.send(200, good(message={"content": "a"}))
    request = Request(REQUEST.messages, Sampling(), choices=("a", 'b"'))
    assert ask(server, request, choices=manner).text == "a"
    body = server.receipts[0]["body"]
    plain = {"model", "messages", "max_tokens", "temperature"}
    assert {key: body[key] for key in body.keys() - plain} == sent


@pytest.mark.parametrize(
    ("said", "taken"),
    [("warm", "warm"), (' "Warm".', "warm"), ('{"answer": "COLD"}', "cold"), ("cold\n", "cold")],
)
def test_a_choice_but_for_blanks_quotes_and_case_is_taken(
    server: Server, said: str, taken: str
) -> None:
    server.send(200, good(message={"content": said}))
    found = ask(server, Request(REQUEST.messages, Sampling(), choices=("warm", "cold")))
    assert (found.text, found.finish) == (taken, "stop")


@pytest.mark.parametrize(
    "said", ["It is warm.", "hot", '{"answer": "hot"}', '{"label": "warm"}', "[1]", "a"]
)
def test_a_server_that_ignores_the_choices_is_noticed(server: Server, said: str) -> None:
    server.send(200, good(message={"content": said}))
    found = ask(server, Request(REQUEST.messages, Sampling(), choices=("warm", "A", "a.")))
    assert (found.finish, found.detail) == ("error", "outside_the_choices")


@pytest.mark.parametrize(
    ("answer", "finish"),
    [
        (good(finish="length"), "length"),
        (good(finish="content_filter"), "refused"),
        (good(message={"refusal": "I will not."}), "refused"),
        (good(message={"content": None}), "empty"),
        (good(message={"content": "  \n"}), "empty"),
        (good(message={"content": None, "reasoning_content": "Hm."}), "empty"),
        (good(finish="tool_calls"), "error"),
        (good(finish=None), "error"),
    ],
)
def test_G16_to_G20_finish_reasons(server: Server, answer: dict[str, Any], finish: str) -> None:
    server.send(200, answer)
    assert ask(server).finish == finish


def test_G20_missing_usage_is_unknown_not_zero(server: Server) -> None:
    server.send(200, good(usage=None))
    assert ask(server).usage.prompt_tokens is None


@pytest.mark.parametrize(
    "raw",
    [
        b"",
        b"<html>proxy</html>",
        b'{"choices": []}',
        b'{"choices": null}',
        b'{"choices": [{"message": null}]}',
        b'{"choices": [{"message": {"content": 7}}]}',
        b"[1]",
        b'{"choices": [{"mess',
        b"[" * 200_000,
    ],
)
def test_G12_G13_G14_what_is_no_completion_is_a_transient_ambiguous_error(
    server: Server, raw: bytes
) -> None:
    server.send(200, raw)
    with pytest.raises(TransientProviderError) as caught:
        ask(server)
    assert caught.value.ambiguous


@pytest.mark.parametrize(
    ("status", "body", "kind", "reason", "ambiguous"),
    [
        (400, {}, RowProviderError, "http_400", False),
        (401, {}, FatalProviderError, "auth", False),
        (402, {}, FatalProviderError, "quota", False),
        (403, {}, FatalProviderError, "auth", False),
        (400, {"error": {"code": "content_filter"}}, RowProviderError, "refused", False),
        (400, {"error": {"code": "context_length_exceeded"}}, RowProviderError, "too_long", False),
        (404, {}, FatalProviderError, "not_found", False),
        (408, {}, TransientProviderError, "http_408", True),
        (413, {}, RowProviderError, "too_long", False),
        (422, {}, RowProviderError, "http_422", False),
        (429, {}, TransientProviderError, "rate_limit", False),
        (429, {"error": {"code": "insufficient_quota"}}, FatalProviderError, "quota", False),
        (500, {}, TransientProviderError, "http_500", False),
        (502, {}, TransientProviderError, "http_502", True),
        (503, {}, TransientProviderError, "http_503", False),
        (504, {}, TransientProviderError, "http_504", True),
        (529, {}, TransientProviderError, "http_529", False),
        (302, {}, FatalProviderError, "redirect", False),
    ],
)
def test_G05_G06_G21_statuses(
    server: Server,
    status: int,
    body: dict[str, Any],
    kind: type[ProviderError],
    reason: str,
    ambiguous: bool,
) -> None:
    server.send(status, body, {"Location": "http://127.0.0.1:1/"} if status == 302 else {})
    with pytest.raises(ProviderError) as caught:
        ask(server)
    error = caught.value
    assert (type(error), error.reason, error.ambiguous) == (kind, reason, ambiguous)
    assert len(server.receipts) == 1, "one attempt on the wire, no retry of the SDK"
    assert KEY not in f"{error!r} {error}"


def test_G07_nobody_listens(server: Server) -> None:
    server.close()
    with pytest.raises(TransientProviderError, match="Check large.base_url") as caught:
        ask(server)
    assert (caught.value.reason, caught.value.ambiguous) == ("connect", False)


def test_G08_G09_the_deadline_holds_even_for_a_drip(server: Server) -> None:
    def drip(handler: BaseHTTPRequestHandler) -> None:
        handler.send_response(200)
        handler.send_header("Content-Length", "1000")
        handler.end_headers()
        for _ in range(150):
            handler.wfile.write(b" ")
            handler.wfile.flush()
            time.sleep(0.1)

    server.reply = drip
    began = time.monotonic()
    with pytest.raises(TransientProviderError, match="within 0.5 s") as caught:
        ask(server, timeout=0.5)
    assert caught.value.ambiguous
    assert time.monotonic() - began < 12


def test_G10_G11_a_body_cut_short_is_ambiguous(server: Server) -> None:
    def cut(handler: BaseHTTPRequestHandler) -> None:
        handler.send_response(200)
        handler.send_header("Content-Length", "1000")
        handler.end_headers()
        handler.wfile.write(b"{")
        handler.close_connection = True

    server.reply = cut
    with pytest.raises(TransientProviderError) as caught:
        ask(server)
    assert caught.value.ambiguous


def test_G21_a_huge_answer_is_refused(server: Server) -> None:
    server.send(200, good(message={"content": "x" * 9_000_000}))
    with pytest.raises(RowProviderError, match="more than 8388608 bytes"):
        ask(server)


@pytest.mark.parametrize(
    ("headers", "seconds"),
    [
        ({"retry-after": "7"}, 7),
        ({"retry-after-ms": "250"}, 0.25),
        ({"retry-after": "Thu, 01 Jan 1970 00:02:00 GMT"}, 20),
        ({"retry-after": "0"}, None),
        ({"retry-after": "-10"}, None),
        ({"retry-after": ""}, None),
        ({"retry-after": "nan"}, None),
        ({"retry-after": "inf"}, None),
        ({"retry-after": "1e35"}, None),
        ({"retry-after": "soon"}, None),
        ({"retry-after": "Thu, 01 Jan 100000 00:00:00 GMT"}, None),
        ({}, None),
    ],
)
def test_G03_retry_after(headers: dict[str, str], seconds: float | None) -> None:
    assert retry_after(headers, now=100.0) == seconds


def test_A13_secrets_in_an_address_are_not_shown() -> None:
    assert without_secrets("https://user:pw@host:8/v1/?key=x#y") == "https://host:8/v1"


def test_no_key_is_told_before_anything_is_sent(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("OPENAI_API_KEY")
    model = create_chat_model(
        {"provider": "openai_compatible", "model": "m", "base_url": "https://llm.invalid/v1"}
    )
    with pytest.raises(FatalProviderError, match="OPENAI_API_KEY holds no key"):
        asyncio.run(model.complete(REQUEST))


BOMB = gzip.compress(b" " * 200_000_000)


@pytest.mark.parametrize(("status", "kind"), [(200, RowProviderError), (500, ProviderError)])
def test_G21_a_gzip_bomb_does_not_fill_the_memory(
    server: Server, status: int, kind: type[ProviderError]
) -> None:
    server.send(status, BOMB, {"Content-Encoding": "gzip"})
    before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    with pytest.raises(kind):
        ask(server)
    assert resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before < 100 * 1024


def test_G05_a_compressed_error_is_still_understood(server: Server) -> None:
    raw = gzip.compress(json.dumps({"error": {"code": "insufficient_quota"}}).encode())
    server.send(429, raw, {"Content-Encoding": "gzip"})
    with pytest.raises(FatalProviderError) as caught:
        ask(server)
    assert caught.value.reason == "quota"


@pytest.mark.parametrize("status", [200, 400, 401, 500])
@pytest.mark.parametrize("place", [0, 180, 500])
def test_A13_a_key_that_the_server_echoes_is_not_shown(
    server: Server, status: int, place: int
) -> None:
    echo = "x" * place + f" Bearer {KEY}, {KEY}; " * 400
    value: Any = echo.encode() if status == 200 else {"error": {"message": echo, "code": KEY}}
    server.send(status, value)
    with pytest.raises(ProviderError) as caught:
        ask(server)
    shown = f"{caught.value!r} {caught.value} {caught.value.hint} {caught.value.__context__!r}"
    assert KEY[:8] not in shown


def test_a_refused_request_quotes_what_the_server_says(server: Server) -> None:
    server.send(400, {"error": {"message": "temperature is not\x1b[31m supported"}})
    with pytest.raises(RowProviderError) as caught:
        ask(server)
    assert "temperature is not" in caught.value.hint
    assert "\x1b" not in caught.value.hint


@pytest.mark.parametrize("bad", ["sk-a\nb", "sk-ä", "sk-\x00b"])
def test_a_key_of_impossible_characters_is_told_at_once(
    server: Server, bad: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("os.environ", {"OPENAI_API_KEY": bad})
    with pytest.raises(FatalProviderError, match="characters that no key has") as caught:
        ask(server)
    assert "sk-" not in str(caught.value)
    assert server.receipts == []


def test_blanks_round_a_key_are_not_part_of_it(
    server: Server, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("OPENAI_API_KEY", f" {KEY}\n")
    server.send(200, good())
    assert ask(server).text == "Yes."


def test_a_prompt_that_cannot_be_written_is_the_rows_fault(server: Server) -> None:
    with pytest.raises(RowProviderError) as caught:
        ask(server, Request((Message("user", "a\ud800b"),), Sampling()))
    assert (caught.value.reason, caught.value.ambiguous) == ("request", False)


@pytest.mark.parametrize(
    "url", ["", "localhost:1/v1", "ftp://host/v1", "http://u:secret@host:99999/v1", "u:secret@h/v1"]
)
def test_an_address_that_is_none_is_refused_without_its_password(url: str) -> None:
    with pytest.raises(SettingsError, match="base_url") as caught:
        create_chat_model({"provider": "openai_compatible", "model": "m", "base_url": url})
    assert "secret" not in str(caught.value)


def test_G17_only_reasoning_is_named(server: Server) -> None:
    server.send(200, good(message={"content": "", "reasoning_content": "Hm."}))
    found = ask(server)
    assert (found.finish, found.text) == ("empty", "")
    assert "only reasoning" in found.detail


def test_G20_impossible_counts_are_unknown(server: Server) -> None:
    server.send(200, good(usage={"prompt_tokens": -5, "completion_tokens": True}))
    usage = ask(server).usage
    assert (usage.prompt_tokens, usage.completion_tokens) == (None, None)


def test_an_ipv6_address_keeps_its_brackets() -> None:
    assert without_secrets("http://[::1]:8000/v1") == "http://[::1]:8000/v1"

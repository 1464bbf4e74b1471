"""The table of flavours, against servers that behave as the real ones do."""

import asyncio
import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any, get_args

import pytest
from tests.models.loopback import Server
from tests.models.spoken import SPOKEN, TEXT, THOUGHT, settings_for

from fiatkit.errors import FatalProviderError, SettingsError, TransientProviderError
from fiatkit.models import create_chat_model
from fiatkit.models.providers._flavours import FLAVOURS, Name, recognised
from fiatkit.reasoning import completion_key
from fiatkit.records import Completion, Message, Request, Sampling

MESSAGES = (Message("system", "Be brief."), Message("user", "Thirty degrees."))
GREEDY = Request(MESSAGES, Sampling(max_tokens=64))
SAMPLED = Request(MESSAGES, Sampling(64, 0.7, 0.9, seed=3, stop=("\n\n",)), sample=2)
FLAVOURED = [name for name in SPOKEN if name != "anthropic"]
EFFORT_FIELDS = {"reasoning_effort", "reasoning", "chat_template_kwargs"}
WITHOUT_LOGPROBS = ("openai, a reasoning model", "azure, its version 1", "gemini")


@pytest.fixture
def server(monkeypatch: pytest.MonkeyPatch) -> Iterator[Server]:
    monkeypatch.setenv("CANARY_KEY", "sk-canary-123456789")
    found = Server()
    yield found
    found.close()


def ask(server: Server, name: str, request: Request, **settings: Any) -> Completion:
    server.speak(SPOKEN[name])
    return ask_as_it_is(server, name, request, **settings)


def ask_as_it_is(server: Server, name: str, request: Request, **settings: Any) -> Completion:
    async def once() -> Completion:
        model = create_chat_model(settings_for(name, server.root) | settings)
        try:
            return await model.complete(request)
        finally:
            await model.close()

    return asyncio.run(once())


@pytest.mark.parametrize("name", SPOKEN)
@pytest.mark.parametrize("request_", [GREEDY, SAMPLED], ids=["greedy", "sampled"])
def test_each_server_takes_what_it_is_sent(server: Server, name: str, request_: Request) -> None:
    found = ask(server, name, request_)
    assert (found.text, found.finish) == (TEXT, "stop")


@pytest.mark.parametrize("name", SPOKEN)
def test_choices_hold_each_server(server: Server, name: str) -> None:
    found = ask(server, name, Request(MESSAGES, Sampling(64), choices=("cold", "warm")))
    assert (found.text, found.finish) == ("warm", "stop")


@pytest.mark.parametrize("name", [n for n in SPOKEN if SPOKEN[n].hidden or SPOKEN[n].around[0]])
def test_hidden_reasoning_is_kept_apart(server: Server, name: str) -> None:
    found = ask(server, name, GREEDY)
    assert (found.text, found.reasoning) == (TEXT, THOUGHT)


@pytest.mark.parametrize("name", [n for n in FLAVOURED if EFFORT_FIELDS & SPOKEN[n].known])
def test_each_server_is_told_the_effort_in_its_own_words(server: Server, name: str) -> None:
    assert ask(server, name, GREEDY, reasoning_effort="low").text == TEXT
    assert "'low'" in repr(server.receipts[-1]["body"])


@pytest.mark.parametrize("name", FLAVOURED)
def test_logprobs_come_where_they_are_given_and_are_refused_where_not(
    server: Server, name: str
) -> None:
    if name in WITHOUT_LOGPROBS:
        with pytest.raises(SettingsError, match="gives no log-probabilities"):
            ask(server, name, GREEDY, logprobs=True)
    elif "logprobs" in SPOKEN[name].known:
        found = ask(server, name, GREEDY, logprobs=True)
        assert found.logprobs == (("It", -0.5), (" is", -0.25))


@pytest.mark.parametrize(
    ("name", "counts"),
    [
        ("openai", (20, 9, 12, 0)),
        ("openai, a reasoning model", (20, 9, 12, 4)),
        ("vllm", (20, 9, None, None)),
        ("llama_cpp", (20, 9, 12, None)),
        ("openrouter", (20, 9, 12, 4)),
        ("gemini", (20, 13, None, 8)),
        ("anthropic", (20, 9, 12, 4)),
    ],
)
def test_tokens_are_counted_alike(
    server: Server, name: str, counts: tuple[int | None, ...]
) -> None:
    usage = ask(server, name, GREEDY).usage
    found = (
        usage.prompt_tokens,
        usage.completion_tokens,
        usage.cached_tokens,
        usage.reasoning_tokens,
    )
    assert found == counts


@pytest.mark.parametrize("name", FLAVOURED)
def test_stop_texts_that_may_not_be_sent_cut_the_answer_here(server: Server, name: str) -> None:
    stops = ("1", "2", "3", "4", "5", " Answer")
    found = ask(server, name, Request(MESSAGES, Sampling(64, stop=stops)))
    assert (found.text, found.finish) == ("It is warm.", "stop")


def test_a_reasoning_model_has_room_to_reason_and_none_sampled(server: Server) -> None:
    ask(server, "openai, a reasoning model", SAMPLED)
    body = server.receipts[-1]["body"]
    assert body.keys() == {"model", "messages", "max_completion_tokens"}
    assert body["max_completion_tokens"] == 64 + 4096
    ask(server, "openai, a reasoning model", SAMPLED, reasoning_effort="none", reasoning_tokens=0)
    body = server.receipts[-1]["body"]
    assert body["temperature"] == 0.7 and body["max_completion_tokens"] == 64


@pytest.mark.parametrize(
    ("model", "reasons"),
    [
        ("gpt-4.1", False),
        ("gpt-4o", False),
        ("gpt-5-mini", True),
        ("gpt-5-chat-latest", False),
        ("gpt-6-astra", True),
        ("o3-mini", True),
        ("ft:o4-mini:me::1", True),
        ("gpt-35-turbo", False),
    ],
)
def test_openais_reasoning_models_are_known_by_name(model: str, reasons: bool) -> None:
    assert bool(re.search(FLAVOURS["openai"].reasoners, model)) is reasons


def test_a_reasoning_model_that_is_not_recognised_is_explained(server: Server) -> None:
    with pytest.raises(FatalProviderError, match="set large.reasoning: true"):
        ask(server, "azure, its version 1", GREEDY, reasoning=False)


@pytest.mark.parametrize(
    ("url", "name"),
    [
        ("https://api.openai.com/v1", "openai"),
        ("https://eu.api.openai.com/v1", "openai"),
        ("https://mine.openai.azure.com/openai/v1", "azure"),
        ("https://mine.services.ai.azure.com/openai/v1", "azure"),
        ("http://localhost:11434/v1", "ollama"),
        ("https://openrouter.ai/api/v1", "openrouter"),
        ("https://generativelanguage.googleapis.com/v1beta/openai/", "gemini"),
        ("http://localhost:8000/v1", "other"),
        ("https://api.openai.com.evil.example/v1", "other"),
    ],
)
def test_a_server_is_recognised_by_its_address(url: str, name: str) -> None:
    assert recognised(url) == name


def test_the_table_has_a_row_for_each_flavour_and_a_server_for_each_row() -> None:
    assert set(FLAVOURS) == set(get_args(Name))
    assert {spoken.settings.get("flavour", "other") for spoken in SPOKEN.values()} == set(FLAVOURS)


def test_the_page_on_providers_has_a_row_for_each_flavour() -> None:
    page = (Path(__file__).parents[2] / "docs" / "providers.md").read_text()
    for name, flavour in FLAVOURS.items():
        (row,) = re.findall(rf"^\| `{name}` \|.*", page, re.MULTILINE)
        assert f"`{flavour.key_env}`" in row and f"`{flavour.limit}`" in row
        assert (" no |" in row) is not flavour.logprobs


def test_azure_speaks_to_the_deployment_and_names_its_version(server: Server) -> None:
    ask(server, "azure", GREEDY)
    assert server.receipts[-1]["path"].endswith("?api-version=2026-10-01-preview")
    with pytest.raises(SettingsError, match="large.api_version is Azure's"):
        ask(server, "vllm", GREEDY, api_version="1")


def test_a_key_goes_to_its_own_flavour_only(
    server: Server, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("OPENAI_API_KEY", "sk-canary-openai")
    model = create_chat_model(
        {
            "provider": "openai_compatible",
            "model": "m",
            "base_url": "https://openrouter.ai/api/v1",
        }
    )
    with pytest.raises(FatalProviderError, match="OPENROUTER_API_KEY holds no key"):
        asyncio.run(model.complete(GREEDY))


def test_G28_what_decides_the_answer_is_in_the_key() -> None:
    def key(sample: int = 0, **settings: Any) -> str:
        values = {"provider": "openai_compatible", "model": "o3", **settings}
        request = Request(MESSAGES, Sampling(temperature=1.0), sample=sample)
        return completion_key(create_chat_model(values).identity, request)

    same = [key(), key(reasoning_effort=None), key(concurrency=2), key(timeout=3.0)]
    assert len(set(same)) == 1
    others = [key(reasoning_effort="low"), key(reasoning_tokens=9), key(reasoning_tokens=0)]
    assert len({*same, *others, key(sample=1), key(revision="x")}) == 6


def test_G15_of_several_answers_to_one_request_the_first_counts(server: Server) -> None:
    spoken = SPOKEN["other"]

    def twice(receipt: dict[str, Any]) -> tuple[int, Any]:
        status, value = spoken(receipt)
        extra = value["choices"][0] | {"message": {"role": "assistant", "content": "Another."}}
        return status, value | {"choices": [*value["choices"], extra, extra]}

    server.speak(twice)
    samples = [Request(MESSAGES, SAMPLED.sampling, sample=i) for i in range(4)]
    assert [ask_as_it_is(server, "other", request).text for request in samples] == [TEXT] * 4
    assert [receipt["body"]["seed"] for receipt in server.receipts] == [3, 4, 5, 6]
    assert all("n" not in receipt["body"] for receipt in server.receipts)


def test_G13_an_error_in_the_place_of_a_choice_is_no_answer(server: Server) -> None:
    def broken(receipt: dict[str, Any]) -> tuple[int, Any]:
        status, value = SPOKEN["openrouter"](receipt)
        value["choices"][0] |= {"finish_reason": "error", "error": {"code": 502}}
        return status, value

    server.speak(broken)
    with pytest.raises(TransientProviderError) as caught:
        ask_as_it_is(server, "openrouter", GREEDY)
    assert (caught.value.reason, caught.value.ambiguous) == ("bad_response", True)

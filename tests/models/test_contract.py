"""What every provider owes to the engine: one table of providers, one set of checks."""

import asyncio
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from tests.models.loopback import Server
from tests.models.spoken import SPOKEN, settings_for

from fiatkit.models import create_chat_model, provider_names
from fiatkit.models.protocol import ChatModel
from fiatkit.reasoning import completion_key
from fiatkit.records import Completion, Message, Request, Sampling

SHARED = (
    Message("system", "Say warm or cold."),
    Message("user", "Ice."),
    Message("assistant", "Answer: cold"),
)
ASKED = Request((*SHARED, Message("user", "Thirty degrees.")), Sampling(8))
CHOICES = ("warm", "cold")
IN_PROCESS = {
    "scripted": {"provider": "scripted", "default": "Answer: warm"},
    "llama_cpp": {"provider": "llama_cpp", "model": "smollm2-135m", "context": 512},
    "transformers": {"provider": "transformers", "device": "cpu", "threads": 1},
}
WEIGHTS = pytest.mark.weights
TABLE = [
    *(pytest.param(name, marks=WEIGHTS if name == "llama_cpp" else ()) for name in IN_PROCESS),
    *SPOKEN,
]
Ask = Callable[[str, list[Request]], list[Completion]]


@pytest.fixture(scope="module")
def server() -> Iterator[Server]:
    found = Server()
    yield found
    found.close()


@pytest.fixture
def make(
    server: Server, tiny_chat_model: Path, monkeypatch: pytest.MonkeyPatch
) -> Callable[[str], ChatModel]:
    monkeypatch.setenv("CANARY_KEY", "sk-canary-123456789")

    def made(name: str) -> ChatModel:
        if name in SPOKEN:
            server.speak(SPOKEN[name])
            return create_chat_model(settings_for(name, server.root))
        settings: dict[str, Any] = IN_PROCESS[name]
        if name == "transformers":
            settings = settings | {"model": str(tiny_chat_model)}
        return create_chat_model(settings)

    return made


def test_every_provider_is_in_the_table() -> None:
    spoken = {s.settings.get("provider", "openai_compatible") for s in SPOKEN.values()}
    assert {*IN_PROCESS, *spoken} == set(provider_names())


@pytest.mark.parametrize("name", TABLE)
def test_a_provider_keeps_its_contract(
    make: Callable[[str], ChatModel], server: Server, name: str
) -> None:
    """One attempt a call, an answer of a known kind within the choices, sane counts, no surprise
    in the identity, and a close that may be called twice."""
    held = Request(ASKED.messages, ASKED.sampling, CHOICES)
    sent = len(server.receipts)
    model = make(name)
    before = model.identity

    async def all_of_it() -> list[Completion]:
        try:
            assert model.slots >= 1
            return [await model.complete(request) for request in (ASKED, held)]
        finally:
            await model.close()
            await model.close()

    free, bound = asyncio.run(all_of_it())
    assert free.finish in ("stop", "length", "empty")
    assert (bound.text in CHOICES, bound.finish) == (True, "stop")
    for found in (free, bound):
        usage = found.usage
        prompt, completion = usage.prompt_tokens, usage.completion_tokens
        assert prompt is not None and completion is not None
        assert 0 <= (usage.cached_tokens or 0) <= prompt
        assert 0 <= (usage.reasoning_tokens or 0) <= completion
        assert found.seconds >= 0 and found.cost is None
    assert len(server.receipts) - sent == (2 if name in SPOKEN else 0)
    assert make(name).identity == before == model.identity
    samples = {
        completion_key(before, Request(ASKED.messages, ASKED.sampling, (), i)) for i in range(3)
    }
    assert len(samples) == 3

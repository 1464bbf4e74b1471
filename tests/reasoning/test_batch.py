"""Batches of OpenAI and Anthropic, with the real SDKs, against a loopback server with receipts."""

import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from decimal import Decimal
from pathlib import Path
from typing import Any

import pytest

from fiatkit.errors import CapReachedError, FatalProviderError, ProviderError, UsageError
from fiatkit.models import create_chat_model
from fiatkit.reasoning import RationaleStore, Reasoner
from fiatkit.reasoning import batch as module
from fiatkit.reasoning.policy import Policy
from fiatkit.reasoning.prices import Price
from fiatkit.reasoning.salvage import recover
from tests.faults.child import TASK, queries
from tests.faults.fakeserver import COMPLETION_TOKENS, KEY, PROMPT_TOKENS, right_text
from tests.reasoning.batch_server import BatchServer, Course

ROOT = Path(__file__).parents[2]
PRICES = {"m": Price(prompt=Decimal(1), completion=Decimal(2))}
COST = Decimal(PROMPT_TOKENS + 2 * COMPLETION_TOKENS) / 1_000_000  # of one single call
PROVIDERS = {
    "openai": {"provider": "openai_compatible", "flavour": "openai"},
    "azure": {"provider": "openai_compatible", "flavour": "azure"},
    "azure, older": {
        "provider": "openai_compatible", "flavour": "azure", "api_version": "2024-10-21",
    },
    "anthropic": {"provider": "anthropic"},
}  # fmt: skip
PATHS = {"openai": "/v1", "azure": "/openai/v1", "azure, older": "/openai", "anthropic": ""}
POLL = 0.02


@pytest.fixture(params=PROVIDERS)
def provider(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> str:
    monkeypatch.setenv("OPENAI_API_KEY", KEY)
    monkeypatch.setenv("AZURE_OPENAI_API_KEY", KEY)
    monkeypatch.setenv("ANTHROPIC_API_KEY", KEY)
    return str(request.param)


def large(provider: str, server: BatchServer) -> dict[str, Any]:
    url = server.url + PATHS[provider]
    return {**PROVIDERS[provider], "model": "m", "base_url": url}


Open = Callable[..., Reasoner]


@pytest.fixture
def open_(provider: str, tmp_path: Path) -> Open:
    def opened(server: BatchServer, **options: Any) -> Reasoner:
        model = create_chat_model(large(provider, server))
        store = RationaleStore(tmp_path / "store.sqlite")
        return Reasoner(TASK, model, store, prices=PRICES, **options)

    return opened


@pytest.fixture
def serve() -> Iterator[Callable[..., BatchServer]]:
    servers: list[BatchServer] = []

    def started(*courses: Course) -> BatchServer:
        servers.append(BatchServer(*courses).__enter__())
        return servers[-1]

    yield started
    for server in servers:
        server.__exit__()


def texts(reasoner: Reasoner, rows: int) -> list[str]:
    """What the store holds for the rows, through the ordinary engine."""
    found = reasoner.expand(queries(rows))
    assert {rationale.status for rationale in found.values()} == {"ok"}
    return [found[query.id].text for query in queries(rows)]


def right(rows: int) -> list[str]:
    return [right_text(f"Text: number {i}.") for i in range(rows)]


Serve = Callable[..., BatchServer]


def test_a_batch_brings_every_answer_at_half_the_price(serve: Serve, open_: Open) -> None:
    server = serve(Course(looks=3))
    with open_(server, run="night") as reasoner:
        tally = reasoner.expand_in_batches(queries(7), poll=POLL)
        assert (tally.submitted, tally.answered, tally.failed) == (7, 7, {})
        spent = reasoner.store.spent("night")
        assert (spent.calls, spent.cost, spent.possibly_billed) == (7, 7 * COST / 2, 0)
        assert reasoner.store.batches.open_rows() == 0
        assert texts(reasoner, 7) == right(7)
    assert server.single == []
    with open_(server) as reasoner:
        assert reasoner.expand_in_batches(queries(7), poll=POLL).submitted == 0
    assert len(server.made) == 1


@pytest.mark.parametrize("end", ["expired", "cancelled", "completed"])
def test_what_an_ended_batch_holds_is_kept_row_by_row(serve: Serve, open_: Open, end: str) -> None:
    """Two rounds of batches, then single calls; no row with an answer is asked for twice."""
    fates = ["ok", "expired", "missing", "refused", "overloaded", "twice", "foreign", "cancelled"]
    first = Course(end=end, fate=lambda place: fates[place])
    server = serve(first, Course(fate=lambda place: ["ok", "expired", "ok", "ok"][place]))
    with open_(server) as reasoner:
        tally = reasoner.expand_in_batches(queries(8), poll=POLL)
        assert tally.answered == 2 + 3
        assert tally.failed == {
            "cancelled": 1, "missing": 2, "http_400": 1, "expired": 2,
            next(r for r in tally.failed if r.startswith("http_5")): 1,
        }  # fmt: skip
        assert tally.foreign == 2
        assert [len(made.rows) for made in server.made] == [8, 4]
        assert reasoner.store.spent().possibly_billed == 2
        assert texts(reasoner, 8) == right(8)
    assert len(server.single) == 3


def test_a_completed_batch_without_a_file_loses_nothing(serve: Serve, open_: Open) -> None:
    gone = Course(no_file=True, fate=lambda place: "missing")
    server = serve(gone, gone)
    with open_(server) as reasoner:
        tally = reasoner.expand_in_batches(queries(3), poll=POLL)
        assert tally.failed == {"missing": 6}
        assert texts(reasoner, 3) == right(3)
    assert (len(server.made), len(server.single)) == (2, 3)


def test_the_reply_to_a_submit_is_lost_and_the_batch_is_found(serve: Serve, open_: Open) -> None:
    others = [Course(), Course(), Course()]
    server = serve(*others, Course(lose_reply=True))
    with open_(server) as reasoner:
        for rows in (1, 2, 3):
            reasoner.expand_in_batches(queries(rows), poll=POLL)
        tally = reasoner.expand_in_batches(queries(9), poll=POLL)
        assert (tally.submitted, tally.answered) == (6, 6)
        assert texts(reasoner, 9) == right(9)
    assert set(server.submitted().values()) == {1}
    assert server.single == []


def test_a_batch_that_was_never_made_is_handed_in_again_after_a_while(
    serve: Serve, open_: Open, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(module, "LOOKED_FOR", 0.05)
    server = serve(Course(refuse=502), Course())
    with open_(server) as reasoner:
        tally = reasoner.expand_in_batches(queries(4), poll=POLL)
        assert (tally.failed, tally.answered) == ({"not_submitted": 4}, 4)
        assert reasoner.store.spent().possibly_billed == 0
    assert set(server.submitted().values()) == {1}


def test_a_refused_batch_leaves_its_rows_open(serve: Serve, open_: Open) -> None:
    server = serve(Course(refuse=401))
    with open_(server) as reasoner, pytest.raises(ProviderError) as caught:
        reasoner.expand_in_batches(queries(2), poll=POLL)
    assert caught.value.reason == "auth"
    with open_(server) as reasoner:
        assert reasoner.expand_in_batches(queries(2), poll=POLL).answered == 2


def test_what_validation_says_is_told(serve: Serve, open_: Open, provider: str) -> None:
    if provider == "anthropic":
        pytest.skip("Anthropic refuses a batch at once")
    server = serve(Course(refuse="line 1: no such model"))
    with open_(server) as reasoner, pytest.raises(FatalProviderError, match="no such model"):
        reasoner.expand_in_batches(queries(2), poll=POLL)
    assert len(server.made) == 1


def test_rows_in_an_open_batch_are_not_asked_for_singly(serve: Serve, open_: Open) -> None:
    server = serve(Course(looks=10**9))
    with open_(server) as reasoner, pytest.MonkeyPatch.context() as patch:
        patch.setattr("fiatkit.reasoning.batch.asyncio.sleep", _interrupt)
        with pytest.raises(KeyboardInterrupt):
            reasoner.expand_in_batches(queries(2), poll=POLL)
    with open_(server) as reasoner:
        with pytest.raises(UsageError, match="2 rows are in batches"):
            reasoner.expand(queries(3))
        tally = reasoner.cancel_batches(poll=POLL)
        assert (tally.answered, tally.failed) == (1, {"cancelled": 1})
        assert texts(reasoner, 3) == right(3)
    assert len(server.single) == 2


@pytest.mark.parametrize("way", ["merge", "recover"])
def test_open_batches_go_with_their_store(
    serve: Serve, open_: Open, provider: str, tmp_path: Path, way: str
) -> None:
    """Handed in from one store, fetched into the one it was merged into, or recovered as."""
    server = serve(Course(looks=10**9))
    with open_(server, run="night") as reasoner, pytest.MonkeyPatch.context() as patch:
        patch.setattr("fiatkit.reasoning.batch.asyncio.sleep", _interrupt)
        with pytest.raises(KeyboardInterrupt):
            reasoner.expand_in_batches(queries(2), poll=POLL)
    first = path = tmp_path / "store.sqlite"
    if way == "recover":
        assert recover(path) == {"completions": 0, "attempts": 2}
    else:
        path = tmp_path / "all.sqlite"
        with RationaleStore(path) as everything:
            everything.merge(first)
            everything.merge(first)
    server.made[0].course.looks = 0
    model = create_chat_model(large(provider, server))
    with Reasoner(TASK, model, RationaleStore(path), prices=PRICES) as reasoner:
        tally = reasoner.expand_in_batches(queries(2), poll=POLL)
        assert (tally.submitted, tally.answered, tally.failed) == (0, 2, {})
        if way == "merge":
            reasoner.store.merge(first)
        assert reasoner.store.batches.open_rows() == 0
        spent = reasoner.store.spent("night")
        assert (spent.calls, spent.cost, spent.possibly_billed) == (2, COST, 0)
        assert texts(reasoner, 2) == right(2)
    assert len(server.made) == 1 and server.single == []


def _interrupt(seconds: float) -> None:
    raise KeyboardInterrupt


def test_a_cap_holds_for_batches_too(serve: Serve, open_: Open) -> None:
    server = serve()
    policy = Policy(max_calls=5)
    with open_(server, policy=policy) as reasoner, pytest.raises(CapReachedError):
        reasoner.expand_in_batches(queries(8), poll=POLL)
    assert sum(server.submitted().values()) == 5
    with open_(server, policy=Policy(max_cost=Decimal("0.0004"))) as reasoner:
        tally = reasoner.expand_in_batches(queries(8), poll=POLL)
        assert tally.answered == 3
        assert reasoner.tally.calls == 0 and texts(reasoner, 8) == right(8)


@pytest.mark.parametrize("lose_reply", [False, True])
def test_G01_killed_between_submit_and_poll_nothing_is_handed_in_twice(
    serve: Serve, open_: Open, provider: str, tmp_path: Path, lose_reply: bool
) -> None:
    server = serve(Course(looks=10**9, lose_reply=lose_reply))
    code = f"""
import sys
from pathlib import Path
from fiatkit.models import create_chat_model
from fiatkit.reasoning import RationaleStore, Reasoner
from tests.faults.child import TASK, queries
model = create_chat_model({large(provider, server)!r})
store = RationaleStore(Path({str(tmp_path / "store.sqlite")!r}))
with Reasoner(TASK, model, store) as reasoner:
    reasoner.expand_in_batches(queries(5), poll=0.02)
"""
    environment = os.environ | {"PYTHONPATH": f"{ROOT / 'src'}:{ROOT}"}
    child = subprocess.Popen([sys.executable, "-c", code], env=environment, cwd=ROOT)
    until = time.monotonic() + 120
    while not server.made or (not lose_reply and not server.made[0].looked):
        assert time.monotonic() < until and child.poll() is None
        time.sleep(0.01)
    child.send_signal(signal.SIGKILL)
    assert child.wait() == -signal.SIGKILL
    server.made[0].course.looks = 0
    with open_(server) as reasoner:
        tally = reasoner.expand_in_batches(queries(6), poll=POLL)
        assert (tally.submitted, tally.answered, tally.failed) == (1, 6, {})
        spent = reasoner.store.spent()
        assert (spent.calls, spent.possibly_billed) == (6, 0)
        assert texts(reasoner, 6) == right(6)
    assert set(server.submitted().values()) == {1}


def test_a_provider_without_batches_says_so(tmp_path: Path, serve: Serve) -> None:
    for settings in (
        {"provider": "scripted"},
        {"provider": "openai_compatible", "model": "m", "flavour": "vllm", "base_url": serve().url},
    ):
        store = RationaleStore(tmp_path / "s.sqlite")
        reasoner = Reasoner(TASK, create_chat_model(settings), store)
        with reasoner, pytest.raises(UsageError, match="has no batches"):
            reasoner.expand_in_batches(queries(1))


def test_batches_are_cut_by_rows_and_by_size(monkeypatch: pytest.MonkeyPatch) -> None:
    from fiatkit.reasoning import rationale_request

    rows = [(q.id, rationale_request(TASK, q)) for q in queries(10)]
    monkeypatch.setattr(module, "MOST_ROWS", 4)
    assert [len(chunk) for chunk in module.chunks(rows)] == [4, 4, 2]
    size = sum(len(m.content) for m in rows[0][1].messages)
    monkeypatch.setattr(module, "MOST_BYTES", 2 * size)
    assert [len(chunk) for chunk in module.chunks(rows)] == [2, 2, 2, 2, 2]


def test_a_batch_of_somebody_else_is_not_taken_for_ours(
    serve: Serve, open_: Open, provider: str, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    """Anthropic's batches carry no name: one of the same size and time may be another's."""
    if provider != "anthropic":
        pytest.skip("OpenAI's batches carry our name")
    monkeypatch.setattr(module, "LOOKED_FOR", 0.5)
    server = serve(Course(), Course(refuse=502), Course())
    model = create_chat_model(large(provider, server) | {"endpoint": "another"})
    with Reasoner(TASK, model, RationaleStore(tmp_path / "other.sqlite")) as other:
        other.expand_in_batches(queries(3), poll=POLL)
    with open_(server) as reasoner:
        tally = reasoner.expand_in_batches(queries(3), poll=POLL)
        assert (tally.answered, tally.failed, tally.foreign) == (3, {"not_submitted": 3}, 3)
    assert [len(made.rows) for made in server.made] == [3, 3]

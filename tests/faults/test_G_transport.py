"""G06 to G13: servers that fail, are not there, are silent, drip, break off, or answer nonsense."""

import socket
import time
from collections import Counter
from pathlib import Path

import pytest

from fiatkit.reasoning import RationaleStore
from tests.faults import child
from tests.faults.conftest import Meet
from tests.faults.fakeserver import (
    Asked,
    FakeServer,
    Reply,
    completion,
    error,
    first,
    well,
)
from tests.faults.invariants import Case, check, snapshot

GOOD = completion("It is late.\nAnswer: warm")


def outcomes(case: Case) -> Counter[str]:
    with RationaleStore.read_only(case.store) as store:
        return Counter(store.status()["attempts"])


@pytest.mark.parametrize("status", [500, 502, 503, 504, 529])
def test_G06_a_server_error_is_tried_again_and_only_gateways_may_have_billed(
    meet: Meet, status: int
) -> None:
    case = meet(first(2, error(status)), rows=3)
    unsure = status in (502, 504)
    failed = "ambiguous" if unsure else f"failed:http_{status}"
    assert outcomes(case) == {failed: 6, "done": 3}
    assert case.outcome.end["possibly_billed"] == (6 if unsure else 0)


def test_G06_a_server_that_always_fails_ends_the_run_after_six_attempts_a_row(meet: Meet) -> None:
    case = meet(lambda asked: error(503), rows=20, concurrency=2, code=5)
    assert max(case.server.counts().values()) == 6
    assert len(case.server.counts()) <= 3, "rows that were not begun are pending"


def test_G06_one_row_that_always_fails_fails_alone(meet: Meet) -> None:
    def script(asked: Asked) -> Reply:
        return error(500) if "number 3." in asked.text else well(asked)

    case = meet(script, rows=30, concurrency=2, failing={"q3": "failed:http_500"})
    assert max(case.server.counts().values()) == 6


def test_G06_the_circuit_opens_when_half_of_the_last_fifty_fail(meet: Meet) -> None:
    def script(asked: Asked) -> Reply:
        return error(503) if asked.number <= 40 else well(asked)

    case = meet(script, rows=20, concurrency=8, policy={"max_attempts": 40})
    assert case.outcome.output.count("More than half of the last 50 calls failed") == 1


def test_G06_retry_after_of_a_failing_server_pauses_all(meet: Meet) -> None:
    def script(asked: Asked) -> Reply:
        return error(503, retry_after_ms="500") if asked.number == 1 else well(asked)

    case = meet(script, rows=6, concurrency=1)
    assert case.server.receipts[1].at - case.server.receipts[0].at >= 0.5


def _closed_port() -> int:
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        return int(taken.getsockname()[1])


def unreachable(tmp_path: Path, url: str) -> None:
    store = tmp_path / "store.sqlite"
    with FakeServer() as server:
        outcome = child.here(url, store, 3, policy={"max_attempts": 2})
        keys = child.keys(url, child.queries(3))
    case = Case(server, store, keys, outcome, code=5, finished=False)
    check(case)
    assert set(outcomes(case)) == {"failed:connect"}, "certainly not billed"
    assert "large.base_url" in outcome.output
    assert "secret" not in outcome.output


def test_G07_nobody_listens_is_exit_5_and_names_the_address_without_its_password(
    tmp_path: Path,
) -> None:
    unreachable(tmp_path, f"http://user:secret@127.0.0.1:{_closed_port()}/v1")


def test_G07_a_name_that_nobody_knows(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def unknown(*where: object, **more: object) -> None:
        raise socket.gaierror(-2, "Name or service not known")

    real = socket.getaddrinfo
    monkeypatch.setattr(
        socket,
        "getaddrinfo",
        lambda host, *a, **k: (unknown if "llm" in str(host) else real)(host, *a, **k),
    )
    unreachable(tmp_path, "http://user:secret@llm.invalid/v1")


def test_G07_tls_that_fails(tmp_path: Path) -> None:
    with FakeServer() as plain:
        unreachable(tmp_path, plain.url.replace("http://", "https://user:secret@"))


def test_G08_no_answer_before_the_deadline_is_possibly_billed_and_asked_again(meet: Meet) -> None:
    case = meet(first(1, Reply(silent=True)), rows=3, large={"timeout": 0.4})
    assert outcomes(case) == {"ambiguous": 3, "done": 3}
    assert "3 possibly billed without an answer" in case.outcome.end["told"]


def test_G08_retry_ambiguous_never_asks_nobody_twice_not_even_in_another_run(meet: Meet) -> None:
    lost = {"q1": "failed:possibly_billed"}
    once = first(1, Reply(silent=True))

    def script(asked: Asked) -> Reply:
        return once(asked) if "number 1." in asked.text else well(asked)

    never = {"retry_ambiguous": "never"}
    case = meet(script, rows=3, failing=lost, large={"timeout": 0.4}, policy=never)
    assert set(case.server.counts().values()) == {1}
    outcome = child.here(case_url(case), case.store, 3, policy=never)
    assert outcome.states["q1"] == "failed:possibly_billed"
    assert outcome.end["calls"] == 0


def case_url(case: Case) -> str:
    """The address of a server that is gone: whoever is asked there is asked in vain."""
    return case.server.url


def test_G08_retry_ambiguous_auto_asks_again_after_never(tmp_path: Path) -> None:
    store = tmp_path / "store.sqlite"
    with FakeServer(first(1, Reply(silent=True))) as server:
        options = {"large": {"timeout": 0.4}}
        lost = child.here(server.url, store, 2, policy={"retry_ambiguous": "never"}, **options)
        assert set(lost.states.values()) == {"failed:possibly_billed"}
        before = snapshot(store, server)
        outcome = child.here(server.url, store, 2, **options)
        keys = child.keys(server.url, child.queries(2))
        check(Case(server, store, keys, outcome, before=before))
    assert set(outcome.states.values()) == {"ok"}


def test_G09_a_body_that_drips_is_cut_off_at_the_deadline(meet: Meet) -> None:
    dripping = Reply(body=b" " * 4_000_000, drip=0.1)  # for hours, if it were not cut off
    case = meet(first(1, dripping), rows=2, concurrency=2, large={"timeout": 0.5})
    assert outcomes(case) == {"ambiguous": 2, "done": 2}
    assert case.server.connections <= 2, "the dripping sockets were closed"


@pytest.mark.parametrize(
    "broken",
    [
        pytest.param(Reply(body=b'{"choices": [', declared=1000, reset=True), id="G10 reset"),
        pytest.param(Reply(body=b'{"choices": [', declared=1000), id="G11 short"),
        pytest.param(Reply(body=b'{"choices": [', declared=None), id="G12 truncated"),
    ],
)
def test_G10_G11_G12_an_answer_that_breaks_off_is_possibly_billed_and_asked_again(
    meet: Meet, broken: Reply
) -> None:
    case = meet(first(1, broken), rows=3)
    assert outcomes(case) == {"ambiguous": 3, "done": 3}


def test_G12_the_head_of_a_truncated_answer_is_shown_and_bounded(meet: Meet) -> None:
    raw = b'{"choices": [{"message": {"content": "' + b"y" * 5000
    case = meet(lambda asked: Reply(body=raw, declared=None), rows=1, code=5)
    assert "yyyy" in case.outcome.output
    assert len(case.outcome.output) < 1000


@pytest.mark.parametrize(
    "body",
    [
        b"<html><body>Bad gateway</body></html>",
        b"",
        b'{"error": {"code": "server_error", "message": "try later"}}',
        b"null",
        b'"text"',
    ],
)
def test_G13_a_200_that_is_no_completion_is_never_stored_as_good(meet: Meet, body: bytes) -> None:
    case = meet(first(1, Reply(body=body)), rows=3)
    assert outcomes(case) == {"ambiguous": 3, "done": 3}


def test_G06_no_socket_is_left_after_a_storm_of_errors(meet: Meet) -> None:
    case = meet(first(4, error(500)), rows=60, concurrency=16, large={"concurrency": 16})
    assert case.outcome.end["calls"] == 300
    deadline = time.monotonic() + 60
    while case.server.connections and time.monotonic() < deadline:
        time.sleep(0.01)
    assert case.server.connections == 0

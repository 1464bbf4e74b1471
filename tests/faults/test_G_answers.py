"""G14 to G22: answers of a wrong shape, too many, empty, cut off, refused, unpriced, strange, huge."""

import gzip
import json
from dataclasses import replace
from decimal import Decimal
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from fiatkit.models import create_chat_model
from fiatkit.models.providers._flavours import FLAVOURS
from fiatkit.models.providers.openai_compatible import read
from fiatkit.reasoning import RationaleStore, Reasoner
from fiatkit.records import Message, Request, Sampling
from fiatkit.tasks import Task
from tests.faults import child
from tests.faults.child import TASK
from tests.faults.conftest import Meet
from tests.faults.fakeserver import (
    PRICE,
    Asked,
    FakeServer,
    Reply,
    completion,
    error,
    first,
    right_text,
    well,
)
from tests.faults.invariants import Case, check, snapshot

TEXTS = json.loads((Path(__file__).parent / "corpora" / "texts.json").read_text())
REQUEST = Request((Message("user", "x"),), Sampling())
leaves = st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=5)
anything = st.recursive(
    leaves,
    lambda inner: (
        st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=5), inner, max_size=3)
    ),
    max_leaves=6,
)
WRONG = (ValueError, KeyError, IndexError, TypeError, AttributeError, RecursionError)


def spoilt(draw: Any, value: Any, times: int) -> Any:
    """`value` with some of its parts replaced by anything, or left out."""
    for _ in range(times):
        if not isinstance(value, dict | list) or not value:
            return draw(anything)
        key = draw(st.sampled_from(sorted(value) if isinstance(value, dict) else range(len(value))))
        if draw(st.booleans()):
            value[key] = draw(anything)
        elif isinstance(value[key], dict | list):
            value[key] = spoilt(draw, value[key], 1)
        else:
            del value[key]
    return value


@settings(max_examples=400, deadline=None)
@given(st.data())
def test_G14_whatever_the_shape_there_is_an_answer_or_a_typed_error(data: st.DataObject) -> None:
    value = spoilt(data.draw, completion("Good.\nAnswer: warm"), data.draw(st.integers(1, 3)))
    try:
        found = read(value, REQUEST, FLAVOURS["openai"], 0.1)
    except WRONG:
        return
    assert isinstance(found.text, str)
    assert found.finish in ("stop", "length", "refused", "empty", "error")
    assert found.finish != "stop" or found.text.strip()
    for tokens in (found.usage.prompt_tokens, found.usage.completion_tokens):
        assert tokens is None or (type(tokens) is int and tokens >= 0)


@pytest.mark.parametrize(
    "body",
    [
        {"choices": []},
        {"choices": None},
        {},
        {"choices": [{"index": 0, "message": None, "finish_reason": "stop"}]},
        {"choices": [{"index": 0, "message": {"content": ["x"]}, "finish_reason": "stop"}]},
        {"choices": "x"},
    ],
)
def test_G14_an_answer_of_a_wrong_shape_is_asked_for_again(meet: Meet, body: Any) -> None:
    case = meet(first(1, Reply(body=body)), rows=2)
    assert case.outcome.end["possibly_billed"] == 2


def sampled(url: str, store: Path, count: int) -> list[Any]:
    """`count` rationales for one query, drawn at temperature 0.7."""
    values = TASK.model_dump(mode="json")
    values["reasoning"] |= {"temperature": 0.7}
    task, query = Task.model_validate(values), child.queries(1)[0]
    model = create_chat_model(child.large(url))
    with Reasoner(task, model, RationaleStore(store)) as reasoner:
        return [reasoner.expand([query], sample=number)["q0"] for number in range(count)]


def test_G15_only_missing_samples_are_asked_for_and_extra_choices_are_counted(
    tmp_path: Path,
) -> None:
    refusing = [True]

    def script(asked: Asked) -> Reply:
        if asked.body["seed"] >= 2 and refusing[0]:
            return error(422)
        body = completion(f"Sample {asked.body['seed']}.\nAnswer: warm")
        body["choices"] += [body["choices"][0], {**body["choices"][0], "index": 1}]
        return Reply(body=body)

    store = tmp_path / "store.sqlite"
    with FakeServer(script) as server:
        first_run = sampled(server.url, store, 4)
        assert [r.status for r in first_run] == ["ok", "ok", "failed:http_422", "failed:http_422"]
        refusing[0] = False
        second_run = sampled(server.url, store, 4)
        seeds = [asked.body["seed"] for asked in server.receipts]
    assert seeds == [0, 1, 2, 3, 2, 3]
    assert [r.text.splitlines()[0] for r in second_run] == [f"Sample {n}." for n in range(4)]
    assert len({r.key for r in second_run}) == 4
    with RationaleStore.read_only(store) as opened:
        kept = opened.get(second_run[0].key)
    assert kept is not None and kept.detail == "2 more choices than asked for were ignored"


def test_G16_an_empty_answer_is_asked_for_once_more(meet: Meet) -> None:
    case = meet(first(1, Reply(body=completion(" \n"))), rows=3)
    assert case.outcome.end["calls"] == 6
    assert case.outcome.end["possibly_billed"] == 0


def test_G16_empty_twice_is_failed_and_paid_no_more(meet: Meet) -> None:
    empty = {"q0": "failed:empty", "q1": "failed:empty"}
    case = meet(lambda asked: Reply(body=completion("")), rows=2, failing=empty)
    assert case.outcome.end["calls"] == 4
    again(case, "empty", 4)


def again(case: Case, reason: str, calls: int) -> None:
    """The same rows once more: nothing is asked; with `--retry reason`, all are."""
    with FakeServer() as server:
        options = {"large": {"endpoint": case.server.url}}
        outcome = child.here(server.url, case.store, len(case.rows), **options)
        assert not server.receipts
        assert outcome.states == case.outcome.states
        before = snapshot(case.store, server)
        outcome = child.here(
            server.url, case.store, len(case.rows), policy={"retry": (reason,)}, **options
        )
        assert set(outcome.states.values()) == {"ok"}
        assert len(server.receipts) == len(case.rows)
        assert len(before.committed) == len(case.rows)


REASONING = {"content": "", "reasoning_content": "Hm. " * 20}


def test_G17_reasoning_without_an_answer_is_named_with_a_hint(meet: Meet) -> None:
    only = Reply(body=completion("", "length", message=REASONING))
    states = {"q0": "failed:empty-reasoning-only"}
    meet(lambda asked: only, rows=1, failing=states)


def test_G17_more_tokens_are_tried_once_and_not_paid_again(tmp_path: Path) -> None:
    def script(asked: Asked) -> Reply:
        if asked.body["max_tokens"] == 32:
            return Reply(body=completion("", "length", message=REASONING))
        return well(asked)

    more_tokens(tmp_path, script, "ok")


@pytest.mark.parametrize(("enough", "state"), [(64, "ok"), (128, "failed:truncated")])
def test_G18_a_truncated_answer_is_tried_once_with_more_tokens(
    tmp_path: Path, enough: int, state: str
) -> None:
    def script(asked: Asked) -> Reply:
        short = asked.body["max_tokens"] < enough
        return Reply(body=completion("It is", "length")) if short else well(asked)

    more_tokens(tmp_path, script, state)


def more_tokens(tmp_path: Path, script: Any, state: str) -> None:
    """Two requests a row at most, of which a second run makes none."""
    store = tmp_path / "store.sqlite"
    with FakeServer(script) as server:
        for run in range(2):
            outcome = child.here(server.url, store, 2, more_tokens=64, price=PRICE)
            assert set(outcome.states.values()) == {state}
            assert outcome.end["calls"] == (0 if run else 4)
            assert Decimal(outcome.end["cost"]) == (0 if run else Decimal("0.00024"))
        queries = child.queries(2)
        keys, more = child.keys(server.url, queries), child.keys(server.url, queries, 64)
    check(Case(server, store, more, outcome, more=keys))


def test_G18_truncated_text_is_kept_counted_and_not_used(meet: Meet) -> None:
    cut = Reply(body=completion("It is warm, so the\nAnswer: warm", "length"))
    states = {"q0": "failed:truncated", "q1": "failed:truncated"}
    case = meet(lambda asked: cut, rows=2, failing=states, price=PRICE)
    assert Decimal(case.outcome.end["cost"]) == Decimal("0.00012")
    with RationaleStore.read_only(case.store) as store:
        kept = store.get(case.rows["q0"].store)
    assert kept is not None and kept.text.startswith("It is warm")
    again(case, "truncated", 2)


@pytest.mark.parametrize(
    "refusal",
    [
        Reply(body=completion("", "content_filter")),
        Reply(body=completion(None, message={"refusal": "I cannot help with that."})),
        error(400, "content_filter"),
    ],
)
def test_G19_a_refusal_is_paid_once_and_remembered(meet: Meet, refusal: Reply) -> None:
    states = {"q0": "failed:refused", "q1": "failed:refused"}
    case = meet(lambda asked: refusal, rows=2, failing=states)
    assert case.outcome.end["calls"] == 2
    again(case, "refused", 2)


def test_G20_an_unknown_ending_is_a_failure_and_a_missing_usage_is_no_zero(meet: Meet) -> None:
    def script(asked: Asked) -> Reply:
        if "number 0." in asked.text:
            return Reply(body=completion("x", "tool_calls"))
        if "number 1." in asked.text:
            return Reply(body=completion(right_text(asked.text), usage=None))
        return well(asked)

    failing = {"q0": "failed:finish_reason tool_calls"}
    case = meet(script, rows=3, failing=failing, price=PRICE)
    assert case.outcome.end["unknown_cost"] == 1
    assert Decimal(case.outcome.end["cost"]) == Decimal("0.00012")
    assert "cost of 1 not known" in case.outcome.end["told"]
    with RationaleStore.read_only(case.store) as store:
        spent = store.spent()
        unpriced = store.get(case.rows["q1"].store)
    assert (spent.cost, spent.unknown_cost) == (Decimal("0.00012"), 1)
    assert unpriced is not None and unpriced.cost is None


def other_model(asked: Asked) -> Reply:
    return Reply(body=completion(right_text(asked.text), model="cheaper"))


def test_G21_answers_of_another_model_are_counted_and_told_once(meet: Meet) -> None:
    case = meet(other_model, rows=3)
    assert case.outcome.end["other_models"] == {"cheaper": 3}
    assert case.outcome.output.count('"cheaper" answered where "m" was asked') == 1


def test_G21_strict_stops_at_another_model_also_when_it_comes_from_the_store(meet: Meet) -> None:
    case = meet(other_model, rows=3, concurrency=1, code=5, policy={"strict": True})
    assert len(case.server.receipts) == 1
    stored = meet(other_model, rows=1, store="other.sqlite")
    with FakeServer() as server:
        options = {"large": {"endpoint": stored.server.url}}
        outcome = child.here(server.url, stored.store, 1, policy={"strict": True}, **options)
        assert (outcome.code, server.receipts) == (5, [])


def test_G21_a_redirect_is_not_followed(meet: Meet) -> None:
    case = meet(
        lambda asked: Reply(302, b"", {"Location": "http://127.0.0.1:9/"}),
        rows=5,
        concurrency=1,
        code=5,
    )
    assert len(case.server.receipts) == 3
    assert "Redirects are not followed" in case.outcome.output


BOMB = gzip.compress(b" " * 200_000_000)
MILLION = {f"x-{number}": "y" for number in range(1_000_000)}
HUGE: dict[str, tuple[Reply, str]] = {
    "a bomb": (Reply(body=BOMB, headers={"Content-Encoding": "gzip"}), "failed:too_big"),
    "100 MB": (Reply(body=b'{"x": "' + bytes(100_000_000)), "failed:too_big"),
    "a million headers": (replace(Reply(body=b"{}"), headers=MILLION), ""),
}


@pytest.mark.parametrize("name", HUGE)
def test_G21_a_huge_answer_does_not_fill_the_memory(tmp_path: Path, name: str) -> None:
    """A process of its own, so that only its memory counts, before the answer and after it."""
    reply, state = HUGE[name]

    def script(asked: Asked) -> Reply:
        return reply if "number 3." in asked.text else well(asked)

    store = tmp_path / "store.sqlite"
    peak: list[int] = []
    for rows in (3, 5):
        with FakeServer(script) as server:
            large = {"endpoint": "e"}
            outcome = child.run(
                server.url, store, rows, concurrency=1, large=large, policy={"max_attempts": 1}
            )
        peak.append(outcome.end["peak_rss_kib"])
    if state:
        assert outcome.states["q3"] == state
        assert [outcome.states[f"q{i}"] for i in (0, 1, 2, 4)] == ["ok"] * 4
    else:  # the connection was given up, which is tried again as any that breaks
        assert (outcome.code, outcome.end["possibly_billed"]) == (5, 1)
    assert peak[1] - peak[0] <= 64 * 1024, "KiB of memory"


@pytest.mark.parametrize("name", TEXTS)
def test_G22_whatever_a_model_writes_round_trips(meet: Meet, tmp_path: Path, name: str) -> None:
    text = TEXTS[name]
    case = meet(lambda asked: Reply(body=completion(text)), rows=1, changed={"texts": {}})
    expected = text.replace("\ud800", "\ufffd")
    copy = tmp_path / "copy.sqlite"
    with RationaleStore.read_only(case.store) as store:
        kept = store.get(case.rows["q0"].store)
        store.export(tmp_path / "out.jsonl")
    with RationaleStore(copy) as store:
        store.import_(tmp_path / "out.jsonl")
        copied = store.get(case.rows["q0"].store)
    assert kept is not None and kept.text == expected
    assert copied == kept
    assert ("surrogate" in kept.detail) == (name == "half a surrogate")
    assert "\x1b" not in case.outcome.output

"""The ledger: exact sums of money and tokens, by run, model, day and outcome."""

import sqlite3
from decimal import Decimal
from pathlib import Path

import pytest

from fiatkit.errors import UnknownNameError
from fiatkit.reasoning import RationaleStore, completion_key
from fiatkit.records import Completion, Usage

from .test_store import IDENTITY, request


@pytest.fixture
def store(tmp_path: Path) -> RationaleStore:
    return RationaleStore(tmp_path / "store.sqlite")


def paid(
    store: RationaleStore, text: str, cost: Decimal | None, *, run: str = "", model: str = ""
) -> Completion:
    attempt = store.lease(completion_key(IDENTITY, request(text)), run=run, model=model)
    answer = Completion(
        "yes", "stop", Usage(10, 3, 8, 2), reasoning="hm", logprobs=(("yes", -0.1),)
    )
    return store.commit(attempt, IDENTITY, request(text), answer, cost=cost)


def test_money_is_summed_exactly(store: RationaleStore) -> None:
    """A tenth of a dollar ten times is a dollar, and 1e-12 dollars beside 8e5 are not lost."""
    with store:
        for number in range(10):
            paid(store, f"q{number}", Decimal("0.1"))
        assert store.spent().cost == Decimal(1)
        paid(store, "large", Decimal(800_000))
        paid(store, "small", Decimal("0.000000000001"))
        assert store.spent().cost == Decimal("800001.000000000001")


def test_an_answer_keeps_its_price_reasoning_and_log_probabilities(store: RationaleStore) -> None:
    with store:
        kept = paid(store, "q", Decimal("0.0000123"))
        assert kept.cost == Decimal("0.0000123")
        assert (kept.reasoning, kept.logprobs) == ("hm", (("yes", -0.1),))
        assert kept.usage.reasoning_tokens == 2
        assert store.get(completion_key(IDENTITY, request("q"))) == kept
        assert paid(store, "unknown", None).cost is None
        assert store.verify() == []


@pytest.mark.parametrize("column", ["cost", "reasoning", "logprobs", "reasoning_tokens"])
def test_D08_the_newer_columns_are_under_the_checksum(store: RationaleStore, column: str) -> None:
    key = completion_key(IDENTITY, request("q"))
    with store:
        paid(store, "q", Decimal(1))
        with sqlite3.connect(store.path) as raw:
            raw.execute(f"UPDATE completions SET {column} = NULL")
        assert store.get(key) is None
        assert store.corrupt == 1


def test_sums_by_group(store: RationaleStore) -> None:
    with store:
        paid(store, "a", Decimal(1), run="one", model="big")
        paid(store, "b", Decimal(2), run="one", model="bigger")
        paid(store, "c", None, run="two", model="big")
        store.fail(store.lease("k", run="two", model="big"), "rate_limit")
        lost = store.lease("l", run="two", model="big")
        store.fail(lost, "deadline", ambiguous=True, usage=Usage(10), cost=Decimal(4))
        store.lease("m", run="two", model="big")

        by_run = {row.group["run"]: row for row in store.ledger(["run"])}
        assert (by_run["one"].calls, by_run["one"].cost) == (2, Decimal(3))
        two = by_run["two"]
        assert (two.calls, two.cost, two.unknown_cost, two.possibly_billed) == (4, Decimal(4), 1, 1)
        assert (two.prompt_tokens, two.cached_tokens, two.completion_tokens) == (20, 8, 3)
        assert two.reasoning_tokens == 2
        assert store.spent("two").cost == Decimal(4)
        assert store.spent("three").calls == 0
        assert store.spent("three").cost == 0

        rows = store.ledger(["model", "outcome"])
        assert [(*row.group.values(), row.calls) for row in rows] == [
            ("big", "ambiguous", 1),
            ("big", "done", 2),
            ("big", "failed:rate_limit", 1),
            ("big", "leased", 1),
            ("bigger", "done", 1),
        ]
        assert sum(row.cost for row in rows) == store.spent().cost
        (day,) = store.ledger(["day"])
        assert len(day.group["day"]) == len("2026-11-25")


def test_an_unknown_group_is_named(store: RationaleStore) -> None:
    with store, pytest.raises(UnknownNameError, match="outcome"):
        store.ledger(["outcomes"])  # type: ignore[list-item]


def test_what_is_in_a_batch_outlives_the_process(tmp_path: Path) -> None:
    path = tmp_path / "store.sqlite"
    with RationaleStore(path) as store:
        store.lease("a", batch="batch_1")
        store.lease("b")
    with RationaleStore(path) as store:
        assert store.status()["attempts"] == {"ambiguous": 1, "leased": 1}

"""The fault server, the child and the checker themselves: a checker that cannot fail proves nothing."""

import sqlite3
from dataclasses import replace
from pathlib import Path

import pytest

from tests.faults import child
from tests.faults.fakeserver import KEY, FakeServer, error, first
from tests.faults.invariants import Case, check, right, snapshot


@pytest.fixture
def case(tmp_path: Path) -> Case:
    store = tmp_path / "store.sqlite"
    with FakeServer(first(1, error(503))) as server:
        outcome = child.run(server.url, store, rows=4)
        rows = child.keys(server.url, child.queries(4))
    return Case(server, store, rows, outcome, texts=right(rows))


def test_a_run_with_one_fault_a_row_holds_every_invariant(case: Case) -> None:
    check(case)
    assert case.outcome.end["calls"] == len(case.server.receipts) == 8


def test_the_checker_notices_what_is_broken(case: Case, tmp_path: Path) -> None:
    def broken(sign: str, changed: Case) -> None:
        with pytest.raises(AssertionError, match=sign):
            check(changed)

    outcome = case.outcome
    broken("INV1", replace(case, outcome=replace(outcome, acked=outcome.acked | {"q0": "0"})))
    broken("INV4", replace(case, texts={"q0": "another text"}))
    broken("INV6", replace(case, outcome=replace(outcome, states={"q0": "ok"})))
    broken("INV6", replace(case, outcome=replace(outcome, states=outcome.states | {"q1": "done"})))
    broken("INV7", replace(case, outcome=replace(outcome, output=f"Bearer {KEY}")))
    broken("INV8", replace(case, limits={"seconds": (3, 2)}))
    broken("INV9", replace(case, canary=case.store))
    broken("INV10", replace(case, code=5))
    seen = snapshot(case.store, case.server)
    broken("INV3", replace(case, before=replace(seen, receipts=4)))
    (tmp_path / "store.sqlite.tmp").touch()
    broken("INV5", case)
    (tmp_path / "store.sqlite.tmp").unlink()
    with sqlite3.connect(case.store) as db:
        db.execute("DELETE FROM attempts WHERE seq = 1")
    broken("INV2", case)

"""How attempts take turns: in the ledger before they are sent, never too many, none after a stop."""

import asyncio
import sqlite3
from dataclasses import replace
from pathlib import Path

import pytest

from fiatkit.errors import CapReachedError, FatalProviderError
from fiatkit.models.providers.scripted import Scripted, Settings
from fiatkit.reasoning import RationaleStore, Reasoner
from fiatkit.reasoning.key import completion_key
from fiatkit.reasoning.policy import Policy
from fiatkit.records import Completion, Query, Request, Usage

from .conftest import TASK, Playing

SLOTS = 16
READY = SLOTS // 8


class Watched(Scripted):
    """Looks into the ledger whenever it is asked, by a connection of its own.

    The first answer comes when `ready` attempts are in the ledger that nobody has sent, and is by
    `first_by`; the others come after it.
    """

    def __init__(self, store: Path, ready: int = 0, first_by: str = "scripted") -> None:
        super().__init__(Settings(default="Answer: warm", concurrency=SLOTS))
        self.store = store
        self.ready = ready
        self.first_by = first_by
        self.under_way = 0
        self.most = 0
        self.not_leased: list[str] = []
        self.first = asyncio.Event()

    async def complete(self, request: Request) -> Completion:
        is_first = not self.calls
        self.under_way += 1
        self.most = max(self.most, self.under_way)
        if not self._leased("key = ?", completion_key(self.identity, request)):
            self.not_leased.append(request.messages[-1].content)
        answer = await super().complete(request)
        if is_first:
            async with asyncio.timeout(60):
                while self.under_way < SLOTS or self._leased("?", "1") < SLOTS + self.ready:
                    await asyncio.sleep(0.001)
            self.first.set()
            answer = replace(answer, model=self.first_by)
        await self.first.wait()
        self.under_way -= 1
        return answer

    def _leased(self, which: str, value: str) -> int:
        with sqlite3.connect(f"{self.store.as_uri()}?mode=ro", uri=True) as db:
            query = f"SELECT count(*) FROM attempts WHERE outcome = 'leased' AND {which}"
            return int(db.execute(query, (value,)).fetchone()[0])


def rows(count: int) -> list[Query]:
    return [Query(f"q{i}", {"text": f"number {i}."}) for i in range(count)]


def test_each_attempt_is_in_the_ledger_before_it_is_sent_and_no_more_than_slots_are_under_way(
    tmp_path: Path,
) -> None:
    model = Watched(tmp_path / "s.sqlite", READY)
    with Reasoner(TASK, model, RationaleStore(model.store)) as reasoner:
        found = reasoner.expand(rows(200))
        attempts = reasoner.store.status()["attempts"]
    assert {r.status for r in found.values()} == {"ok"}
    assert model.not_leased == []
    assert model.most == SLOTS
    assert attempts == {"done": 200}, "what stood ready in the ledger was sent"


def test_G21_strict_sends_nothing_once_an_answer_of_another_model_has_come(tmp_path: Path) -> None:
    model = Watched(tmp_path / "s.sqlite", READY, first_by="cheaper")
    policy = Policy(strict=True)
    with Reasoner(TASK, model, RationaleStore(model.store), policy=policy) as reasoner:
        with pytest.raises(FatalProviderError, match='"cheaper" answered where "scripted"'):
            reasoner.expand(rows(200))
        status = reasoner.store.status()
    assert model.calls == SLOTS, "those under way"
    assert status["completions"] == SLOTS, "were paid for, and are kept"
    assert status["attempts"] == {"done": SLOTS, "failed:unsent": READY}


@pytest.mark.parametrize("cap", [SLOTS, SLOTS + 1, 50])
def test_G26_max_calls_is_exact_though_attempts_stand_ready(tmp_path: Path, cap: int) -> None:
    model = Watched(tmp_path / "s.sqlite")
    policy = Policy(max_calls=cap)
    with Reasoner(TASK, model, RationaleStore(model.store), policy=policy) as reasoner:
        with pytest.raises(CapReachedError):
            reasoner.expand(rows(200))
        attempts = reasoner.store.status()["attempts"]
    assert model.calls == cap
    assert attempts.pop("done") == cap
    assert sum(attempts.values()) <= READY
    assert set(attempts) <= {"failed:unsent"}


def test_G18_a_refusal_that_is_asked_for_again_is_asked_once_for_all_rows_of_its_text(
    tmp_path: Path,
) -> None:
    refused = Completion("", "refused", Usage(1, 1, 0))
    model = Playing(lambda text, time: refused if "same" in text else None)
    queries = [Query("a", {"text": "same"}), *rows(12), Query("b", {"text": "same"})]
    for calls in (1, 2):
        store, policy = RationaleStore(tmp_path / "s.sqlite"), Policy(retry=("refused",))
        with Reasoner(TASK, model, store, policy=policy) as reasoner:
            found = reasoner.expand(queries)
        assert [found[name].status for name in "ab"] == ["failed:refused"] * 2
        assert sum("same" in text for text in model.asked) == calls

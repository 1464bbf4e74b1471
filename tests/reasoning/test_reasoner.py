"""The engine and the reasoner: each answer once, each failure told, every attempt in the ledger."""

import json
import os
import signal
import subprocess
import sys
import time
from collections import Counter
from collections.abc import Callable
from pathlib import Path

import pytest

from fiatkit.errors import FatalProviderError, RowProviderError, TransientProviderError
from fiatkit.models import create_chat_model
from fiatkit.models.protocol import ChatModel
from fiatkit.models.providers.scripted import Scripted, Settings
from fiatkit.reasoning import RationaleStore, Reasoner
from fiatkit.records import Completion, Query, Usage

from .conftest import Playing

Make = Callable[[ChatModel], Reasoner]


def test_a_committed_answer_is_never_asked_for_again(
    reasoner_of: Make, queries: list[Query]
) -> None:
    model = Playing(lambda text, time: None)
    with reasoner_of(model) as reasoner:
        first = reasoner.expand(queries)
    again = Playing(lambda text, time: AssertionError("asked again"))
    with reasoner_of(again) as reasoner:
        assert reasoner.missing(queries) == 0
        assert reasoner.expand(queries) == first
        assert reasoner.tally.from_store == 12
    assert Counter(model.asked).most_common(1)[0][1] == 1
    assert not again.asked


def test_G27_one_text_under_two_ids_is_one_call(reasoner_of: Make) -> None:
    model = Playing(lambda text, time: None)
    with reasoner_of(model) as reasoner:
        found = reasoner.expand([Query("a", {"text": "same"}), Query("b", {"text": "same"})])
    assert len(model.asked) == 1
    assert found["a"].text == found["b"].text


@pytest.mark.parametrize(
    ("finish", "status", "calls"),
    [("length", "truncated", 1), ("refused", "refused", 1), ("empty", "empty", 2)],
)
def test_G16_G18_G19_bad_answers_are_kept_as_such_and_paid_once(
    reasoner_of: Make, queries: list[Query], finish: str, status: str, calls: int
) -> None:
    bad = Completion("Answer: warm", finish, Usage(1, 1, 0))  # type: ignore[arg-type]
    model = Playing(lambda text, time: bad if text.endswith("3.") else None)
    for _ in range(2):
        with reasoner_of(model) as reasoner:
            found = reasoner.expand(queries)
        assert found["q3"].status == f"failed:{status}"
        assert found["q3"].answer is None
        assert found["q4"].status == "ok"
    assert Counter(model.asked)["Text: number 3."] == calls


def test_G06_transient_errors_are_tried_again_and_counted(
    reasoner_of: Make, queries: list[Query], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("fiatkit.reasoning.limiter.FIRST_PAUSE", 0.001)
    bad_gateway = TransientProviderError("502", reason="http_502", ambiguous=True)
    model = Playing(lambda text, time: bad_gateway if time < 3 else None)
    with reasoner_of(model) as reasoner:
        found = reasoner.expand(queries[:3])
        assert {r.status for r in found.values()} == {"ok"}
        assert reasoner.tally.calls == len(model.asked) == 9
        assert reasoner.tally.possibly_billed == 6
        assert reasoner.store.status()["attempts"] == {"ambiguous": 6, "done": 3}


def test_G06_attempts_of_a_row_are_bounded(
    reasoner_of: Make, queries: list[Query], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("fiatkit.reasoning.limiter.FIRST_PAUSE", 0.001)
    model = Playing(lambda text, time: TransientProviderError("503", reason="http_503"))
    with reasoner_of(model) as reasoner, pytest.raises(TransientProviderError):
        reasoner.expand(queries[:1])
    assert len(model.asked) == 6


def test_G02_a_rate_limit_pauses_everyone_and_is_charged_to_nobody(
    reasoner_of: Make, queries: list[Query]
) -> None:
    began = time.monotonic()
    limited: list[float] = []

    def play(text: str, times: int) -> Completion | Exception | None:
        if not limited:
            limited.append(time.monotonic())
            return TransientProviderError("429", reason="rate_limit", retry_after=0.5)
        if time.monotonic() - limited[0] < 0.45 and len(model.asked) > 4:
            return AssertionError("asked during the pause")
        return None

    model = Playing(play)
    with reasoner_of(model) as reasoner:
        found = reasoner.expand(queries)
    assert {r.status for r in found.values()} == {"ok"}
    assert time.monotonic() - began >= 0.5


def test_G05_three_fatal_errors_end_the_run_and_rows_stay_open(
    reasoner_of: Make, queries: list[Query]
) -> None:
    model = Playing(lambda text, time: FatalProviderError("401", reason="auth"))
    with reasoner_of(model) as reasoner:
        with pytest.raises(FatalProviderError):
            reasoner.expand(queries)
        assert len(model.asked) <= 6
        assert reasoner.missing(queries) == 12


def test_G05_without_a_key_no_call_is_counted(
    reasoner_of: Make, queries: list[Query], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.delenv("NO_KEY_HERE", raising=False)
    values = {"base_url": "https://llm.example/v1", "model": "m", "api_key_env": "NO_KEY_HERE"}
    model = create_chat_model({"provider": "openai_compatible", **values})
    with reasoner_of(model) as reasoner:
        with pytest.raises(FatalProviderError, match="NO_KEY_HERE holds no key"):
            reasoner.expand(queries)
        assert reasoner.tally.calls == 0
        assert reasoner.store.status()["attempts"] == {}


def test_a_row_that_can_never_succeed_fails_alone_and_is_not_stored(
    reasoner_of: Make, queries: list[Query]
) -> None:
    model = Playing(
        lambda text, time: RowProviderError("long", reason="too_long") if "5" in text else None
    )
    with reasoner_of(model) as reasoner:
        found = reasoner.expand(queries)
        assert found["q5"].status == "failed:too_long"
        assert reasoner.missing(queries) == 1


def test_G23_an_answer_outside_the_labels_is_kept_and_settled_by_a_second_turn(
    reasoner_of: Make,
) -> None:
    model = Scripted(Settings(answers={"exactly one of": "cold"}, default="Who knows."))
    query = Query("q", {"text": "x"})
    with reasoner_of(model) as reasoner:
        found = reasoner.expand([query])
        assert (found["q"].status, found["q"].answer) == ("ok", None)
        assert reasoner.constrain([query], found) == {"q": "cold"}
        assert reasoner.constrain([query], found) == {"q": "cold"}
    assert model.calls == 2


CHILD = """
import sys
from pathlib import Path
from fiatkit.models.providers.scripted import Scripted, Settings
from fiatkit.reasoning import RationaleStore, Reasoner
from fiatkit.records import Query
sys.path.insert(0, {tests!r})
from tests.reasoning.conftest import TASK

class Loud(Scripted):
    async def complete(self, request):
        with open({receipts!r}, "a") as file:
            file.write(request.messages[-1].content + "\\n")
        return await super().complete(request)

def told(now):
    print(now.done, flush=True)

queries = [Query(f"q{{i}}", {{"text": f"number {{i}}."}}) for i in range(60)]
model = Loud(Settings(default="Answer: warm", concurrency=4, latency=0.01))
with Reasoner(TASK, model, RationaleStore(Path({store!r}))) as reasoner:
    reasoner.expand(queries, on_progress=told)
"""


@pytest.mark.parametrize("kill_after", [1, 7, 20, 33, 59])
def test_G01_kill_9_loses_nothing_and_repeats_what_was_under_way_only(
    tmp_path: Path, kill_after: int
) -> None:
    receipts, store = tmp_path / "receipts", tmp_path / "store.sqlite"
    root = str(Path(__file__).parents[2])
    code = CHILD.format(tests=root, receipts=str(receipts), store=str(store))
    child = subprocess.Popen(
        [sys.executable, "-c", code], stdout=subprocess.PIPE, text=True, cwd=root
    )
    assert child.stdout is not None
    acknowledged = 0
    for line in child.stdout:
        acknowledged = int(line)
        if acknowledged >= kill_after:
            os.kill(child.pid, signal.SIGKILL)
            break
    child.wait()
    child.stdout.close()

    before = tmp_path / "before.jsonl"
    with RationaleStore(store) as opened:
        kept = opened.export(before)
    assert kept >= acknowledged
    subprocess.run([sys.executable, "-c", code], check=True, capture_output=True, cwd=root)
    with RationaleStore(store) as opened:
        after = tmp_path / "after.jsonl"
        assert opened.export(after) == 60
        assert opened.verify() == []
        attempts = opened.status()["attempts"]
    assert after.read_bytes().startswith(before.read_bytes()), "committed rows are as they were"
    asked = Counter(receipts.read_text().splitlines())
    assert len(asked) == 60
    assert sum(asked.values()) - 60 <= 4, "at most the requests under way are repeated"
    committed = [json.loads(line)["request"] for line in before.read_text().splitlines()]
    texts = [json.loads(request)["messages"][-1]["content"] for request in committed]
    assert all(asked[text] == 1 for text in texts)
    leased = sum(asked.values())
    assert attempts["done"] == 60
    assert leased <= sum(attempts.values()) <= leased + 4

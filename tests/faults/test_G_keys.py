"""G27 and G28: one text under two ids, one run started twice, and settings that change."""

import subprocess
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from fiatkit.models.providers.scripted import Scripted, Settings
from fiatkit.reasoning import RationaleStore, Reasoner, completion_key
from fiatkit.records import Message, ModelIdentity, Request, Sampling
from fiatkit.tasks import Task
from tests.faults import child
from tests.faults.conftest import Meet
from tests.faults.fakeserver import Asked, FakeServer, Reply, completion, right_text
from tests.faults.invariants import Case, check, right


def test_G27_one_text_under_many_ids_is_one_paid_call(meet: Meet) -> None:
    texts = ["the same"] * 7 + ["another"]
    case = meet(rows=8, concurrency=8, texts=texts)
    assert len(case.server.receipts) == 2
    assert len(set(case.outcome.acked.values())) == 2
    assert len(case.outcome.acked) == 8


def test_G27_the_same_run_twice_at_once_is_refused_and_pays_once(tmp_path: Path) -> None:
    def slowly(asked: Asked) -> Reply:
        return Reply(body=completion(right_text(asked.text)), wait=0.3)

    store = tmp_path / "store.sqlite"
    with FakeServer(slowly) as server:
        first = subprocess.Popen(
            child.command(server.url, store, 12, concurrency=2),
            cwd=child.ROOT,
            env=child.environment(),
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
        )
        assert first.stdout is not None
        line = first.stdout.readline()
        second = child.here(server.url, store, 12)
        assert second.code == 4
        assert f"pid {first.pid}" in second.output
        out, err = child.rest(first)
        outcome = child.read(first.returncode, line + out, err)
        keys = child.keys(server.url, child.queries(12))
    check(Case(server, store, keys, outcome, texts=right(keys)))
    assert len(server.receipts) == 12


words = st.text(max_size=4)
identities = st.builds(ModelIdentity, words, words, words, words)
samplings = st.builds(
    Sampling,
    st.integers(1, 9),
    st.floats(0, 2),
    st.floats(0, 1),
    st.integers(0, 3),
    st.lists(words, max_size=2).map(tuple),
)
messages = st.lists(st.builds(Message, st.sampled_from(["system", "user"]), words), max_size=3)
requests = st.builds(
    Request,
    messages.map(tuple),
    samplings,
    st.lists(words, max_size=2).map(tuple),
    st.integers(0, 3),
)


@given(identities, identities, requests, requests)
def test_G28_keys_are_equal_only_where_everything_is(
    a: ModelIdentity, b: ModelIdentity, x: Request, y: Request
) -> None:
    assert (completion_key(a, x) == completion_key(b, y)) == (
        repr((a, x)) == repr((b, y))  # repr tells -0.0 from 0.0, as the key does
    )


@pytest.mark.parametrize(
    ("reasoning", "model", "words"),
    [
        ({"temperature": 0.7}, "m", "temperature 0.0, now 0.7"),
        ({"max_tokens": 64}, "m", "max_tokens 32, now 64"),
        ({"instruction": "Say it."}, "m", "other instruction or exemplars"),
        ({}, "m2", "model m, now m2"),
        ({}, "m", ""),
    ],
)
def test_G28_answers_lost_to_other_settings_are_counted_with_the_reason(
    tmp_path: Path, reasoning: dict[str, object], model: str, words: str
) -> None:
    store, queries = tmp_path / "store.sqlite", child.queries(5)
    told: list[str] = []

    def expand(task: Task, name: str, count: int) -> None:
        large = Scripted(Settings(model=name, default="Answer: warm"))
        with Reasoner(task, large, RationaleStore(store), say=told.append) as reasoner:
            reasoner.expand(queries[:count])

    expand(child.TASK, "m", 4)
    values = child.TASK.model_dump(mode="json")
    values["reasoning"] |= reasoning
    told.clear()
    expand(Task.model_validate(values), model, 5)
    lost = [line for line in told if "other settings" in line]
    if not words:
        assert lost == [], "the fifth row is new, not lost"
    else:
        assert len(lost) == 1
        assert lost[0].startswith("4 of the first 5 rows were answered before")
        assert words in lost[0]

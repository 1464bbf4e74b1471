"""Keys: pinned for ever, and different for every field that decides the answer."""

import hashlib
import json
from dataclasses import asdict, replace

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from fiatkit.reasoning import completion_key, rationale_request
from fiatkit.reasoning.key import canonical_request
from fiatkit.records import Message, ModelIdentity, Query, Request, Sampling
from fiatkit.tasks import Task

IDENTITY = ModelIdentity("llama_cpp", "", "big", "abc")
REQUEST = Request((Message("system", "Say."), Message("user", "Text: è")), Sampling(max_tokens=64))


def test_pinned_keys() -> None:
    """If this fails, users' paid answers are no longer found: do not change the numbers."""
    assert completion_key(IDENTITY, REQUEST) == (
        "db8bb410f09bdcc4b5b50a11c0ea8d54d693f7f88a6d5a81fc1e164c93627bc1"
    )
    assert completion_key(IDENTITY, replace(REQUEST, choices=("a", "b"), sample=1)) == (
        "30f3d57e144d6572f1900c3881edf8bacd59f4a684deab4f638205769cb9e543"
    )


@pytest.mark.parametrize(
    "changed",
    [
        (replace(IDENTITY, provider="x"), REQUEST),
        (replace(IDENTITY, endpoint="x"), REQUEST),
        (replace(IDENTITY, model="x"), REQUEST),
        (replace(IDENTITY, revision="x"), REQUEST),
        (IDENTITY, replace(REQUEST, messages=REQUEST.messages[:1])),
        (IDENTITY, replace(REQUEST, messages=(Message("user", "Say."), REQUEST.messages[1]))),
        (IDENTITY, replace(REQUEST, messages=(REQUEST.messages[0], Message("user", "Text: e")))),
        (IDENTITY, replace(REQUEST, choices=("a",))),
        (IDENTITY, replace(REQUEST, sample=1)),
        (IDENTITY, replace(REQUEST, sampling=Sampling(max_tokens=65))),
        (IDENTITY, replace(REQUEST, sampling=Sampling(max_tokens=64, temperature=0.1))),
        (IDENTITY, replace(REQUEST, sampling=Sampling(max_tokens=64, top_p=0.9))),
        (IDENTITY, replace(REQUEST, sampling=Sampling(max_tokens=64, seed=1))),
        (IDENTITY, replace(REQUEST, sampling=Sampling(max_tokens=64, stop=("x",)))),
    ],
)
def test_G28_every_field_that_matters_changes_the_key(
    changed: tuple[ModelIdentity, Request],
) -> None:
    assert completion_key(*changed) != completion_key(IDENTITY, REQUEST)


def test_how_a_task_lets_the_large_model_write_is_in_the_key() -> None:
    def task(**reasoning: object) -> Task:
        said = {"instruction": "Say.", "max_tokens": 64, **reasoning}
        values = {"name": "toy", "fields": ["text"], "target": "label"}
        return Task.model_validate({**values, "reasoning": said, "tuning": {"instruction": "Say."}})

    def key(task: Task) -> str:
        return completion_key(IDENTITY, rationale_request(task, Query("1", {"text": "è"})))

    plain = task()
    written = task(temperature=0.5, top_p=0.9, stop=["\n\n"])
    asked = rationale_request(written, Query("1", {"text": "è"})).sampling
    assert asked == Sampling(64, 0.5, 0.9, stop=("\n\n",))
    assert len({key(plain), key(written), key(task(stop=["x"])), key(task(top_p=0.5))}) == 4
    assert key(task(temperature=0.0, top_p=1.0, stop=[])) == key(plain)
    dumped = plain.model_dump(mode="json")["reasoning"]
    assert dumped == {"instruction": "Say.", "marker": "Answer:", "max_tokens": 64}, (
        "what a task does not say leaves its fingerprint and saved preparations as they were"
    )
    assert Task.model_validate(written.model_dump(mode="json")) == written


texts = st.text(st.characters(exclude_categories=()), max_size=20)
numbers = st.sampled_from([0, 0.0, 1, 1.0, 0.1, 1e-7, 1e22, 5])


@settings(deadline=None, suppress_health_check=[HealthCheck.too_slow])
@given(
    st.builds(ModelIdentity, texts, texts, texts, texts),
    st.builds(
        Request,
        st.lists(st.builds(Message, st.sampled_from(["system", "user", "assistant"]), texts)).map(
            tuple
        ),
        st.builds(
            Sampling, st.integers(1), numbers, numbers, st.integers(), st.lists(texts).map(tuple)
        ),
        st.lists(texts).map(tuple),
        st.integers(0),
    ),
)
def test_the_canonical_form_is_that_of_json_with_sorted_keys(
    identity: ModelIdentity, request: Request
) -> None:
    assert canonical_request(identity, request) == plain_json(identity, request)


few = st.sampled_from(["", "a", "é"])


@settings(deadline=None)
@given(
    st.lists(
        st.tuples(
            st.builds(ModelIdentity, few, few, few, few),
            st.builds(
                Request,
                st.lists(st.builds(Message, st.just("user"), few), max_size=2).map(tuple),
                st.builds(Sampling, st.integers(1, 2), numbers, numbers),
                st.lists(few, max_size=1).map(tuple),
            ),
        ),
        min_size=2,
    )
)
def test_a_key_does_not_depend_on_what_was_asked_before(
    asked: list[tuple[ModelIdentity, Request]],
) -> None:
    """What rows have in common is remembered from one to the next."""
    for identity, request in asked:
        other = replace(request, sampling=Sampling(1, 0.0), sample=1)
        for one in (request, other, replace(other, sampling=Sampling(1, 0)), request):
            written = plain_json(identity, one)
            assert canonical_request(identity, one) == written
            digest = hashlib.sha256(written.encode()).hexdigest()
            assert completion_key(identity, one) == digest


def plain_json(identity: ModelIdentity, request: Request) -> str:
    values = {
        **asdict(identity),
        "messages": [asdict(message) for message in request.messages],
        "sampling": asdict(request.sampling),
        "choices": request.choices,
        "sample": request.sample,
        "version": 1,
    }
    return json.dumps(values, sort_keys=True, separators=(",", ":"), ensure_ascii=True)

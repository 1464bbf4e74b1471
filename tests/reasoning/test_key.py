"""Keys: pinned for ever, and different for every field that decides the answer."""

from dataclasses import replace

import pytest

from fiatkit.reasoning import completion_key
from fiatkit.records import Message, ModelIdentity, Request, Sampling

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

"""The scripted provider: rules from a run file, checked before anything runs."""

import asyncio
from typing import Any

import pytest

from fiatkit.errors import SettingsError, UnknownNameError
from fiatkit.models import create_chat_model, provider_names
from fiatkit.records import Completion, Message, Request, Sampling


def ask(text: str, choices: tuple[str, ...] = (), **settings: Any) -> Completion:
    model = create_chat_model({"provider": "scripted", **settings})
    request = Request((Message("user", text),), Sampling(), choices)
    return asyncio.run(model.complete(request))


def test_the_first_rule_that_is_found_answers() -> None:
    rules = {r"(?i)late (\w+)": r"The \1 is late. Topic: delay", "late": "second"}
    assert ask("a Late parcel", answers=rules).text == "The parcel is late. Topic: delay"
    assert ask("too late", answers=rules).text == "second"
    assert ask("fine", answers=rules).text == "I do not know."


def test_an_empty_answer_is_an_empty_answer() -> None:
    found = ask("x", answers={"x": ""}, default="never")
    assert (found.text, found.finish) == ("", "empty")


def test_its_latency_is_told_as_its_seconds() -> None:
    assert ask("x", latency=0.01).seconds == 0.01
    assert ask("x").seconds == 0


def test_choices_bind_it() -> None:
    assert ask("x", ("a", "b"), answers={"x": "b"}).text == "b"
    assert ask("x", ("a", "b"), default="c").text == "a"


@pytest.mark.parametrize(
    ("answers", "told"),
    [
        ({"(": "x"}, "no regular expression"),
        ({"a": r"\2"}, "invalid group reference 2"),
        ({"a": r"\q"}, "bad escape"),
        ({"a": r"\g<name>"}, "unknown group name"),
    ],
)
def test_a_bad_rule_is_told_when_the_file_is_read(answers: dict[str, str], told: str) -> None:
    with pytest.raises(SettingsError, match=told):
        ask("a", answers=answers)


def test_other_rules_are_another_model() -> None:
    one, same, other = (
        create_chat_model({"provider": "scripted", "answers": {"a": text}}).identity
        for text in ("x", "x", "y")
    )
    assert one == same != other


def test_providers_are_known_by_name() -> None:
    assert {"llama_cpp", "openai_compatible", "scripted"} <= set(provider_names())
    assert not any(name.startswith("_") for name in provider_names())
    with pytest.raises(UnknownNameError, match='Did you mean "scripted"'):
        create_chat_model({"provider": "scriptd"})

"""Answers that a change of settings has lost: paid for, in the store, but under other keys."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Mapping
from typing import Any

from fiatkit.reasoning.key import request_values
from fiatkit.records import ModelIdentity, Request

PARTS = ("provider", "endpoint", "model", "revision")
LONGEST = 40


def lost_answers(
    identity: ModelIdentity,
    requests: Iterable[Request],
    stored: Iterable[Mapping[str, Any]],
    small: tuple[str, str] | None = None,
) -> Counter[str]:
    """For requests without an answer: which of their rows were answered under other settings.

    Args:
        identity: the model that would be asked.
        requests: those that the store does not answer.
        stored: requests that it does answer, as it keeps them, the newest first.
        small: provider and model by which the small model's own texts are known. They are not the
            large model's earlier answers, nor its answers theirs.

    Returns:
        How many requests were lost to which change, such as `temperature 0.0, now 0.7`.
    """
    known: dict[str, Mapping[str, Any]] = {}
    is_small = (identity.provider, identity.model) == small
    for values in stored:
        same_writer = ((values["provider"], values["model"]) == small) == is_small
        if same_writer and values["messages"] and not values["choices"]:
            known.setdefault(values["messages"][-1]["content"], values)
    lost: Counter[str] = Counter()
    for request in requests:
        now = request_values(identity, request)
        before = known.get(request.messages[-1].content)
        if before is not None and before["sample"] == now["sample"]:
            lost[_changes(before, now)] += 1
    return lost


def _changes(before: Mapping[str, Any], now: Mapping[str, Any]) -> str:
    changes = [_change(name, before[name], now[name]) for name in PARTS]
    for name in now["sampling"]:
        changes.append(_change(name, before["sampling"].get(name), now["sampling"][name]))
    if before["messages"] != now["messages"]:
        changes.append("other instruction or exemplars")
    return "; ".join(filter(None, changes))


def _change(name: str, before: object, now: object) -> str:
    if before == now:
        return ""
    texts = [str(value) or "none" for value in (before, now)]
    old, new = (text if len(text) <= LONGEST else f"{text[:LONGEST]}..." for text in texts)
    return f"{name} {old}, now {new}"

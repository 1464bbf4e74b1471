"""The key of a request: everything that decides the answer, and nothing else.

A new release must never change a key, since users have paid for what stands under it; a test pins
some. Should the layout ever have to change, KEY_VERSION moves and old keys stay readable.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping
from functools import lru_cache
from json.encoder import encode_basestring_ascii as quoted
from typing import Any

from fiatkit.records import Message, ModelIdentity, Request, Sampling

KEY_VERSION = 1
_canonical = json.JSONEncoder(sort_keys=True, separators=(",", ":"), ensure_ascii=True).encode


def canonical_request(identity: ModelIdentity, request: Request) -> str:
    """The request as canonical JSON: sorted keys, ASCII only, no blanks.

    The store keeps it beside the answer. Put together by hand, since a run over a million stored
    rows does little else than this.
    """
    return _head(identity, request.choices, request.messages[:-1])[0] + _tail(identity, request)


def request_values(identity: ModelIdentity, request: Request) -> dict[str, Any]:
    """The request as plain values, as its canonical JSON has them."""
    values: dict[str, Any] = json.loads(canonical_request(identity, request))
    return values


def request_of(values: Mapping[str, Any]) -> Request:
    """The request in the values of its canonical JSON."""
    sampling = values["sampling"]
    return Request(
        tuple(Message(**message) for message in values["messages"]),
        Sampling(**sampling | {"stop": tuple(sampling["stop"])}),
        tuple(values["choices"]),
        values["sample"],
    )


def completion_key(identity: ModelIdentity, request: Request) -> str:
    """sha256 of the request's canonical JSON, as 64 hex digits."""
    digest = _head(identity, request.choices, request.messages[:-1])[1].copy()
    digest.update(_tail(identity, request).encode())
    return digest.hexdigest()


@lru_cache(maxsize=64)
def _head(
    identity: ModelIdentity, choices: tuple[str, ...], shared: tuple[Message, ...]
) -> tuple[str, hashlib._Hash]:
    """What the rows of a run have in common: how their JSON begins, and its sha256 so far."""
    named = ",".join([quoted(choice) for choice in choices])
    messages = "".join([_message(message) + "," for message in shared])
    text = f'{{"choices":[{named}],{_of_identity(identity)[0]},"messages":[{messages}'
    return text, hashlib.sha256(text.encode())


def _tail(identity: ModelIdentity, request: Request) -> str:
    """The last message, and all that stands behind it."""
    last = "".join([_message(message) for message in request.messages[-1:]])
    return (
        f'{last}],{_of_identity(identity)[1]},"sample":{request.sample},'
        f'"sampling":{_of_sampling(request.sampling)},"version":{KEY_VERSION}}}'
    )


def _message(message: Message) -> str:
    return f'{{"content":{quoted(message.content)},"role":"{message.role}"}}'


@lru_cache(maxsize=64)
def _of_identity(identity: ModelIdentity) -> tuple[str, str]:
    named = {"model": identity.model, "provider": identity.provider, "revision": identity.revision}
    return _canonical({"endpoint": identity.endpoint})[1:-1], _canonical(named)[1:-1]


def _of_sampling(sampling: Sampling) -> str:
    """Not remembered: 0 and 0.0 are equal and are written differently."""
    return _canonical(
        {
            "max_tokens": sampling.max_tokens,
            "seed": sampling.seed,
            "stop": list(sampling.stop),
            "temperature": sampling.temperature,
            "top_p": sampling.top_p,
        }
    )

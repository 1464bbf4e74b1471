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
    messages = ",".join(
        [f'{{"content":{quoted(m.content)},"role":"{m.role}"}}' for m in request.messages]
    )
    choices = ",".join([quoted(choice) for choice in request.choices])
    endpoint, others = _of_identity(identity)
    return (
        f'{{"choices":[{choices}],{endpoint},"messages":[{messages}],{others},'
        f'"sample":{request.sample},"sampling":{_of_sampling(request.sampling)},'
        f'"version":{KEY_VERSION}}}'
    )


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
    return hashlib.sha256(canonical_request(identity, request).encode()).hexdigest()


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

"""The key of a request: everything that decides the answer, and nothing else.

A new release must never change a key, since users have paid for what stands under it; a test pins
some. Should the layout ever have to change, KEY_VERSION moves and old keys stay readable.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping
from dataclasses import asdict
from typing import Any

from fiatkit.records import Message, ModelIdentity, Request, Sampling

KEY_VERSION = 1


def request_values(identity: ModelIdentity, request: Request) -> dict[str, Any]:
    """The request as plain values, as the store keeps it beside the answer."""
    sampling = asdict(request.sampling)
    sampling["stop"] = list(request.sampling.stop)
    return {
        "version": KEY_VERSION,
        "provider": identity.provider,
        "endpoint": identity.endpoint,
        "model": identity.model,
        "revision": identity.revision,
        "messages": [{"role": m.role, "content": m.content} for m in request.messages],
        "sampling": sampling,
        "choices": list(request.choices),
        "sample": request.sample,
    }


def request_of(values: Mapping[str, Any]) -> Request:
    """The request that `request_values` was given; of values as the store keeps them."""
    sampling = values["sampling"]
    return Request(
        tuple(Message(**message) for message in values["messages"]),
        Sampling(**sampling | {"stop": tuple(sampling["stop"])}),
        tuple(values["choices"]),
        values["sample"],
    )


def canonical(values: dict[str, Any]) -> str:
    """Canonical JSON: sorted keys, ASCII only, no blanks."""
    return json.dumps(values, sort_keys=True, separators=(",", ":"), ensure_ascii=True)


def completion_key(identity: ModelIdentity, request: Request) -> str:
    """sha256 of the request's canonical JSON, as 64 hex digits."""
    return hashlib.sha256(canonical(request_values(identity, request)).encode()).hexdigest()

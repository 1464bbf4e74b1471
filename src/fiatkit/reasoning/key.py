"""The key of a request: everything that decides the answer, and nothing else.

A new release must never change a key, since users have paid for what stands under it; a test pins
some. Should the layout ever have to change, KEY_VERSION moves and old keys stay readable.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping
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
    frame = _frame(identity, request)
    return frame.head + frame.tail(request)


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
    frame = _frame(identity, request)
    digest = frame.digest.copy()
    digest.update(frame.tail(request).encode())
    return digest.hexdigest()


class _Frame:
    """What the rows of a run have in common, as JSON: all but the last message and the sample.

    Attributes:
        of: model, choices and the messages before the last.
        head: how the JSON begins, as far as the last message.
        digest: the sha256 of `head`, to be gone on with in a copy.
    """

    def __init__(self, identity: ModelIdentity, request: Request) -> None:
        self.of = (identity, request.choices, request.messages[:-1])
        before = _canonical({"choices": request.choices, "endpoint": identity.endpoint})
        messages = "".join([_message(message) + "," for message in request.messages[:-1]])
        self.head = f'{before[:-1]},"messages":[{messages}'
        self.digest = hashlib.sha256(self.head.encode())
        named = {"model": identity.model, "provider": identity.provider}
        self._named = f'],{_canonical(named | {"revision": identity.revision})[1:-1]},"sample":'
        self._sampling = request.sampling, _of_sampling(request.sampling)

    def tail(self, request: Request) -> str:
        """The last message, and all that stands behind it."""
        last = _message(request.messages[-1]) if request.messages else ""
        sampling, written = self._sampling
        if request.sampling is not sampling:  # equal is not enough: 0 and 0.0 are written apart
            written = _of_sampling(request.sampling)
            self._sampling = request.sampling, written
        end = f'"sampling":{written},"version":{KEY_VERSION}}}'
        return f"{last}{self._named}{request.sample},{end}"


_latest: _Frame | None = None


def _frame(identity: ModelIdentity, request: Request) -> _Frame:
    """The frame of the latest request, if this one has the same.

    They are compared, not looked up by hash; and since nearly all of it is the very same objects
    from row to row, comparing takes next to no time.
    """
    global _latest
    frame, of = _latest, (identity, request.choices, request.messages[:-1])
    if frame is None or frame.of != of:
        frame = _latest = _Frame(identity, request)
    frame.of = of
    return frame


def _message(message: Message) -> str:
    return f'{{"content":{quoted(message.content)},"role":"{message.role}"}}'


def _of_sampling(sampling: Sampling) -> str:
    return _canonical(
        {
            "max_tokens": sampling.max_tokens,
            "seed": sampling.seed,
            "stop": list(sampling.stop),
            "temperature": sampling.temperature,
            "top_p": sampling.top_p,
        }
    )

"""A chat-completions endpoint on loopback that misbehaves by script and keeps its own receipts.

A script is a function from what was asked to a `Reply`; without one, every request is answered
well. Each request that arrives whole is a receipt before it is answered; receipts are never
changed. The server runs on a thread of its own, so that a test may kill the client and go on.
"""

from __future__ import annotations

import asyncio
import contextlib
import hashlib
import json
import socket
import struct
import threading
import time
from collections import Counter
from collections.abc import AsyncIterator, Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

KEY = "sk-canary-123456789"
PRICE = {"prompt": "1", "completion": "2"}  # per million tokens, in tests of money
TLS = b"\x16"  # how a handshake begins; nobody here speaks it
PROMPT_TOKENS, COMPLETION_TOKENS = 40, 10


@dataclass(frozen=True)
class Asked:
    """One receipt: a request that arrived whole, `time` counts those of its key."""

    number: int
    at: float
    key: str
    time: int
    body: dict[str, Any]
    headers: dict[str, str]

    @property
    def text(self) -> str:
        """The last message."""
        return str(self.body["messages"][-1]["content"])


@dataclass(frozen=True)
class Reply:
    """What goes over the wire, and how.

    Attributes:
        status: HTTP status.
        body: the body, as bytes, text, or a value to be written as JSON.
        headers: besides Content-Type and Content-Length.
        wait: seconds before anything is sent.
        declared: Content-Length, if it is to be another than the body's; None sends none at all
            and ends the body by closing.
        drip: seconds between pieces of 40 bytes.
        reset: the connection is reset (RST) after the body.
        silent: nothing is ever sent.
    """

    status: int = 200
    body: Any = b""
    headers: dict[str, str] = field(default_factory=dict)
    wait: float = 0.0
    declared: int | None = -1
    drip: float = 0.0
    reset: bool = False
    silent: bool = False

    @property
    def raw(self) -> bytes:
        """The body as bytes."""
        if isinstance(self.body, bytes):
            return self.body
        return (self.body if isinstance(self.body, str) else json.dumps(self.body)).encode()


Script = Callable[[Asked], Reply]


def completion(text: Any, finish: Any = "stop", **changes: Any) -> dict[str, Any]:
    """A chat completion as a value; `message`, `usage`, `model` ... replace parts of it."""
    message = {"role": "assistant", "content": text} | changes.pop("message", {})
    return {
        "id": "c-1",
        "model": "m",
        "choices": [{"index": 0, "message": message, "finish_reason": finish}],
        "usage": {
            "prompt_tokens": PROMPT_TOKENS,
            "completion_tokens": COMPLETION_TOKENS,
            "prompt_tokens_details": {"cached_tokens": 24},
        },
    } | changes


def right_text(asked_text: str) -> str:
    """The answer of a server without faults: another one for each text."""
    digest = hashlib.sha256(asked_text.encode("utf-8", "surrogatepass")).hexdigest()
    return f"It is {digest[:8]}.\nAnswer: {'warm' if int(digest, 16) % 2 else 'cold'}"


def well(asked: Asked) -> Reply:
    """Answer without a fault."""
    return Reply(body=completion(right_text(asked.text)))


def error(status: int, code: str = "", message: str = "no", **headers: str) -> Reply:
    """An error answer in the usual shape; header names are written with underscores."""
    named = {name.replace("_", "-"): value for name, value in headers.items()}
    return Reply(status, {"error": {"code": code, "message": message}}, named)


def first(times: int, reply: Reply, then: Script = well) -> Script:
    """`reply` for the first `times` requests of each key, then `then`."""
    return lambda asked: reply if asked.time <= times else then(asked)


def receipt_key(
    messages: list[dict[str, str]], max_tokens: int | None, seed: int | None = None
) -> str:
    """What tells one request from another on the server's side."""
    return json.dumps([messages, max_tokens, seed], sort_keys=True)


def _key_of(body: dict[str, Any]) -> str:
    most = body.get("max_tokens", body.get("max_completion_tokens"))
    messages = [{"role": m["role"], "content": m["content"]} for m in body["messages"]]
    return receipt_key(messages, most, body.get("seed"))


class FakeServer:
    """The server. Use it as a context manager; `url` is what a client needs.

    Args:
        script: what each request is answered with.
        receipts: a file that each receipt is appended to, a line of JSON each.
        slots: how many requests are answered at once; the others wait their turn.
    """

    def __init__(
        self, script: Script = well, *, receipts: Path | None = None, slots: int | None = None
    ) -> None:
        self.script = script
        self.receipts: list[Asked] = []
        self.connections = 0
        self.most_at_once = 0
        self._at_once = 0
        self._seen: Counter[str] = Counter()
        self._file = receipts
        self._slots = slots
        self._loop = asyncio.new_event_loop()
        self._ready = threading.Event()
        self._thread = threading.Thread(target=self._serve, daemon=True)

    def __enter__(self) -> FakeServer:
        self._thread.start()
        assert self._ready.wait(10)
        return self

    def __exit__(self, *exception: object) -> None:
        self._loop.call_soon_threadsafe(self._loop.stop)
        self._thread.join(10)

    def counts(self, since: int = 0) -> Counter[str]:
        """How often each key was asked, from the receipt after number `since` on."""
        return Counter(asked.key for asked in self.receipts[since:])

    def _serve(self) -> None:
        asyncio.set_event_loop(self._loop)
        self._loop.run_until_complete(self._listen())
        self._ready.set()
        self._loop.run_forever()
        self._server.close()
        tasks = asyncio.all_tasks(self._loop)
        for task in tasks:
            task.cancel()
        self._loop.run_until_complete(asyncio.gather(*tasks, return_exceptions=True))
        self._loop.close()

    async def _listen(self) -> None:
        self._turn = asyncio.Semaphore(self._slots or 1_000_000)
        self._server = await asyncio.start_server(self._talk, "127.0.0.1", 0, backlog=1024)
        self.url = f"http://127.0.0.1:{self._server.sockets[0].getsockname()[1]}/v1"

    async def _talk(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self.connections += 1
        try:
            with contextlib.suppress(OSError, asyncio.IncompleteReadError, asyncio.CancelledError):
                async for body, headers in _requests(reader):
                    async with self._busy():
                        reply = self.script(self._note(body, headers))
                        if not await _send(reply, reader, writer):
                            break
        finally:
            self.connections -= 1
            writer.close()

    @contextlib.asynccontextmanager
    async def _busy(self) -> AsyncIterator[None]:
        async with self._turn:
            self._at_once += 1
            self.most_at_once = max(self.most_at_once, self._at_once)
            try:
                yield
            finally:
                self._at_once -= 1

    def _note(self, body: dict[str, Any], headers: dict[str, str]) -> Asked:
        key = _key_of(body)
        self._seen[key] += 1
        asked = Asked(len(self.receipts) + 1, time.monotonic(), key, self._seen[key], body, headers)
        self.receipts.append(asked)
        if self._file:
            with self._file.open("a") as file:
                file.write(json.dumps({"number": asked.number, "key": key}) + "\n")
        return asked


async def _requests(
    reader: asyncio.StreamReader,
) -> AsyncIterator[tuple[dict[str, Any], dict[str, str]]]:
    """Requests of one connection, as long as it is kept alive."""
    while True:
        start = await reader.readexactly(1)
        if start == TLS:
            return
        head = start + await reader.readuntil(b"\r\n\r\n")
        lines = head.decode("latin-1").split("\r\n")[1:-2]
        headers = {k.lower(): v for k, v in (line.split(": ", 1) for line in lines)}
        body = await reader.readexactly(int(headers.get("content-length", 0)))
        yield json.loads(body), headers


async def _send(reply: Reply, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> bool:
    """Send a reply. Returns whether the connection stays open."""
    await asyncio.sleep(reply.wait)
    if reply.silent:
        await reader.read()
        return False
    raw = reply.raw
    length = len(raw) if reply.declared == -1 else reply.declared
    headers = {"Content-Type": "application/json", **reply.headers}
    if length is not None:
        headers["Content-Length"] = str(length)
    else:
        headers["Connection"] = "close"
    head = "".join(f"{name}: {value}\r\n" for name, value in headers.items())
    writer.write(f"HTTP/1.1 {reply.status} X\r\n{head}\r\n".encode("latin-1"))
    step = 40 if reply.drip else max(1, len(raw))
    for start in range(0, len(raw), step):
        writer.write(raw[start : start + step])
        await writer.drain()
        await asyncio.sleep(reply.drip)
    await writer.drain()
    if reply.reset:
        linger = struct.pack("ii", 1, 0)
        writer.get_extra_info("socket").setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, linger)
        writer.transport.abort()
        return False
    return length is not None and length == len(raw)

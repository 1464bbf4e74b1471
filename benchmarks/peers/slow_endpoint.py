"""A chat-completions endpoint on loopback with a fixed latency and so many slots; standard library.

    python slow_endpoint.py RECEIPTS LATENCY SLOTS

prints its port. Answers each request LATENCY seconds after its turn came, SLOTS at a time, and
appends to RECEIPTS a line for each: the sha256 of its body. It does as little as it can beside
and reads no JSON, so that on two cores the client has one for itself.
"""

import asyncio
import hashlib
import json
import sys
from collections import deque
from pathlib import Path

TEXT = "The text speaks of a match and of who won it, so it is about sports.\nTopic: sports"
BODY = json.dumps(
    {
        "id": "c-1",
        "object": "chat.completion",
        "created": 0,
        "model": "m",
        "choices": [
            {
                "index": 0,
                "message": {"role": "assistant", "content": TEXT},
                "finish_reason": "stop",
            }
        ],
        "usage": {"prompt_tokens": 700, "completion_tokens": 25, "total_tokens": 725},
    }
).encode()
HEADERS = (
    # curator learns its limits from these
    "x-ratelimit-limit-requests: 1000000\r\nx-ratelimit-remaining-requests: 999999\r\n"
    "x-ratelimit-limit-tokens: 1000000000\r\nx-ratelimit-remaining-tokens: 999999999\r\n"
)
ANSWER = (
    b"HTTP/1.1 200 OK\r\nContent-Type: application/json\r\n"
    + HEADERS.encode()
    + f"Content-Length: {len(BODY)}\r\n\r\n".encode()
    + BODY
)


class Slots:
    """So many requests at once; the others wait their turn."""

    def __init__(self, latency: float, slots: int) -> None:
        self.latency, self.free = latency, slots
        self.waiting: deque[asyncio.Transport] = deque()
        self.loop = asyncio.get_running_loop()

    def take(self, connection: asyncio.Transport) -> None:
        if self.free:
            self.free -= 1
            self.loop.call_later(self.latency, self.answer, connection)
        else:
            self.waiting.append(connection)

    def answer(self, connection: asyncio.Transport) -> None:
        if not connection.is_closing():
            connection.write(ANSWER)
        if self.waiting:
            self.loop.call_later(self.latency, self.answer, self.waiting.popleft())
        else:
            self.free += 1


class Connection(asyncio.Protocol):
    """One client's connection, kept alive; bodies come with a Content-Length."""

    def __init__(self, slots: Slots, receipts) -> None:
        self.slots, self.receipts = slots, receipts
        self.buffer = b""

    def connection_made(self, transport) -> None:
        self.transport = transport

    def data_received(self, data: bytes) -> None:
        self.buffer += data
        while (end := self.buffer.find(b"\r\n\r\n")) >= 0:
            head = self.buffer[:end].lower()
            at = head.find(b"content-length:")
            length = int(head[at + 15 :].split(b"\r\n", 1)[0]) if at >= 0 else 0
            if len(self.buffer) < end + 4 + length:
                return
            body = self.buffer[end + 4 : end + 4 + length]
            self.buffer = self.buffer[end + 4 + length :]
            self.slots.take(self.transport)
            self.receipts.write(hashlib.sha256(body).hexdigest() + "\n")


async def main() -> None:
    latency, slots = float(sys.argv[2]), int(sys.argv[3])
    with Path(sys.argv[1]).open("w", buffering=1) as receipts:
        turns = Slots(latency, slots)
        loop = asyncio.get_running_loop()
        server = await loop.create_server(
            lambda: Connection(turns, receipts), "127.0.0.1", 0, backlog=1024
        )
        print(server.sockets[0].getsockname()[1], flush=True)
        await server.serve_forever()


if __name__ == "__main__":
    asyncio.run(main())

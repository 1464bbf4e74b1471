"""The HTTP client under the SDK: no redirects, no error body read without a cap, and lanes.

The SDK reads the whole body of an error answer, decompressed, before it raises: a server could
fill the memory with one. Here that body is cut first; bodies of good answers are streamed and
capped by the provider.

httpx2's pool asks every idle connection's socket whether it still stands, at each call's beginning
and end: with 64 of them that takes longer than the call. Here a call takes a lane, which is a pool
of one connection, and gives it back.
"""

from __future__ import annotations

import urllib.request
from collections.abc import AsyncIterator, Callable
from typing import Any

import httpx2

MAX_ERROR_BYTES = 64 * 1024
CONNECT_SECONDS = 10.0
OF_THE_BODY = ("content-encoding", "content-length", "transfer-encoding")


class Client(httpx2.AsyncClient):
    """An async client whose error answers hold at most 64 KiB.

    `hear` receives the headers of every answer.
    """

    def __init__(
        self, timeout: float, connections: int, hear: Callable[[httpx2.Headers], None]
    ) -> None:
        self._hear = hear
        proxied = urllib.request.getproxies()  # httpx2's own transports know how to use them
        super().__init__(
            mounts=None if proxied else {"all://": Lanes()},
            follow_redirects=False,
            timeout=httpx2.Timeout(timeout, connect=min(CONNECT_SECONDS, timeout / 2)),
            limits=httpx2.Limits(max_connections=connections),
        )

    async def send(self, request: httpx2.Request, **arguments: Any) -> httpx2.Response:
        """Send once; cut the body of an answer that is no success."""
        response = await super().send(request, **arguments)
        self._hear(response.headers)
        if response.is_success:
            return response
        body = bytearray()
        try:
            async for chunk in response.aiter_bytes():
                body += chunk[: MAX_ERROR_BYTES - len(body)]
                if len(body) >= MAX_ERROR_BYTES:
                    break
        finally:
            await response.aclose()
        headers = [item for item in response.headers.multi_items() if item[0] not in OF_THE_BODY]
        return httpx2.Response(
            response.status_code, headers=headers, content=bytes(body), request=request
        )


class Lanes(httpx2.AsyncBaseTransport):
    """As many connections as calls are under way at once; the one used last is used next."""

    def __init__(self) -> None:
        self._context = httpx2.create_ssl_context()
        self._all: list[httpx2.AsyncHTTPTransport] = []
        self._free: list[httpx2.AsyncHTTPTransport] = []

    async def handle_async_request(self, request: httpx2.Request) -> httpx2.Response:
        """Send by a free lane, which is free again when the answer is closed."""
        if not self._free:
            one = httpx2.Limits(max_connections=1)
            self._free.append(httpx2.AsyncHTTPTransport(verify=self._context, limits=one))
            self._all.append(self._free[-1])
        lane = self._free.pop()
        try:
            response = await lane.handle_async_request(request)
        except BaseException:
            self._free.append(lane)
            raise
        assert isinstance(response.stream, httpx2.AsyncByteStream)
        response.stream = Body(response.stream, lambda: self._free.append(lane))
        return response

    async def aclose(self) -> None:
        """Close all connections."""
        for lane in self._all:
            await lane.aclose()


class Body(httpx2.AsyncByteStream):
    """An answer's body; tells once when it has been closed."""

    def __init__(self, body: httpx2.AsyncByteStream, closed: Callable[[], None]) -> None:
        self._body = body
        self._closed: Callable[[], None] | None = closed

    async def __aiter__(self) -> AsyncIterator[bytes]:
        async for part in self._body:
            yield part

    async def aclose(self) -> None:
        """Close it."""
        try:
            await self._body.aclose()
        finally:
            closed, self._closed = self._closed, None
            if closed:
                closed()

"""The HTTP client under the SDK: no redirects, and no error body read without a cap.

The SDK reads the whole body of an error answer, decompressed, before it raises: a server could
fill the memory with one. Here that body is cut first; bodies of good answers are streamed and
capped by the provider.
"""

from __future__ import annotations

from collections.abc import Callable
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
        super().__init__(
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

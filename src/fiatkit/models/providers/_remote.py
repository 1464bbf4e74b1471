"""What every provider over HTTP shares: the key, the deadline, the cap, and errors as ours.

The SDKs' own retries are off: an attempt on the wire is an attempt in the ledger.
"""

from __future__ import annotations

import asyncio
import base64
import importlib
import json
import os
import tempfile
import time
from collections.abc import Awaitable, Callable, Mapping
from contextlib import AbstractAsyncContextManager
from types import ModuleType
from typing import IO, Any, TypeVar
from urllib.parse import quote, urlsplit, urlunsplit

from fiatkit.errors import (
    FatalProviderError,
    MissingExtraError,
    ProviderError,
    RowProviderError,
    SettingsError,
    TransientProviderError,
)
from fiatkit.models.providers._limits import rate_limits
from fiatkit.models.providers._statuses import by_status
from fiatkit.records import RateLimits

MAX_BYTES = 8 * 1024 * 1024
FILE_SECONDS = 3600.0
SEARCHED, SHOWN = 4096, 200
T = TypeVar("T")
LOOPBACK = ("localhost", "127.0.0.1", "::1")


class Remote:
    """A place on the network, the key for it, and an SDK to speak with.

    Args:
        sdk: the SDK's package, which is also the name of the extra.
        base_url: the address.
        key_env: name of the environment variable that holds the key.
        timeout: seconds for one call as a whole.
    """

    def __init__(self, sdk: str, base_url: str, key_env: str, timeout: float) -> None:
        self.place = without_secrets(base_url)
        self.timeout = timeout
        self.limits: RateLimits | None = None
        self._sdk_name = sdk
        self._key_env = key_env
        self._http: Any = None
        self.key = os.environ.get(key_env, "").strip()

    @property
    def sdk(self) -> ModuleType:
        """The SDK. Raises MissingExtraError where it is not installed."""
        try:
            return importlib.import_module(self._sdk_name)
        except ImportError:
            name = self._sdk_name
            raise MissingExtraError(name, name, "A remote large model") from None

    def _hear(self, headers: Mapping[str, str]) -> None:
        self.limits = rate_limits(headers, time.time()) or self.limits

    def check_key(self) -> None:
        """Raise FatalProviderError where the key is missing or cannot be one."""
        name = self._key_env
        if not self.key and (urlsplit(self.place).hostname or "") not in LOOPBACK:
            raise FatalProviderError(
                f'The environment variable {name} holds no key for "{self.place}".',
                f"Set it: export {name}=...",
                reason="auth",
            )
        if not (self.key.isascii() and self.key.replace(" ", "").isprintable()):
            raise FatalProviderError(
                f"The key in the environment variable {name} holds characters that no key has.",
                "Copy it again, without line breaks.",
                reason="auth",
            )

    def http_client(self, connections: int) -> Any:
        """The HTTP client, of the SDK and of `answer`: no redirects, error bodies cut."""
        from fiatkit.models.providers._http import Client

        self._http = Client(self.timeout, connections, self._hear)
        return self._http

    def post_to(self, url: str, client: Any, params: Mapping[str, str], **more: str) -> None:
        """Where `answer` posts to, with the headers of an SDK's client, and more."""
        import httpx2

        headers = {**client.default_headers, **client.auth_headers, **more}
        self._url = httpx2.URL(url).copy_merge_params(params)
        self._headers = {
            name.replace("_", "-"): text for name, text in headers.items() if isinstance(text, str)
        }

    async def answer(self, body: Mapping[str, Any]) -> bytes:
        """Post one request within the deadline; the answer's body, capped.

        Past the SDK, whose way through a request takes longer than all the rest.

        Raises:
            ProviderError: what went wrong, in our words.
        """

        async def read() -> bytes:
            content = json.dumps(body, ensure_ascii=False, separators=(",", ":")).encode()
            http, headers = self._http, self._headers
            request = http.build_request("POST", self._url, content=content, headers=headers)
            response = await http.send(request, stream=True)
            try:
                if response.is_success:
                    return await _capped(response)
                raise self.by_status(response.status_code, _value(response), response.headers)
            finally:
                await response.aclose()

        return await self.once(read)

    async def lines(self, sending: Callable[[], AbstractAsyncContextManager[Any]]) -> IO[bytes]:
        """Fetch a file of many lines onto the disk, within an hour; to be closed by the caller."""
        file: IO[bytes] = tempfile.TemporaryFile()  # noqa: SIM115  the caller closes it

        async def fetch() -> None:
            async with sending() as response:
                async for chunk in response.iter_bytes():
                    file.write(chunk)

        try:
            await self.once(fetch, FILE_SECONDS)
        except BaseException:
            file.close()
            raise
        file.seek(0)
        return file

    async def created(self, call: Callable[[], Awaitable[T]]) -> T:
        """Make one call that makes something: of an error that says neither that it was refused
        nor that it was never sent, nobody knows whether it did."""
        try:
            return await self.once(call, FILE_SECONDS)
        except TransientProviderError as error:
            error.ambiguous = error.reason not in ("connect", "rate_limit")
            raise

    async def once(self, call: Callable[[], Awaitable[T]], seconds: float | None = None) -> T:
        """Make one call within the deadline, its errors turned into ours."""
        failed = None
        try:
            async with asyncio.timeout(seconds or self.timeout):
                return await call()
        except Exception as error:
            failed = self._mapped(error)
        raise failed  # out here, so that it carries no error of the SDK, which holds the key

    def quoted(self, raw: bytes) -> str:
        """The head of what a server wrote, without the key, should it echo that.

        Far more is searched than is shown, and a mask is as long as what it hides, so that no
        key is cut in two by the end of what is searched.
        """
        text = raw[:SEARCHED].decode(errors="replace")
        if self.key:
            coded = base64.b64encode(self.key.encode()).decode()
            for form in (self.key, quote(self.key, safe=""), coded):
                text = text.replace(form, "*" * len(form))
        return text[:SHOWN]

    def bad_response(self, what: str, raw: bytes) -> TransientProviderError:
        """The error for an answer that is not what was asked for; it may have been billed."""
        return TransientProviderError(
            f"The answer is not {what}: {self.quoted(raw)!r}.",
            reason="bad_response",
            ambiguous=True,
        )

    def by_status(self, status: int, body: Any, headers: Any) -> ProviderError:
        """The error that an HTTP status and its body stand for."""
        return by_status(self.place, status, body, headers, self.quoted)

    def _mapped(self, error: Exception) -> ProviderError:
        """Turn an SDK error into one of ours. Nothing of the request is quoted."""
        import httpx2

        sdk = self.sdk
        if isinstance(error, ProviderError):
            return error
        if isinstance(error, TimeoutError):
            return TransientProviderError(
                f'No whole answer of "{self.place}" within {self.timeout:g} s.',
                "Raise large.timeout, or lower large.concurrency.",
                reason="timeout",
                ambiguous=True,
            )
        if isinstance(error, sdk.APIStatusError):
            return self.by_status(int(error.status_code), error.body, error.response.headers)
        cause = error
        if isinstance(error, sdk.APIConnectionError) and isinstance(error.__cause__, Exception):
            cause = error.__cause__
        never_sent = httpx2.ConnectError | httpx2.ConnectTimeout | httpx2.PoolTimeout
        unsent = isinstance(cause, never_sent)
        what = type(cause).__name__
        if isinstance(cause, sdk.APIError | httpx2.HTTPError | OSError):
            return TransientProviderError(
                f'The connection to "{self.place}" failed ({what}).',
                "Check large.base_url and whether the server runs.",
                reason="connect" if unsent else "connection",
                ambiguous=not unsent,
            )
        return RowProviderError(
            f'The request to "{self.place}" cannot be written ({what}).', reason="request"
        )


def _value(response: Any) -> Any:
    """The JSON of an error answer; None if it is none."""
    try:
        return response.json()
    except (ValueError, RecursionError):
        return None


async def _capped(response: Any) -> bytes:
    """Read the body with a cap on its decoded bytes."""
    body = bytearray()
    async for chunk in response.aiter_bytes():
        body += chunk
        if len(body) > MAX_BYTES:
            raise RowProviderError(f"An answer of more than {MAX_BYTES} bytes.", reason="too_big")
    return bytes(body)


def revision(given: str, **settled: str | int | None) -> str:
    """The revision in the store's keys: with the settings that decide answers, where they are
    given, so that they re-key nothing where they are not."""
    named = [f"{name}={value}" for name, value in settled.items() if value is not None]
    return ":".join([given, *named])


def word(value: Any) -> str:
    """What a server calls something, fit for a ledger and a terminal: printable, and not long."""
    return "".join(c if c.isprintable() else "?" for c in str(value))[:SHOWN]


def count(value: Any) -> int | None:
    """A number of tokens that a server tells; None if it is impossible."""
    good = isinstance(value, int) and not isinstance(value, bool) and value >= 0
    return value if good else None


def check_address(url: str) -> None:
    """Refuse what is no address, without showing a password that may stand in it."""
    try:
        parts = urlsplit(url)
        whole = parts.scheme in ("http", "https") and parts.hostname and parts.port != 0
    except ValueError:
        whole = False
    if not whole:
        shown = url.rpartition("@")[2].partition("?")[0]
        raise SettingsError(
            f'large.base_url: "{shown}" is no address.', "It looks like this: https://host/v1"
        )


def without_secrets(url: str) -> str:
    """The address without user name, password, query or fragment."""
    parts = urlsplit(url)
    host = parts.hostname or ""
    host = f"[{host}]" if ":" in host else host
    place = f"{host}:{parts.port}" if parts.port else host
    return urlunsplit((parts.scheme, place, parts.path.rstrip("/"), "", ""))

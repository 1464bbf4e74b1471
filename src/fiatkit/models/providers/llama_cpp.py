"""A large model in process: llama.cpp in a worker child that owns the cores.

A row is written in a slot. The prefix that all rows share stays in the slot's KV cache: each row
computes only its own tokens (measured 5 to 6 times faster than reading the prefix again). Where
there are several slots, each would read the prefix once more, so the first row runs alone and its
slot's state is copied to the others.
"""

from __future__ import annotations

import asyncio
import contextlib
import http.client
import json
import os
import re
import secrets
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from functools import lru_cache
from itertools import pairwise
from pathlib import Path
from typing import IO, Any
from urllib.parse import urlsplit

from pydantic import Field

from fiatkit.errors import (
    EnvironmentProblem,
    MissingExtraError,
    ModelFileError,
    RowProviderError,
    TransientProviderError,
)
from fiatkit.models import catalogue
from fiatkit.models._chat import PLAIN, scaffold, token_ids
from fiatkit.models._devices import cores
from fiatkit.models._literal import is_marked_word
from fiatkit.models.providers._grammar import grammar
from fiatkit.records import Completion, Finish, ModelIdentity, Request, Usage
from fiatkit.settings import Strict

CRASHES_A_ROW = 2
RESTARTS = 3
START_SECONDS = 300


class Settings(Strict):
    """Keys of `large:` in a run file for this provider.

    Attributes:
        model: a name of the catalogue or the path of a GGUF file.
        context: tokens that prompt and answer share.
        slots: rows that are written at once. With one, an answer depends on nothing but its
            prompt; with several, the last bits of float sums depend on the rows beside it.
        threads: default: all cores that this process may use.
        batch: tokens of a prompt that are read at once.
        gpu_layers: layers that a GPU computes, if this llama.cpp was built for one.
        timeout: seconds until a call is given up and the worker started anew.
    """

    provider: str = "llama_cpp"
    model: str
    context: int = Field(default=4096, ge=256)
    slots: int = Field(default=1, ge=1, le=64)
    threads: int | None = Field(default=None, ge=1)
    batch: int = Field(default=512, ge=32)
    gpu_layers: int = 0
    timeout: float = Field(default=600.0, gt=0)


def create(settings: Settings) -> LlamaCpp:
    """Make the model; its worker starts with the first call."""
    return LlamaCpp(settings)


class LlamaCpp:
    """A GGUF model in a worker child. Implements `ChatModel`."""

    def __init__(self, settings: Settings) -> None:
        self.settings = settings
        self.path, digest = catalogue.resolve_gguf(settings.model)
        self.identity = ModelIdentity("llama_cpp", "", settings.model, digest)
        self.slots = settings.slots
        self._threads = ThreadPoolExecutor(settings.slots, "llama.cpp")
        self._free = threading.Semaphore(settings.slots)
        self._queue, self._ending = threading.Lock(), threading.Lock()
        self._worker: Worker | None = None
        self._restarts = 0
        self._crashes: dict[Request, int] = {}

    async def complete(self, request: Request) -> Completion:
        """Make one attempt. A crash of the worker is a transient error, twice for one row a
        permanent one."""
        loop = asyncio.get_running_loop()
        return await loop.run_in_executor(self._threads, self._in_turn, request)

    async def close(self) -> None:
        """End the worker."""
        with self._ending:
            if self._worker is not None:
                self._worker.stop()
                self._worker = None

    def _in_turn(self, request: Request) -> Completion:
        with self._place(request):
            if self._worker is None:
                self._worker = Worker(str(self.path), self.settings)
            worker = self._worker
            try:
                return self._complete(worker, request)
            except (OSError, http.client.HTTPException) as error:
                return self._crashed(worker, request, error)

    @contextlib.contextmanager
    def _place(self, request: Request) -> Iterator[None]:
        """Hold a slot. Hold all of them for the first row of a worker, and for a row that was
        under way when one crashed, so that a second crash is surely its own."""
        with self._queue:
            self._free.acquire()
            alone = self._worker is None or not self._worker.warm or request in self._crashes
            taken = self.slots if alone else 1
            for _ in range(1, taken):
                self._free.acquire()
        try:
            yield
        finally:
            self._free.release(taken)

    def _complete(self, worker: Worker, request: Request) -> Completion:
        began = time.monotonic()
        ids = worker.prompt_ids(request)
        room = self.settings.context - request.sampling.max_tokens
        if len(ids) > room:
            raise RowProviderError(
                f"The prompt has {len(ids)} tokens; {room} fit beside {request.sampling.max_tokens}"
                f" for the answer (context {self.settings.context}).",
                "Raise large.context in the run file.",
                reason="too_long",
            )
        answer = worker.post("/completion", _body(request, ids))
        if not worker.warm:
            worker.copy_slot(answer["id_slot"])
        return _completion(answer, self.settings.model, time.monotonic() - began)

    def _crashed(self, worker: Worker, request: Request, error: Exception) -> Completion:
        with self._ending:
            last = worker.last_words()
            if self._worker is worker:
                worker.stop()
                self._worker = None
                self._restarts += 1
            self._crashes[request] = self._crashes.get(request, 0) + 1
        message = f"The llama.cpp worker ended ({type(error).__name__}). {last}".strip()
        if self._crashes[request] >= CRASHES_A_ROW:
            raise RowProviderError(message, reason="crash")
        if self._restarts > RESTARTS:
            raise EnvironmentProblem(message, "Is there enough memory for the model?")
        raise TransientProviderError(message, reason="crash")


def _body(request: Request, ids: list[int]) -> dict[str, Any]:
    sampling = request.sampling
    body: dict[str, Any] = {
        "prompt": ids,
        "n_predict": sampling.max_tokens,
        "temperature": sampling.temperature,
        "top_p": sampling.top_p,
        "seed": sampling.seed + request.sample,
        "cache_prompt": True,
        "stop": list(sampling.stop),
    }
    if sampling.temperature == 0:
        body["samplers"] = ["temperature"]
    if request.choices:
        body["grammar"] = grammar(request.choices)
    return body


def _completion(answer: dict[str, Any], model: str, seconds: float) -> Completion:
    text = str(answer["content"])
    finish: Finish = "length" if answer.get("stop_type") == "limit" else "stop"
    if not text.strip():
        finish = "empty"
    timings = answer.get("timings", {})
    cached, read = timings.get("cache_n", 0), timings.get("prompt_n", 0)
    usage = Usage(cached + read, timings.get("predicted_n"), cached)
    return Completion(text, finish, usage, model, seconds)


def literal_ids(text: str, pieces: Callable[[str], list[tuple[int, str]]]) -> tuple[int, ...]:
    """Ids of content. llama.cpp itself leaves out control tokens, but not tokens that a model's
    makers added without calling them so (`<tool_call>`): text is cut inside each of these."""
    found = pieces(text)
    marked = {piece.strip() for _, piece in found if is_marked_word(piece)}
    either = "|".join(map(re.escape, sorted(marked)))
    cuts = [match.start() + 1 for match in re.finditer(f"(?={either})", text)] if marked else []
    if not cuts:
        return tuple(identity for identity, _ in found)
    parts = [text[start:end] for start, end in pairwise((0, *cuts, len(text)))]
    return tuple(identity for part in parts for identity in literal_ids(part, pieces))


class Worker:
    """The child process and the loopback connection to it."""

    def __init__(self, path: str, settings: Settings) -> None:
        self._timeout = settings.timeout
        self._log: IO[bytes] = tempfile.TemporaryFile()  # noqa: SIM115  closed by stop()
        self._states = tempfile.TemporaryDirectory()
        self._slots = settings.slots
        self.warm = settings.slots == 1
        self._key = secrets.token_hex(16)
        threads = settings.threads or cores()
        values = {
            "path": path,
            "context": settings.context,
            "slots": settings.slots,
            "states": self._states.name,
            "batch": settings.batch,
            "threads": threads,
            "gpu_layers": settings.gpu_layers,
        }
        self._process = subprocess.Popen(
            [sys.executable, "-m", "fiatkit.models.providers._llama_worker", json.dumps(values)],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=self._log,
            text=True,
        )
        try:
            self._place = urlsplit(self._address(path))
            self._tokenize = lru_cache(maxsize=4096)(self._tokenize_now)
            self._template = self._properties()
        except BaseException:
            self.stop()
            raise

    def _address(self, path: str) -> str:
        """Give the child its key and wait until it has loaded the model and says where it is."""
        assert self._process.stdin is not None and self._process.stdout is not None
        with contextlib.suppress(BrokenPipeError):
            self._process.stdin.write(self._key + "\n")
            self._process.stdin.flush()
        late = threading.Timer(START_SECONDS, self._process.kill)
        late.start()
        try:
            address = self._process.stdout.readline().strip()
        finally:
            late.cancel()
        if not address:
            self._process.wait()
            last = self.last_words()
            if "No module named 'xllamacpp'" in last:
                raise MissingExtraError("xllamacpp", "local", "A large model in process")
            raise ModelFileError(f'llama.cpp cannot load "{path}". {last}')
        return address

    def _properties(self) -> str:
        properties = self._call("GET", "/props", None)
        self._tokens = {name: str(properties.get(name, "")) for name in ("bos_token", "eos_token")}
        self._bos = self._call("POST", "/tokenize", {"content": "", "add_special": True})["tokens"]
        return str(properties.get("chat_template") or PLAIN)

    def prompt_ids(self, request: Request) -> list[int]:
        """The prompt's tokens: control tokens in the scaffolding only, never in content."""
        pieces = scaffold(self._template, request.messages, tokens=self._tokens)
        ids = token_ids(pieces, self._tokenize)
        return ids if ids[: len(self._bos)] == self._bos else [*self._bos, *ids]

    def _tokenize_now(self, text: str, special: bool) -> tuple[int, ...]:
        if special:
            body = {"content": text, "add_special": False, "parse_special": True}
            return tuple(self._call("POST", "/tokenize", body)["tokens"])
        return literal_ids(text, self._pieces)

    def _pieces(self, text: str) -> list[tuple[int, str]]:
        """Ids and texts of the tokens of literal text; half a character has no text."""
        body = {"content": text, "add_special": False, "parse_special": False, "with_pieces": True}
        found = self._call("POST", "/tokenize", body)["tokens"]
        return [(t["id"], t["piece"] if isinstance(t["piece"], str) else "") for t in found]

    def copy_slot(self, slot: int) -> None:
        """Copy the KV cache of a slot to all others, through a file of some megabytes."""
        name = {"filename": "state"}
        self.post(f"/slots/{slot}?action=save", name)
        for other in set(range(self._slots)) - {slot}:
            self.post(f"/slots/{other}?action=restore", name)
        Path(self._states.name, "state").unlink()
        self.warm = True

    def post(self, path: str, body: dict[str, Any]) -> dict[str, Any]:
        """Send one request and return its JSON answer."""
        return self._call("POST", path, body)

    def _call(self, method: str, path: str, body: dict[str, Any] | None) -> dict[str, Any]:
        assert self._place.hostname is not None
        connection = http.client.HTTPConnection(
            self._place.hostname, self._place.port, timeout=self._timeout
        )
        with contextlib.closing(connection):
            headers = {"Authorization": f"Bearer {self._key}", "Content-Type": "application/json"}
            connection.request(method, path, None if body is None else json.dumps(body), headers)
            response = connection.getresponse()
            raw = response.read()
        if response.status != 200:
            text = raw[:300].decode(errors="replace")
            raise RowProviderError(
                f"llama.cpp answered {response.status}: {text}", reason=f"http_{response.status}"
            )
        answer: dict[str, Any] = json.loads(raw)
        return answer

    def last_words(self) -> str:
        """The end of what the child wrote to its standard error."""
        if self._log.closed:
            return self._last
        size = self._log.seek(0, os.SEEK_END)
        self._log.seek(max(0, size - 400))
        return " ".join(self._log.read().decode(errors="replace").split())

    def stop(self) -> None:
        """End the child, gently first."""
        if self._process.stdin is not None:
            with contextlib.suppress(OSError):
                self._process.stdin.close()
        try:
            self._process.wait(timeout=5)
        except subprocess.TimeoutExpired:
            self._process.kill()
            self._process.wait()
        if self._process.stdout is not None:
            self._process.stdout.close()
        self._last = self.last_words()
        self._log.close()
        self._states.cleanup()

"""A large model in process: any causal model of transformers, in a worker child.

For models that have no GGUF file, and for machines with a GPU. The calls that are under way go
through the model as one batch; a crash in native code ends the child, and is a clean error here.
"""

from __future__ import annotations

import asyncio
import contextlib
import itertools
import json
import os
import subprocess
import sys
import tempfile
import threading
from collections.abc import Mapping, Sequence
from concurrent.futures import Future
from dataclasses import asdict
from pathlib import Path
from typing import IO, TYPE_CHECKING, Any, Literal

from pydantic import Field

from fiatkit import errors
from fiatkit.errors import (
    EnvironmentProblem,
    FiatError,
    MissingExtraError,
    ModelFileError,
    RowProviderError,
    TransientProviderError,
)
from fiatkit.models import catalogue
from fiatkit.models._devices import Device
from fiatkit.records import Completion, Finish, Message, ModelIdentity, Request, Usage
from fiatkit.settings import Strict

if TYPE_CHECKING:
    from fiatkit.models.local import SmallModel

CRASHES_A_ROW = 2
RESTARTS = 3
START_SECONDS = 900
HINTS = {
    "too_long": "Raise large.context in the run file.",
    "memory": "Lower large.context, choose a smaller model, or another large.device.",
}


class Settings(Strict):
    """Keys of `large:` in a run file for this provider.

    Attributes:
        model: a folder with safetensors, a hub id, or a tunable name of the catalogue.
        context: tokens that prompt and answer share; never more than the model's own.
        device: "cpu", "cuda", "cuda:0", "mps", or "auto" for the best that is there.
        dtype: "auto" is bfloat16 on a cuda device that has it, else float32.
        batch: calls that are written together. With 1, an answer owes nothing to its neighbours.
        threads: default: all cores that this process may use.
        timeout: seconds until a call is given up and the worker started anew.
    """

    provider: str = "transformers"
    model: str
    context: int = Field(default=4096, ge=64)
    device: Device = "auto"
    dtype: Literal["auto", "float32", "bfloat16", "float16"] = "auto"
    batch: int = Field(default=8, ge=1, le=1024)
    threads: int | None = Field(default=None, ge=1)
    timeout: float = Field(default=600.0, gt=0)


def create(settings: Settings) -> Transformers:
    """Make the model; its worker starts with the first call."""
    return Transformers(settings)


def prompt_lengths(
    values: Mapping[str, Any], small: SmallModel, prompts: Sequence[Sequence[Message]]
) -> tuple[list[int], int]:
    """Tokens of prompts as the worker would read them, from a model that is loaded already.

    Args:
        values: the settings that the worker would have.
        small: the model that they name.
        prompts: messages of each.

    Returns:
        Tokens of each prompt, and the tokens that a prompt and its answer may take together.
    """
    from fiatkit.models.providers._writer import Writer

    writer = Writer(small.model, small.tokenizer, Settings.model_validate(values).context)
    return [len(writer.prompt_ids(prompt)) for prompt in prompts], writer.context


class Transformers:
    """A transformers model in a worker child. Implements `ChatModel`."""

    def __init__(self, settings: Settings) -> None:
        self.settings = settings
        self.slots = settings.batch
        self.folder, identity = catalogue.resolve_transformers(settings.model)
        revision = identity["revision"]
        if settings.dtype != "auto":
            revision += f":{settings.dtype}"
        self.identity = ModelIdentity("transformers", "", settings.model, revision)
        self._worker: _Worker | None = None
        self._starting: asyncio.Lock | None = None
        self._restarts = 0
        self._crashes: dict[Request, int] = {}

    async def complete(self, request: Request) -> Completion:
        """Make one attempt. A crash of the worker is a transient error; the second one while a
        row is written alone is that row's."""
        worker = await self._open()
        call = worker.ask(_payload(request, alone=request in self._crashes))
        try:
            async with asyncio.timeout(self.settings.timeout):
                answer = await asyncio.wrap_future(call)
        except TimeoutError:
            worker.stop(gently=False)
            raise self._crashed(worker, request, True, "no answer in time") from None
        except _WorkerGone as gone:
            raise self._crashed(worker, request, gone.begun, "it crashed") from None
        if "reason" in answer:
            reason = str(answer["reason"])
            raise RowProviderError(answer["message"], HINTS.get(reason, ""), reason=reason)
        return _completion(answer, self.settings.model)

    async def close(self) -> None:
        """End the worker."""
        worker, self._worker = self._worker, None
        if worker is not None:
            await asyncio.to_thread(worker.stop)

    async def _open(self) -> _Worker:
        """The worker, started if there is none. Callers that come together start one."""
        self._starting = self._starting or asyncio.Lock()
        async with self._starting:
            if self._worker is None:
                self._worker = await asyncio.to_thread(_Worker, self.settings, self.folder)
            return self._worker

    def _crashed(self, worker: _Worker, request: Request, begun: bool, why: str) -> FiatError:
        """The error for one of the calls that a worker took with it."""
        if self._worker is worker:  # the first of these calls to hear of it
            worker.stop(gently=False)
            self._worker = None
            self._restarts += 1
        message = f"The transformers worker ended: {why}. {worker.last}".strip()
        if begun:
            self._crashes[request] = self._crashes.get(request, 0) + 1
        if self._crashes.get(request, 0) >= CRASHES_A_ROW:
            return RowProviderError(message, reason="crash")
        if self._restarts > RESTARTS:
            return EnvironmentProblem(message, "Is there enough memory? Lower large.batch.")
        return TransientProviderError(message, reason="crash")


def _payload(request: Request, *, alone: bool) -> dict[str, Any]:
    return {
        "messages": [asdict(message) for message in request.messages],
        "sampling": asdict(request.sampling),
        "choices": list(request.choices),
        "sample": request.sample,
        "alone": alone,
    }


def _completion(answer: dict[str, Any], model: str) -> Completion:
    text, finish = str(answer["text"]), answer["finish"]
    kind: Finish = "empty" if finish != "error" and not text.strip() else finish
    usage = Usage(answer["prompt"], answer["completion"], answer["cached"])
    detail = "the model computed NaN; try large.dtype: float32" if finish == "error" else ""
    return Completion(text, kind, usage, model, answer["seconds"], detail)


class _WorkerGone(Exception):
    """The child ended with calls open. `begun`: it was at work on this one."""

    def __init__(self, begun: bool) -> None:
        super().__init__()
        self.begun = begun


class _Worker:
    """The child process, and the thread that hears its answers.

    Attributes:
        last: the end of what it wrote to its standard error, once it has ended.
    """

    def __init__(self, settings: Settings, folder: Path) -> None:
        self.last = ""
        self._log: IO[bytes] = tempfile.TemporaryFile()  # noqa: SIM115  closed by stop()
        self._calls: dict[int, Future[dict[str, Any]]] = {}
        self._begun: set[int] = set()
        self._numbers = itertools.count()
        self._lock = threading.Lock()
        self._ended = False
        values = settings.model_dump(mode="json") | {"folder": str(folder)}
        self._process = subprocess.Popen(
            [
                sys.executable,
                "-m",
                "fiatkit.models.providers._transformers_worker",
                json.dumps(values),
            ],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=self._log,
            text=True,
            encoding="utf-8",
        )
        try:
            self.loaded = self._first_line(settings.model)
        except BaseException:
            self.stop(gently=False)
            raise
        self._ear = threading.Thread(target=self._listen, daemon=True)
        self._ear.start()

    def _first_line(self, model: str) -> dict[str, Any]:
        """Wait until the child has loaded the model, or says why it cannot."""
        assert self._process.stdout is not None
        late = threading.Timer(START_SECONDS, self._process.kill)
        late.start()
        try:
            line = self._process.stdout.readline()
        finally:
            late.cancel()
        if not line:
            self._process.wait()
            last = self._last_words()
            if "No module named 'torch'" in last:
                raise MissingExtraError("torch", "local", "A large model in process")
            raise ModelFileError(f'The transformers worker cannot load "{model}". {last}')
        value: dict[str, Any] = json.loads(line)
        if "failed" in value:
            kind = getattr(errors, value["failed"])
            error = kind.__new__(kind)
            FiatError.__init__(error, value["message"], value["hint"])
            raise error
        return value

    def ask(self, payload: dict[str, Any]) -> Future[dict[str, Any]]:
        """Send a request; its answer arrives in the future."""
        call: Future[dict[str, Any]] = Future()
        assert self._process.stdin is not None
        with self._lock:
            if self._ended:
                call.set_exception(_WorkerGone(False))
                return call
            number = next(self._numbers)
            self._calls[number] = call
            with contextlib.suppress(OSError, ValueError):  # the ear hears of the end
                self._process.stdin.write(json.dumps(payload | {"id": number}) + "\n")
                self._process.stdin.flush()
        return call

    def _listen(self) -> None:
        """Hand answers to their callers; at the end, tell all who still wait."""
        assert self._process.stdout is not None
        with contextlib.suppress(OSError, ValueError):
            for line in self._process.stdout:
                answer = json.loads(line)
                if "begun" in answer:
                    self._begun = set(answer["begun"])
                    continue
                with self._lock:
                    call = self._calls.pop(answer["id"], None)
                if call is not None and call.set_running_or_notify_cancel():
                    call.set_result(answer)
        with self._lock:
            self._ended = True
            left, self._calls = self._calls, {}
        for number, call in left.items():
            if call.set_running_or_notify_cancel():
                call.set_exception(_WorkerGone(number in self._begun))

    def _last_words(self) -> str:
        if self._log.closed:
            return self.last
        size = self._log.seek(0, os.SEEK_END)
        self._log.seek(max(0, size - 400))
        return " ".join(self._log.read().decode(errors="replace").split())

    def stop(self, *, gently: bool = True) -> None:
        """End the child. May be called twice."""
        if gently and self._process.stdin is not None:
            with contextlib.suppress(OSError, ValueError):
                self._process.stdin.close()
        try:
            self._process.wait(timeout=5 if gently else 0)
        except subprocess.TimeoutExpired:
            self._process.kill()
            self._process.wait()
        self.last = self._last_words()
        if hasattr(self, "_ear"):
            self._ear.join()
        for pipe in (self._process.stdin, self._process.stdout, self._log):
            if pipe is not None:
                with contextlib.suppress(OSError, ValueError):
                    pipe.close()

"""A large model on the workers of a Ray cluster: one copy each, calls spread over them.

It is a `ChatModel` like any other: the engine, its pace and budget, the ledger and the store stay
with the driver, so that all workers share one limiter and nothing is kept twice. A worker that is
lost takes its calls with it; they fail as transient and are made elsewhere.
"""

from __future__ import annotations

import asyncio
import os
from dataclasses import dataclass
from typing import Any

from pydantic import Field

from fiatkit.errors import (
    EnvironmentProblem,
    FiatError,
    MissingExtraError,
    ProviderError,
    TransientProviderError,
)
from fiatkit.models import create_chat_model
from fiatkit.models.protocol import ChatModel
from fiatkit.records import Completion, RateLimits, Request
from fiatkit.settings import Strict

RESTARTS = 3
START_SECONDS = 900.0
REST_SECONDS = 2.0  # a worker that was lost is left alone for so long
Outcome = tuple[Completion | FiatError, RateLimits | None]


class RaySettings(Strict):
    """The block `ray:` of a run file.

    Attributes:
        address: of a running cluster, or "auto" for the one of this machine; without one, a
            cluster of this machine is started and ended with the command.
        workers: copies of the large model.
        cpus, gpus: what each of them takes of its node.
    """

    address: str | None = None
    workers: int = Field(default=2, ge=1)
    cpus: float = Field(default=1.0, ge=0)
    gpus: float = Field(default=0.0, ge=0)


class Worker:
    """What runs on a node: one large model."""

    def __init__(self, values: dict[str, Any]) -> None:
        self.model: ChatModel = create_chat_model(values)

    async def pid(self) -> int:
        """The process."""
        return os.getpid()

    async def complete(self, request: Request) -> Outcome:
        """One attempt; an error of ours is a value, so that it arrives as it is."""
        try:
            answer: Completion | FiatError = await self.model.complete(request)
        except FiatError as error:
            answer = error.with_traceback(None)
        return answer, getattr(self.model, "limits", None)


@dataclass(slots=True, eq=False)
class _Member:
    """One worker as the driver sees it. `rests_until` is a time of the event loop."""

    actor: Any
    pid: int = 0
    busy: int = 0
    rests_until: float = 0.0


class Cluster:
    """A large model on many workers. Implements `ChatModel`.

    Args:
        values: the `large:` block of a run file.
        settings: where, and how many.

    Raises:
        EnvironmentProblem: no such cluster, or its nodes have no room for the workers.
    """

    def __init__(self, values: dict[str, Any], settings: RaySettings) -> None:
        self._ray = _ray()
        alone = create_chat_model(values)  # knows its identity without being loaded
        self.identity = alone.identity
        self.slots = alone.slots * settings.workers
        self.limits: RateLimits | None = None
        self._each = alone.slots
        self._started = not self._ray.is_initialized()
        if self._started:
            _join(self._ray, settings)
        kind = self._ray.remote(Worker).options(
            num_cpus=settings.cpus,
            num_gpus=settings.gpus,
            max_concurrency=alone.slots + 1,
            max_restarts=RESTARTS,
            max_task_retries=0,  # each attempt is one that the ledger knows
        )
        self._members = [_Member(kind.remote(values)) for _ in range(settings.workers)]
        self._wait_until_ready(settings)

    @property
    def pids(self) -> list[int]:
        """The workers' processes, as they were when all were ready."""
        return [member.pid for member in self._members]

    async def complete(self, request: Request) -> Completion:
        """Make one attempt, on the worker that has least to do."""
        member = await self._free()
        member.busy += 1
        try:
            outcome: Outcome = await member.actor.complete.remote(request)
        except self._ray.exceptions.RayError as error:
            raise self._lost(member, error) from None
        finally:
            member.busy -= 1
        answer, limits = outcome
        self.limits = limits or self.limits
        if isinstance(answer, FiatError):
            raise answer
        return answer

    async def close(self) -> None:
        """End the workers, and the cluster if it is ours."""
        members, self._members = self._members, []
        for member in members:
            self._ray.kill(member.actor)
        if self._started:
            self._started = False
            await asyncio.to_thread(self._ray.shutdown)

    async def _free(self) -> _Member:
        """The worker with the fewest calls; those that were just lost are left alone."""
        while True:
            if not self._members:
                raise EnvironmentProblem(
                    "All workers of the cluster were lost.",
                    "Every answer is kept. Run the same command again to go on.",
                )
            now = asyncio.get_running_loop().time()
            ready = [m for m in self._members if m.rests_until <= now and m.busy < self._each]
            if ready:
                return min(ready, key=lambda member: member.busy)
            await asyncio.sleep(0.05)

    def _lost(self, member: _Member, error: Exception) -> ProviderError:
        """A call's worker is gone, for a while or for good."""
        member.rests_until = asyncio.get_running_loop().time() + REST_SECONDS
        if isinstance(error, self._ray.exceptions.ActorDiedError) and member in self._members:
            self._members.remove(member)
        return TransientProviderError(
            f"A worker of the cluster was lost ({type(error).__name__}).",
            reason="worker_lost",
            ambiguous=bool(self.identity.endpoint),
        )

    def _wait_until_ready(self, settings: RaySettings) -> None:
        calls = [member.actor.pid.remote() for member in self._members]
        try:
            told = self._ray.get(calls, timeout=START_SECONDS)
        except self._ray.exceptions.RayError as error:
            cause = getattr(error, "cause", None)
            if isinstance(cause, FiatError):
                raise cause from None
            raise EnvironmentProblem(
                f"{settings.workers} workers of {settings.cpus:g} CPUs and {settings.gpus:g} GPUs "
                f"cannot be had ({type(error).__name__}).",
                "Lower ray.workers, ray.cpus or ray.gpus in the run file.",
            ) from None
        for member, pid in zip(self._members, told, strict=True):
            member.pid = pid


def _ray() -> Any:
    try:
        os.environ.setdefault("RAY_USAGE_STATS_ENABLED", "0")
        import ray
    except ImportError:
        raise MissingExtraError("ray", "ray", "--engine ray") from None
    return ray


def _join(ray: Any, settings: RaySettings) -> None:
    """Join the cluster at the address, or start one on this machine."""
    own = {"include_dashboard": False, "_node_ip_address": "127.0.0.1"}
    if settings.address is None:
        own["num_cpus"] = max(1, round(settings.workers * settings.cpus))
    where = own if settings.address is None else {"address": settings.address}
    try:
        ray.init(**where, namespace="fiatkit", log_to_driver=False, logging_level="ERROR")
    except Exception as error:  # Ray raises bare exceptions here
        raise EnvironmentProblem(
            f'No Ray cluster at "{settings.address or "this machine"}" ({type(error).__name__}).',
            "Start one with `ray start --head`, or leave ray.address out.",
        ) from None

"""Writes of many workers in one transaction, since a disk needs as long for one as for sixty.

Nobody waits for company: what arrives while one transaction is on its way to the disk makes up
the next. The disk is waited for on another thread, so that answers are taken in meanwhile.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from typing import Any, TypeVar

from fiatkit.reasoning.store import RationaleStore

T = TypeVar("T")


class GroupCommit:
    """Makes writes to a store durable, one of them or many at once. One for an event loop.

    While it is at work nobody else may write to the store.
    """

    def __init__(self, store: RationaleStore) -> None:
        self._store = store
        self._waiting: list[tuple[Callable[[], Any], asyncio.Future[Any]]] = []
        self._flushing: asyncio.Task[None] | None = None

    async def __call__(self, write: Callable[[], T]) -> T:
        """Do a write of the store; durable when this returns.

        A caller that is cancelled meanwhile waits for it, for it is done all the same.

        Raises:
            EnvironmentProblem: the transaction failed, and with it all writes in it.
        """
        done: asyncio.Future[T] = asyncio.get_running_loop().create_future()
        self._waiting.append((write, done))
        if self._flushing is None or self._flushing.done():
            self._flushing = asyncio.create_task(self._flush())
        try:
            return await asyncio.shield(done)
        except asyncio.CancelledError:
            await asyncio.gather(done, return_exceptions=True)
            raise

    async def _flush(self) -> None:
        while self._waiting:
            group, self._waiting = self._waiting, []
            try:
                async with self._store.together():
                    results = [write() for write, _ in group]
            except BaseException as problem:
                for _, done in group:
                    done.set_exception(problem)
            else:
                for (_, done), result in zip(group, results, strict=True):
                    done.set_result(result)

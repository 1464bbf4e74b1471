"""How a run stops: it sends nothing more, lets in what is under way, then says why it stopped.

Signals are taken over while workers run and handed on afterwards to whoever would have had them.
"""

from __future__ import annotations

import asyncio
import contextlib
import signal
import threading
import time
from collections.abc import Callable, Coroutine, Iterator, Sequence
from typing import Any

DRAIN = 30.0
SIGNALS = tuple(
    getattr(signal, name) for name in ("SIGINT", "SIGTERM", "SIGHUP") if hasattr(signal, name)
)


class Stopping:
    """One for each time that workers run.

    Args:
        say: receives a line for the user.
    """

    def __init__(self, say: Callable[[str], None]) -> None:
        self._say = say
        self._asked = asyncio.Event()
        self._hurry = asyncio.Event()
        self._changed = asyncio.Event()
        self._problem: BaseException | None = None
        self._signal: signal.Signals | None = None

    @property
    def asked(self) -> bool:
        """Whether nothing more may be sent."""
        return self._asked.is_set()

    def because(self, problem: BaseException, *, at_once: bool = False) -> None:
        """Stop, and raise `problem` when all are done; the first problem is the one raised."""
        self._problem = self._problem or problem
        self._asked.set()
        if at_once:
            self._hurry.set()
        self.changed()

    def changed(self) -> None:
        """Something has happened that somebody may rest for."""
        self._changed.set()
        self._changed = asyncio.Event()

    async def rest(self, seconds: float | None) -> None:
        """Wait until something has happened, at most so long."""
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(seconds):
                await self._changed.wait()

    async def sleep(self, seconds: float) -> None:
        """Wait so long, or until the run stops."""
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(seconds):
                await self._asked.wait()

    async def drain(self, works: Sequence[Coroutine[Any, Any, None]]) -> None:
        """Run workers to their end; when asked to stop, wait at most `DRAIN` seconds for them.

        Raises:
            BaseException: the problem that stopped them, or what a signal is turned into.
        """
        workers = [asyncio.create_task(work) for work in works]
        asked = asyncio.create_task(self._asked.wait())
        hurry = asyncio.create_task(self._hurry.wait())
        everyone = asyncio.ensure_future(asyncio.wait(workers))
        with self._signals():
            try:
                first = asyncio.FIRST_COMPLETED
                await asyncio.wait([everyone, asked], return_when=first)
                if not everyone.done():
                    await asyncio.wait([everyone, hurry], timeout=DRAIN, return_when=first)
            finally:
                for task in (*workers, everyone, asked, hurry):
                    task.cancel()
                await asyncio.gather(*workers, everyone, asked, hurry, return_exceptions=True)
        if self._signal is not None:
            signal.raise_signal(self._signal)
            await asyncio.sleep(0)  # a handler may have cancelled this task
        if self._problem is not None:
            raise self._problem

    @contextlib.contextmanager
    def _signals(self) -> Iterator[None]:
        """Take over the signals that end a process, those excepted that it ignores."""
        taken: dict[signal.Signals, Any] = {}
        if threading.current_thread() is threading.main_thread():
            loop = asyncio.get_running_loop()
            for number in SIGNALS:
                before = signal.getsignal(number)
                if before not in (signal.SIG_IGN, None):
                    loop.add_signal_handler(number, self._signalled, number)
                    taken[number] = before
        try:
            yield
        finally:
            for number, before in taken.items():
                asyncio.get_running_loop().remove_signal_handler(number)
                signal.signal(number, before)

    def _signalled(self, number: signal.Signals) -> None:
        if self._signal is not None:
            self._hurry.set()
            return
        self._signal = number
        self._asked.set()
        self.changed()
        self._say(
            f"Stopping: what is under way is waited for, at most {DRAIN:.0f} s. "
            "Once more to stop at once."
        )


def clock(seconds: float) -> str:
    """The time of day in so many seconds, as a user reads it."""
    pattern = "%H:%M:%S" if seconds < 12 * 3600 else "%Y-%m-%d %H:%M"
    return time.strftime(pattern, time.localtime(time.time() + seconds))

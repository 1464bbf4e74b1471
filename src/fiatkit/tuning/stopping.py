"""Signals that wait until the step under way is taken, so that a checkpoint can be saved first."""

from __future__ import annotations

import contextlib
import signal
import threading
from collections.abc import Iterator
from types import FrameType, TracebackType
from typing import Any

SIGNALS = tuple(
    getattr(signal, name) for name in ("SIGINT", "SIGTERM", "SIGHUP") if hasattr(signal, name)
)


class Interrupted(BaseException):
    """A signal came, and the tuning has ended at a step's boundary; carries its number."""

    def __init__(self, number: int) -> None:
        super().__init__(number)
        self.number = number


class Held:
    """While open, the first signal is noted in `number`; a second one acts at once.

    When the block ends by `Interrupted`, the signal is raised again under the handlers that were
    there before, so that the process ends as it would have ended without.
    """

    def __init__(self) -> None:
        self.number = 0
        self._at_once = False
        self._before: dict[int, Any] = {}

    def __enter__(self) -> Held:
        if threading.current_thread() is threading.main_thread():
            for number in SIGNALS:
                if signal.getsignal(number) not in (signal.SIG_IGN, None):
                    self._before[number] = signal.signal(number, self._receive)
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        for number, handler in self._before.items():
            signal.signal(number, handler)
        if isinstance(error, Interrupted):
            signal.raise_signal(error.number)

    def _receive(self, number: int, frame: FrameType | None) -> None:
        if self._at_once or self.number:
            raise Interrupted(number)
        self.number = number

    @contextlib.contextmanager
    def at_once(self) -> Iterator[None]:
        """Inside, the state is that of a boundary and a signal need not wait."""
        self._at_once = True
        try:
            if self.number:
                raise Interrupted(self.number)
            yield
        finally:
            self._at_once = False

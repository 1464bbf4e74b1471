"""The terminal: one console, and progress bars with the time left."""

from __future__ import annotations

import os
import signal
import sys
import time
from collections.abc import Mapping
from typing import Any

from rich.console import Console
from rich.progress import (
    BarColumn,
    MofNCompleteColumn,
    Progress,
    TextColumn,
    TimeElapsedColumn,
    TimeRemainingColumn,
)

from fiatkit.errors import Stopped

LOG_EVERY = 20.0


class _Console(Console):
    """A console that ends the program with the documented code when its reader is gone."""

    def on_broken_pipe(self) -> None:
        raise Stopped(signal.SIGPIPE)


def _width(terminal: bool) -> int | None:
    """The terminal's own width; elsewhere, such as in a file, as wide as a table needs."""
    return None if terminal or "COLUMNS" in os.environ else 180


console = _Console(highlight=False, width=_width(sys.stdout.isatty()))
errors = _Console(stderr=True, highlight=False, width=_width(sys.stderr.isatty()))


class Bars:
    """Progress as bars on a terminal, as a line now and then elsewhere; goes to stderr."""

    def __init__(self) -> None:
        self._live = errors.is_terminal
        self._bars = Progress(
            TextColumn("{task.description}", markup=False),
            BarColumn(),
            MofNCompleteColumn(),
            TimeElapsedColumn(),
            TextColumn("left"),
            TimeRemainingColumn(),
            TextColumn("{task.fields[note]}", markup=False),
            console=errors,
        )
        self._task: Any = None
        self._name, self._total, self._began, self._logged = "", 0, 0.0, 0.0
        self._finished = False

    def __enter__(self) -> Bars:
        if self._live:
            self._bars.start()
        return self

    def __exit__(self, *exception: object) -> None:
        self._bars.stop()

    def stage(self, name: str, total: int) -> None:
        """A stage of `total` steps begins; the one before is finished."""
        self._name, self._total = name, total
        self._began = self._logged = time.monotonic()
        self._finished = False
        if self._live:
            if self._task is not None:
                self._bars.stop_task(self._task)
            self._task = self._bars.add_task(name, total=total, note="")
        else:
            self.say(f"{name}: 0/{total}")

    def advance(self, done: int, note: str = "") -> None:
        """`done` steps of the stage are finished."""
        if self._live:
            from fiatkit.visible import one_line

            self._bars.update(self._task, completed=done, note=one_line(note))
            return
        now = time.monotonic()
        finished = done == self._total and not self._finished
        if finished or now - self._logged > LOG_EVERY:
            self._logged, self._finished = now, done == self._total
            left = (now - self._began) / max(done, 1) * (self._total - done)
            told = f" ({note})" if note else ""
            self.say(f"{self._name}: {done}/{self._total}, {_clock(left)} left{told}")

    def say(self, message: str) -> None:
        """A line that stays."""
        from fiatkit.visible import plain

        errors.print(plain(message), markup=False, soft_wrap=True)

    def begins(self, plan: object, cell: object) -> None:
        """Its stages tell it."""

    def measured(self, step: int, values: Mapping[str, float]) -> None:
        """The note of `advance` tells it."""

    def finished(self, plan: object, cell: object) -> None:
        """The next stage tells it."""


def _clock(seconds: float) -> str:
    minutes, rest = divmod(round(seconds), 60)
    return f"{minutes}:{rest:02d}"

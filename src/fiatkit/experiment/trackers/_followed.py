"""A tracker's process, seen from the run: it is handed messages, and never waited for."""

from __future__ import annotations

import json
import queue
import subprocess
import sys
import threading
from collections.abc import Callable
from dataclasses import asdict
from pathlib import Path
from typing import Any

from fiatkit.experiment.trackers import Comparison

WAITING = 20_000  # messages that may wait until the tracker is given up
LAST_WAIT = 20.0  # seconds, after the last message of a run that came to its end


class Followed:
    """Hands messages to a tracker in a process of its own.

    A tracker that fails, or does not keep up, is told of once and switched off.
    """

    def __init__(
        self, name: str, comparison: Comparison, done: Path, say: Callable[[str], None]
    ) -> None:
        self._name, self._say = name, say
        self._off = threading.Event()
        self._waiting: queue.Queue[str | None] = queue.Queue(WAITING)
        self._process: subprocess.Popen[str] | None = None
        try:
            self._process = subprocess.Popen(
                [sys.executable, "-m", "fiatkit.experiment.trackers._child", name, str(done)],
                stdin=subprocess.PIPE,
                stdout=subprocess.DEVNULL,
                stderr=subprocess.PIPE,
                encoding="utf-8",
                start_new_session=True,  # signals of the terminal are the run's
            )
        except OSError as error:
            self._switch_off(error.strerror or str(error))
            return
        threading.Thread(target=self._write, daemon=True).start()
        self._put(asdict(comparison))

    def send(self, do: str, **values: Any) -> None:
        """Hand a message over; returns at once."""
        self._put({"do": do, **values})

    def close(self, wait: float = LAST_WAIT) -> None:
        """No more messages. Waits a while for those under way, then leaves the rest to it."""
        if self._off.is_set() or self._process is None:
            return
        self._queue(None)
        try:
            if self._process.wait(wait):
                self._switch_off(self._reason())
        except subprocess.TimeoutExpired:
            self._say(f"{self._name} is still sending; it is left to it.")

    def _put(self, message: dict[str, Any]) -> None:
        if not self._off.is_set():
            self._queue(json.dumps(message) + "\n")

    def _queue(self, line: str | None) -> None:
        try:
            self._waiting.put_nowait(line)
        except queue.Full:
            self._switch_off("it does not keep up")

    def _write(self) -> None:
        """In a thread of its own: whatever blocks here blocks no run."""
        assert self._process is not None
        assert self._process.stdin is not None
        try:
            while (line := self._waiting.get()) is not None:
                self._process.stdin.write(line)
                self._process.stdin.flush()
            self._process.stdin.close()
        except OSError:
            self._process.wait()
            self._switch_off(self._reason())

    def _reason(self) -> str:
        assert self._process is not None
        assert self._process.stderr is not None
        return self._process.stderr.read() or f"it ended with code {self._process.returncode}"

    def _switch_off(self, reason: str) -> None:
        if not self._off.is_set():
            self._off.set()
            self._say(f"{self._name} is switched off ({reason}). The run goes on.")
            if self._process is not None:
                self._process.kill()

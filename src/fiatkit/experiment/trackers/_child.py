"""The process of one tracker: JSON lines come in on stdin; a failure goes out on stderr, in a line.

Whatever the tracking library prints goes nowhere. Ends when stdin does, a while later if the
library hangs.
"""

from __future__ import annotations

import contextlib
import json
import os
import sys
import threading
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import Any

from fiatkit import registry
from fiatkit.errors import without_secrets
from fiatkit.experiment.trackers import ROOM, Comparison, Tracker

LAST_SENDING = 300.0  # seconds after the end of stdin


def main() -> None:
    """Follow one comparison. The arguments: the tracker's name, and where to note what is done."""
    name, done = sys.argv[1], Path(sys.argv[2])
    told = os.fdopen(os.dup(2), "w", encoding="utf-8")
    nowhere = os.open(os.devnull, os.O_WRONLY)
    os.dup2(nowhere, 1)
    os.dup2(nowhere, 2)
    code = 0
    try:
        messages = _messages()
        comparison = Comparison(**next(messages))
        follow(registry.get(ROOM, name).open_tracker(comparison), messages, done)
    except Exception as error:
        reason = without_secrets(f"{type(error).__name__}: {error}").splitlines()[0]
        told.write(reason[:300])
        told.flush()
        code = 1
    sys.exit(code)


def _messages() -> Iterator[dict[str, Any]]:
    """What comes in. After its end the library has some time left for what it must still send."""
    for line in sys.stdin:
        yield json.loads(line)
    timer = threading.Timer(LAST_SENDING, os._exit, (1,))
    timer.daemon = True
    timer.start()


def follow(tracker: Tracker, messages: Iterable[dict[str, Any]], done: Path) -> None:
    """Pass messages on. Cells that `done` lists were tracked to their end before."""
    finished = set(done.read_text(encoding="utf-8").splitlines()) if done.is_file() else set()
    cell, skipped = "", False
    for message in messages:
        match message.pop("do"):
            case "begin":
                cell = message["cell"]
                skipped = cell in finished
                if not skipped:
                    tracker.begin(cell, message["parameters"])
            case "log" if not skipped:
                tracker.log(message["step"], message["values"])
            case "end" if not skipped:
                tracker.end(message["values"])
                finished.add(cell)
                with contextlib.suppress(OSError), done.open("a", encoding="utf-8") as file:
                    file.write(f"{cell}\n")
            case "keep":
                tracker.keep([Path(file) for file in message["files"]])
    tracker.close()


if __name__ == "__main__":
    main()

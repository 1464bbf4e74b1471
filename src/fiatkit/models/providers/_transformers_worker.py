"""The child process that runs a transformers model: requests in, answers out, a line of JSON each.

Started by transformers.py as `python -m ... SETTINGS`, where SETTINGS is JSON. Its first line says
what it loaded. Requests that wait together are written together. It ends when its standard input
closes, even while it writes, so that it never outlives its parent.
"""

from __future__ import annotations

import json
import os
import queue
import signal
import sys
import threading
import time
from pathlib import Path
from typing import IO, Any

from fiatkit.errors import FiatError
from fiatkit.models._devices import choose, is_memory, memory_told
from fiatkit.models.local import load_transformers
from fiatkit.models.providers._writer import Row, Writer
from fiatkit.records import Message, Request, Sampling

GATHER_SECONDS = 0.02  # callers that were answered together ask again together

Asked = dict[str, Any]


def main() -> None:
    """Load the model, say so, and answer until the parent goes."""
    # Ctrl-C reaches the whole process group; the parent decides when this child ends.
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    answers = os.fdopen(os.dup(1), "w", encoding="utf-8")
    os.dup2(2, 1)  # whatever a library prints is no answer
    settings = json.loads(sys.argv[1])
    waiting: queue.Queue[Asked] = queue.Queue()
    threading.Thread(target=_listen, args=(waiting,), daemon=True).start()
    try:
        writer = _load(settings)
    except FiatError as error:
        _tell(answers, _failed(error))
        return
    _tell(answers, {"context": writer.context, "device": str(writer.device)})
    while True:
        batch = _gather(waiting, settings["batch"])
        _tell(answers, {"begun": [asked["id"] for asked in batch]})
        for answer in _answer(writer, batch):
            _tell(answers, answer)


def _load(settings: dict[str, Any]) -> Writer:
    ref, device = settings["model"], choose(settings["device"])
    hint = "Take a smaller model, or another large.device or large.dtype."
    with memory_told(f'loading the large model "{ref}"', device, hint):
        model, tokenizer = load_transformers(
            Path(settings["folder"]),
            ref,
            device=device,
            dtype=settings["dtype"],
            threads=settings["threads"],
        )
        return Writer(model, tokenizer, settings["context"])


def _failed(error: FiatError) -> dict[str, str]:
    return {"failed": type(error).__name__, "message": error.message, "hint": error.hint}


def _listen(waiting: queue.Queue[Asked]) -> None:
    for line in sys.stdin:
        waiting.put(json.loads(line))
    os._exit(0)


def _tell(answers: IO[str], value: dict[str, Any]) -> None:
    answers.write(json.dumps(value) + "\n")
    answers.flush()


def _gather(waiting: queue.Queue[Asked], most: int) -> list[Asked]:
    """The next request, and those that wait with it; a request marked `alone` goes alone."""
    batch = [waiting.get()]
    until = time.monotonic() + GATHER_SECONDS
    while len(batch) < most and not any(asked["alone"] for asked in batch):
        try:
            batch.append(waiting.get(timeout=max(0.0, until - time.monotonic())))
        except queue.Empty:
            break
    if len(batch) > 1 and batch[-1]["alone"]:
        waiting.put(batch.pop())
    return batch


def _answer(writer: Writer, batch: list[Asked]) -> list[dict[str, Any]]:
    """Answer a batch: what was written, or why a request cannot be."""
    found: list[dict[str, Any]] = []
    rows: list[tuple[Asked, Row]] = []
    for asked in batch:
        try:
            row = writer.row(_request(asked))
        except FiatError as error:
            found.append({"id": asked["id"], "reason": "template", "message": str(error)})
            continue
        room = writer.context - row.request.sampling.max_tokens
        if len(row.ids) > room:
            message = f"The prompt has {len(row.ids)} tokens; {room} fit beside "
            message += f"{row.request.sampling.max_tokens} for the answer "
            message += f"(context {writer.context})."
            found.append({"id": asked["id"], "reason": "too_long", "message": message})
        elif not row.ids:
            found.append({"id": asked["id"], "reason": "empty", "message": "The prompt is empty."})
        else:
            rows.append((asked, row))
    began = time.monotonic()
    try:
        if rows:
            writer.write([row for _, row in rows])
    except (MemoryError, RuntimeError) as error:
        if not is_memory(error):
            raise
        message = f'There is no memory left on the device "{writer.device}" for one prompt.'
        return found + [
            {"id": asked["id"], "reason": "memory", "message": message} for asked, _ in rows
        ]
    seconds = (time.monotonic() - began) / max(1, len(rows))
    return found + [_written(asked["id"], row, seconds) for asked, row in rows]


def _request(asked: Asked) -> Request:
    sampling = asked["sampling"] | {"stop": tuple(asked["sampling"]["stop"])}
    messages = tuple(Message(**message) for message in asked["messages"])
    return Request(messages, Sampling(**sampling), tuple(asked["choices"]), asked["sample"])


def _written(identity: int, row: Row, seconds: float) -> dict[str, Any]:
    return {
        "id": identity,
        "text": row.text,
        "finish": row.finish,
        "prompt": len(row.ids),
        "completion": len(row.written),
        "cached": row.cached,
        "seconds": seconds,
    }


if __name__ == "__main__":
    main()

"""OpenAI's files and batches and Anthropic's message batches, on loopback, with receipts.

Each batch runs by a `Course`: how many looks it takes, how it ends, and what becomes of each row.
The server runs on a thread of its own, so that a test may kill the client and go on.
"""

import asyncio
import contextlib
import json
import re
import threading
import time
from collections import Counter
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any
from urllib.parse import parse_qs, urlsplit

from tests.faults.fakeserver import completion, right_text

Row = dict[str, Any]
WORDS = {"cancelled": "canceled"}


@dataclass
class Course:
    """How a batch goes.

    Attributes:
        looks: times that it is looked at before it ends.
        end: its last state, in OpenAI's words.
        fate: what becomes of a row, by its place: "ok", "refused" (400), "overloaded", "expired",
            "cancelled", "missing", "twice", "foreign" (a result for a row that nobody asked for).
        lose_reply: the batch is made, but the connection closes before its id is sent.
        refuse: it is not made: an HTTP status, or what validation says (OpenAI).
        no_file: it ends without a file.
    """

    looks: int = 1
    end: str = "completed"
    fate: Callable[[int], str] = lambda place: "ok"
    lose_reply: bool = False
    refuse: int | str = 0
    no_file: bool = False


@dataclass
class Made:
    """A batch at the provider's: one receipt."""

    id: str
    rows: list[Row]
    course: Course
    metadata: dict[str, str] = field(default_factory=dict)
    created: float = field(default_factory=time.time)
    looked: int = 0
    stopped: bool = False

    @property
    def ended(self) -> bool:
        return self.stopped or self.looked >= self.course.looks

    @property
    def end(self) -> str:
        return "cancelled" if self.stopped else self.course.end


class BatchServer:
    """The server. Use it as a context manager; `url` is its address without a path."""

    def __init__(self, *courses: Course) -> None:
        self.courses = list(courses)
        self.made: list[Made] = []
        self.single: list[str] = []
        self.files: dict[str, list[Row]] = {}
        self._loop = asyncio.new_event_loop()
        self._ready = threading.Event()
        self._thread = threading.Thread(target=self._serve, daemon=True)

    def __enter__(self) -> "BatchServer":
        self._thread.start()
        assert self._ready.wait(30)
        return self

    def __exit__(self, *exception: object) -> None:
        self._loop.call_soon_threadsafe(self._loop.stop)
        self._thread.join(10)

    def submitted(self) -> Counter[str]:
        """How often each row was handed in."""
        return Counter(str(row["custom_id"]) for made in self.made for row in made.rows)

    def _serve(self) -> None:
        async def listen() -> asyncio.Server:
            return await asyncio.start_server(self._talk, "127.0.0.1", 0, limit=2**24)

        server = self._loop.run_until_complete(listen())
        self.url = f"http://127.0.0.1:{server.sockets[0].getsockname()[1]}"
        self._ready.set()
        self._loop.run_forever()
        server.close()
        for task in asyncio.all_tasks(self._loop):
            task.cancel()
        self._loop.run_until_complete(asyncio.sleep(0))
        self._loop.close()

    async def _talk(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        with contextlib.suppress(OSError, asyncio.IncompleteReadError):
            while True:
                head = (await reader.readuntil(b"\r\n\r\n")).decode("latin-1").split("\r\n")
                method, target, _ = head[0].split(" ")
                headers = {k.lower(): v for k, v in (h.split(": ", 1) for h in head[1:-2])}
                body = await _body(reader, headers)
                status, value = self._answer(method, urlsplit(target), body)
                if status == 0:
                    break
                raw = value if isinstance(value, bytes) else json.dumps(value).encode()
                writer.write(
                    f"HTTP/1.1 {status} X\r\nContent-Type: application/json\r\n"
                    f"Content-Length: {len(raw)}\r\n\r\n".encode()
                    + raw
                )
                await writer.drain()
        writer.close()

    def _answer(self, method: str, target: Any, body: bytes) -> tuple[int, Any]:
        path = re.sub("^/openai(/v1|/deployments/m)?/", "/v1/", target.path)  # Azure's three ways
        if path == "/v1/files":
            return 200, self._upload(body)
        if found := re.fullmatch(r"/v1/files/([\w-]+)/content", path):
            return 200, _lines(self.files[found[1]])
        if path == "/v1/chat/completions":
            asked = json.loads(body)["messages"][-1]["content"]
            self.single.append(asked)
            return 200, completion(right_text(asked))
        if path == "/v1/messages":
            asked = json.loads(body)["messages"][-1]["content"][0]["text"]
            self.single.append(asked)
            return 200, _message(asked)
        anthropic = path.startswith("/v1/messages")
        show = _anthropic if anthropic else self._openai
        rest = path.removeprefix("/v1/messages").removeprefix("/v1").split("/")[2:]
        if not rest and method == "POST":
            return self._make(json.loads(body), anthropic, show)
        if not rest:
            after = parse_qs(target.query).get("after" if not anthropic else "after_id", [""])[0]
            newest = [show(made) for made in reversed(self.made)]
            ids = [value["id"] for value in newest]
            page = newest[ids.index(after) + 1 :] if after else newest
            return 200, {"data": page[:2], "has_more": len(page) > 2, "first_id": None,
                         "last_id": page[:2][-1]["id"] if page else None, "object": "list"}  # fmt: skip
        made = next(made for made in self.made if made.id == rest[0])
        if rest[1:] == ["cancel"]:
            made.stopped = True
        elif rest[1:] == ["results"]:
            return 200, _lines(_results(made, _anthropic_line))
        else:
            made.looked += 1
        return 200, show(made)

    def _upload(self, body: bytes) -> Row:
        name = f"file-{len(self.files)}"
        lines = [line for line in body.splitlines() if line.startswith(b'{"custom_id"')]
        self.files[name] = [json.loads(line) for line in lines]
        return {"id": name, "object": "file", "purpose": "batch"}

    def _make(self, asked: Row, anthropic: bool, show: Callable[[Made], Row]) -> tuple[int, Any]:
        course = self.courses.pop(0) if self.courses else Course()
        if isinstance(course.refuse, int) and course.refuse:
            return course.refuse, {"error": {"message": "no", "type": "invalid_request_error"}}
        rows = asked["requests"] if anthropic else self.files[asked["input_file_id"]]
        ids = [row["custom_id"] for row in rows]
        if len(set(ids)) < len(ids) or not all(re.fullmatch(r"[\w-]{1,64}", i) for i in ids):
            return 400, {"error": {"message": "custom_id must be unique", "type": "invalid"}}
        made = Made(f"batch_{len(self.made)}", rows, course, asked.get("metadata") or {})
        self.made.append(made)
        return (0, None) if course.lose_reply else (200, show(made))

    def _openai(self, made: Made) -> Row:
        refused = isinstance(made.course.refuse, str)
        state = ("failed" if refused else made.end) if made.ended else "in_progress"
        value: Row = {
            "id": made.id,
            "object": "batch",
            "status": state,
            "created_at": int(made.created),
            "metadata": made.metadata,
            "request_counts": {
                "total": 0 if refused else len(made.rows),
                "completed": 0,
                "failed": 0,
            },
            "output_file_id": None,
            "error_file_id": None,
        }
        if made.ended and refused:
            value["errors"] = {"data": [{"code": "invalid", "message": made.course.refuse}]}
        elif made.ended and not made.course.no_file:
            lines = _results(made, _openai_line)
            good = [line for line in lines if line["error"] is None and
                    line["response"]["status_code"] == 200]  # fmt: skip
            bad = [line for line in lines if line not in good]
            for name, some in (("output_file_id", good), ("error_file_id", bad)):
                if some:
                    value[name] = f"{made.id}-{name}"
                    self.files[value[name]] = some
            value["request_counts"] |= {"completed": len(good), "failed": len(bad)}
        return value


async def _body(reader: asyncio.StreamReader, headers: dict[str, str]) -> bytes:
    if headers.get("transfer-encoding") != "chunked":
        return await reader.readexactly(int(headers.get("content-length", 0)))
    whole = b""
    while size := int(await reader.readline(), 16):
        whole += await reader.readexactly(size)
        await reader.readline()
    await reader.readline()
    return whole


def _lines(rows: list[Row]) -> bytes:
    return b"".join(json.dumps(row).encode() + b"\n" for row in rows)


def _results(made: Made, line: Callable[[Row, str], Row]) -> list[Row]:
    """The results, the last row's first."""
    found = []
    for place, row in enumerate(made.rows):
        fate = "cancelled" if made.stopped and place % 2 else made.course.fate(place)
        if fate == "missing":
            continue
        found += [line(row, "ok" if fate in ("twice", "foreign") else fate)] * (
            1 + (fate == "twice")
        )
        if fate == "foreign":
            found[-1] = found[-1] | {"custom_id": f"x{place}"}
    return found[::-1]


def _openai_line(row: Row, fate: str) -> Row:
    answer: Row = {"custom_id": row["custom_id"], "response": None, "error": None}
    if fate in ("expired", "cancelled"):
        return answer | {"error": {"code": f"batch_{fate}", "message": "not carried out"}}
    bad = {"refused": 400, "overloaded": 503}
    body = {"error": {"message": "no"}} if fate in bad else None
    asked = row["body"]["messages"][-1]["content"]
    return answer | {
        "response": {
            "status_code": bad.get(fate, 200),
            "body": body or completion(right_text(asked)),
        }
    }


def _message(asked: str) -> Row:
    return {
        "type": "message",
        "model": "m",
        "content": [{"type": "text", "text": right_text(asked)}],
        "stop_reason": "end_turn",
        "usage": {"input_tokens": 16, "cache_read_input_tokens": 24, "output_tokens": 10},
    }


def _anthropic_line(row: Row, fate: str) -> Row:
    result: Row = {"type": WORDS.get(fate, fate)}
    if fate in ("refused", "overloaded"):
        kind = {"refused": "invalid_request_error", "overloaded": "overloaded_error"}[fate]
        error = {"type": "error", "error": {"type": kind, "message": "no"}}
        result = {"type": "errored", "error": error}
    elif fate == "ok":
        asked = row["params"]["messages"][-1]["content"][0]["text"]
        result = {"type": "succeeded", "message": _message(asked)}
    return {"custom_id": row["custom_id"], "result": result}


def _anthropic(made: Made) -> Row:
    counts = dict.fromkeys(("processing", "succeeded", "errored", "canceled", "expired"), 0)
    counts["succeeded" if made.ended else "processing"] = len(made.rows)
    when = time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime(made.created))
    return {
        "id": made.id,
        "type": "message_batch",
        "processing_status": "ended" if made.ended else "in_progress",
        "request_counts": counts,
        "created_at": when,
        "expires_at": when,
        "results_url": f"/v1/messages/batches/{made.id}/results" if made.ended else None,
    }

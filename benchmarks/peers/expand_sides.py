"""Sides of expand_vs_ideal that run in fiatkit's own environment: a JSON line each.

    python expand_sides.py fiatkit|openai|sockets URL ROWS.jsonl SLOTS FOLDER

"fiatkit" is what `fiat expand` does with the rows: prompts, keys, ledger, budget, one durable
commit before each call and one behind it. "openai" is the bare loop: SLOTS workers over the SDK,
answers kept in a list. "sockets" is what the endpoint itself allows: SLOTS connections, each of
which sends the next request, written out before, when its answer has come. All leave imports and
reading the rows out of their seconds.
"""

import asyncio
import json
import os
import resource
import sys
import time
from pathlib import Path

MARK = 1000  # rows after which the memory is looked at first


class Clock:
    """Wall and CPU seconds, and the memory at the row MARK and at the end."""

    def __init__(self) -> None:
        self.rows, self.early = 0, 0.0
        self.began, self.cpu = time.perf_counter(), time.process_time()

    def row(self) -> None:
        self.rows += 1
        if self.rows == MARK:
            self.early = peak()

    def told(self) -> str:
        seconds, cpu = time.perf_counter() - self.began, time.process_time() - self.cpu
        figures = {"seconds": seconds, "cpu": cpu, "early": self.early or peak(), "end": peak()}
        return json.dumps(figures)


def peak() -> float:
    """MiB."""
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024


def fiatkit(url: str, rows: Path, slots: int, folder: Path) -> str:
    from fiatkit.models import create_chat_model
    from fiatkit.reasoning import RationaleStore, Reasoner
    from fiatkit.records import Query
    from fiatkit.tasks import load_task

    lines = rows.read_text().splitlines()
    model = create_chat_model(
        {"provider": "openai_compatible", "model": "m", "base_url": url, "concurrency": slots}
    )
    with Reasoner(load_task("sib200"), model, RationaleStore(folder / "s.sqlite")) as reasoner:
        model.client()
        clock = Clock()

        def queries():
            for line in lines:
                value = json.loads(line)
                yield Query(value["id"], {"text": value["text"]}, value["language"])
                clock.row()

        assert reasoner.write(queries(), len(lines)) == {"ok": len(lines)}
        return clock.told()


def openai(url: str, rows: Path, slots: int, folder: Path) -> str:
    from openai import AsyncOpenAI, DefaultAsyncHttpxClient

    lines = rows.read_text().splitlines()
    answers: list[str] = []

    async def run() -> str:
        client = AsyncOpenAI(
            base_url=url, api_key="none", max_retries=0, http_client=DefaultAsyncHttpxClient()
        )
        waiting = iter(lines)
        clock = Clock()

        async def work() -> None:
            for line in waiting:
                value = json.loads(line)
                clock.row()
                answer = await client.chat.completions.create(
                    model="m", messages=value["messages"], max_tokens=96, temperature=0
                )
                answers.append(answer.choices[0].message.content)

        await asyncio.gather(*(work() for _ in range(slots)))
        told = clock.told()
        await client.close()
        return told

    told = asyncio.run(run())
    assert len(answers) == len(lines)
    return told


def sockets(url: str, rows: Path, slots: int, folder: Path) -> str:
    values = [json.loads(line) for line in rows.read_text().splitlines()]
    waiting = iter([_request(value["messages"]) for value in values])
    host, port = url.removeprefix("http://").removesuffix("/v1").split(":")

    async def run() -> str:
        clock = Clock()

        async def work() -> None:
            reader, writer = await asyncio.open_connection(host, int(port))
            for request in waiting:
                clock.row()
                writer.write(request)
                head = (await reader.readuntil(b"\r\n\r\n")).lower()
                length = head.split(b"content-length:", 1)[1].split(b"\r\n", 1)[0]
                await reader.readexactly(int(length))
            writer.close()

        await asyncio.gather(*(work() for _ in range(slots)))
        return clock.told()

    return asyncio.run(run())


def _request(messages: list) -> bytes:
    body = json.dumps({"model": "m", "messages": messages, "max_tokens": 96}).encode()
    head = f"POST /v1/chat/completions HTTP/1.1\r\nContent-Length: {len(body)}\r\n\r\n"
    return head.encode() + body


if __name__ == "__main__":
    os.environ.setdefault("OPENAI_API_KEY", "none")
    side, url, rows, slots, folder = sys.argv[1:]
    sides = {"fiatkit": fiatkit, "openai": openai, "sockets": sockets}
    print(sides[side](url, Path(rows), int(slots), Path(folder)), flush=True)

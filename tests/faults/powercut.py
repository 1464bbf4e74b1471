"""What a disk may hold after a power cut: a recorded run, replayed up to each sync.

A process is traced; the file operations in one folder are then played on a model of a disk that
keeps only what was synced: a file's content as of its last fsync or fdatasync, a name as of the
last fsync of the folder (SQLite syncs the folder when it makes a journal). Of what was written
since, a disk may hold any part: one image keeps none of it, one a random part.
"""

from __future__ import annotations

import ast
import os
import random
import re
import subprocess
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path

from tests.faults.machine import strace

CALLS = "openat,pwrite64,write,fsync,fdatasync,ftruncate,rename,unlink,unlinkat,link"
LINE = re.compile(r"^(\w+)\((.*)\)\s+= (-?\d+)(?:<([^>]*)>)?")
STRING = r'"((?:[^"\\]|\\.)*)"(?:\.\.\.)?'


@dataclass
class Inode:
    """A file: what is on the disk for certain, and what was done since."""

    synced: bytes = b""
    pending: list[tuple[int, bytes | None]] = field(default_factory=list)
    length: int = 0

    def write(self, at: int, data: bytes) -> None:
        self.pending.append((at, data))
        self.length = max(self.length, at + len(data))

    def cut(self, length: int) -> None:
        self.pending.append((length, None))
        self.length = length

    def content(self, pending: Sequence[tuple[int, bytes | None]]) -> bytes:
        raw = bytearray(self.synced)
        for at, data in pending:
            if data is None:
                raw = raw[:at].ljust(at, b"\0")
            else:
                raw = raw.ljust(at, b"\0")
                raw[at : at + len(data)] = data
        return bytes(raw)

    def sync(self) -> None:
        self.synced, self.pending = self.content(self.pending), []


class Disk:
    """The folder as its user sees it, and as the disk keeps it."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.names: dict[str, Inode] = {}
        self.durable: dict[str, Inode] = {}

    def play(self, call: str, words: str, result: str) -> bool:
        """Carry out one traced call. Returns whether it was a sync."""
        if call == "openat":
            self._open(words, result)
        elif call in ("rename", "link"):
            old, new = (self._name(_text(t)) for t in re.findall(STRING, words))
            if old in self.names and new:
                self.names[new] = self.names[old]
                if call == "rename":
                    del self.names[old]
        elif call in ("unlink", "unlinkat"):
            self.names.pop(self._name(_text(re.findall(STRING, words)[0])), None)
        else:
            return self._on_open_file(call, words)
        return False

    def image(self, target: Path, chance: random.Random | None) -> None:
        """Write what the disk may hold: none of what was not synced, or by chance some of it."""
        target.mkdir()
        names = self.durable if chance is None or chance.random() < 0.5 else self.names
        for name, inode in names.items():
            if name.endswith("-shm"):
                continue
            kept = [p for p in inode.pending if chance is not None and chance.random() < 0.5]
            (target / name).write_bytes(inode.content(kept))

    def _open(self, words: str, path: str) -> None:
        name = self._name(path)
        if name and "O_CREAT" in words and name not in self.names:
            self.names[name] = Inode()
        if name and "O_TRUNC" in words:
            self.names[name].cut(0)

    def _on_open_file(self, call: str, words: str) -> bool:
        path = re.match(r"\d+<([^>]*)>", words)
        assert path, words
        if call in ("fsync", "fdatasync") and Path(path[1]) == self.folder:
            self.durable = dict(self.names)
            return True
        inode = self.names.get(self._name(path[1]))
        if inode is None:
            return False
        if call in ("fsync", "fdatasync"):
            inode.sync()
            return True
        if call == "ftruncate":
            inode.cut(int(words.rsplit(", ", 1)[1]))
        else:
            data = _text(re.findall(STRING, words)[0])
            offset = int(words.rsplit(", ", 1)[1]) if call == "pwrite64" else inode.length
            inode.write(offset, data)
        return False

    def _name(self, path: str | bytes) -> str:
        place = Path(os.fsdecode(path))
        return place.name if place.parent == self.folder else ""


def record(words: Sequence[str], folder: Path, log: Path, env: dict[str, str]) -> list[str]:
    """Run a command under strace. Returns the calls it made, in their order.

    Of its children only what they did to files counts, not what they said.
    """
    tracer = strace(log, "-y", "-s", "10000000", "-e", f"trace={CALLS}")
    done = subprocess.run([*tracer, *words], env=env, capture_output=True, text=True, timeout=300)
    assert done.returncode == 0, done.stderr
    calls: list[str] = []
    begun: dict[str, str] = {}
    first = ""
    for line in log.read_text(errors="surrogateescape").splitlines():
        pid, rest = line.split(maxsplit=1)
        if rest.endswith("<unfinished ...>"):
            begun[pid] = rest.removesuffix("<unfinished ...>")
        elif resumed := re.match(r"<\.\.\. \w+ resumed>(.*)", rest):
            calls.append(begun.pop(pid) + resumed[1])
        else:
            calls.append(rest)
        first = first or pid
        if pid != first and calls and calls[-1].startswith("write(1<"):
            calls.pop()
    return calls


def cuts(calls: Sequence[str], folder: Path) -> Iterator[tuple[Disk, list[bytes]]]:
    """Yield the disk, and what had been written to stdout, after each sync and each such line."""
    disk, said = Disk(folder), []
    for line in calls:
        found = LINE.match(line)
        if not found or found[3].startswith("-"):
            continue
        call, words, _, path = found.groups()
        if call == "write" and words.startswith("1<"):
            said.append(_text(re.findall(STRING, words)[0]))
            yield disk, said
        elif disk.play(call, words, path or ""):
            yield disk, said


def _text(escaped: str) -> bytes:
    value = ast.literal_eval(f'b"{escaped}"')
    assert isinstance(value, bytes)
    return value

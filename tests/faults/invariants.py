"""INV1 to INV10 of docs/reliability.md: the one checker that every fault row's test ends in."""

from __future__ import annotations

import base64
import json
import shutil
import sqlite3
import tempfile
from collections import Counter
from collections.abc import Collection, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from urllib.parse import quote

from fiatkit.reasoning import RationaleStore
from tests.faults.child import Keys, Outcome, text_sum
from tests.faults.fakeserver import KEY, FakeServer, right_text

STATES = ("ok", "failed:", "skipped:")
CODES = frozenset({0, 1, 2, 3, 4, 5, 129, 130, 141, 143})
NEVER_ARRIVED = ("failed:connect", "failed:request", "failed:unsent")
BESIDE_A_STORE = ("", "-wal", "-shm", ".lock")


@dataclass(frozen=True)
class Snapshot:
    """What was committed, and what had been received, at one moment: between a crash and a resume."""

    committed: frozenset[str]
    receipts: int
    asked: frozenset[str]


def snapshot(store: Path, server: FakeServer) -> Snapshot:
    """Look at both sides, without opening the store for writing."""
    found = frozenset(_texts(store))
    receipts = list(server.receipts)
    return Snapshot(found, len(receipts), frozenset(asked.key for asked in receipts))


@dataclass(frozen=True)
class Case:
    """What a fault's test hands to the checker.

    Attributes:
        server: the server, with its receipts.
        store: the store's file.
        rows: each row's keys, by id.
        outcome: how the last process ended, and what all of them acknowledged.
        code: the exit code that is expected of it.
        texts: each row's right text, by id, for those that must end `ok`.
        crashed: whether a process died without closing the store.
        before: what was there before the resume, if there was one.
        concurrency: requests under way at once.
        places: files and folders to search for the canary key, besides the store.
        finished: whether every row must have ended in a state.
        limits: measured value and limit of what must stay bounded, by name.
        canary: a file that must not exist.
        retried: keys that the user asked to be requested again.
        more: keys of further requests for the same rows, by any name.
    """

    server: FakeServer
    store: Path
    rows: Mapping[str, Keys]
    outcome: Outcome
    code: int = 0
    texts: Mapping[str, str] = field(default_factory=dict)
    crashed: bool = False
    before: Snapshot | None = None
    concurrency: int = 8
    places: Collection[Path] = ()
    finished: bool = True
    limits: Mapping[str, tuple[float, float]] = field(default_factory=dict)
    canary: Path | None = None
    retried: Collection[str] = ()
    more: Mapping[str, Keys] = field(default_factory=dict)


def check(case: Case) -> None:
    """Assert every invariant; the message names the one that does not hold."""
    texts = _texts(case.store)
    attempts = _attempts(case.store)
    _lost_ack(case, texts)
    _spend(case, attempts)
    _repeats(case)
    _same_end(case, texts)
    _whole_files(case)
    _accounting(case)
    _secrets(case)
    for name, (value, limit) in case.limits.items():
        assert value <= limit, f"INV8: {name} is {value}, at most {limit} is promised"
    assert case.canary is None or not case.canary.exists(), "INV9: foreign code ran"
    assert case.code in CODES, f"INV10: {case.code} is no documented exit code"
    assert case.outcome.code == case.code, f"INV10: {case.outcome.code}\n{case.outcome.output}"
    assert "Traceback" not in case.outcome.output, case.outcome.output


def right(rows: Mapping[str, Keys]) -> dict[str, str]:
    """The texts of a run without faults, by row."""
    found = {}
    for identity, key in rows.items():
        messages = json.loads(key.receipt)[0]
        found[identity] = right_text(messages[-1]["content"])
    return found


def _lost_ack(case: Case, texts: Mapping[str, str]) -> None:
    for identity, digest in case.outcome.acked.items():
        key = case.rows[identity].store
        assert key in texts, f"INV1: {identity} was acknowledged and is gone"
        assert text_sum(texts[key]) == digest, f"INV1: {identity} is not what was acknowledged"


def _spend(case: Case, attempts: Mapping[str, Counter[str]]) -> None:
    received = case.server.counts()
    for identity, key in [*case.rows.items(), *case.more.items()]:
        outcomes = attempts.get(key.store, Counter())
        sent = sum(n for outcome, n in outcomes.items() if outcome not in NEVER_ARRIVED)
        unsure = outcomes["ambiguous"] + outcomes["leased"]
        got = received[key.receipt]
        told = f"INV2: {identity}: {got} receipts, {sent} attempts {dict(outcomes)}"
        assert got <= sent, told
        assert sent - got <= (unsure if case.crashed else 0), told
    known = {key.receipt for key in [*case.rows.values(), *case.more.values()]}
    assert set(received) <= known, "INV2: the server was asked for what no row asks"


def _repeats(case: Case) -> None:
    if case.before is None:
        return
    since = case.server.counts(case.before.receipts)
    receipt_of = {key.store: key.receipt for key in case.rows.values()}
    for store_key in case.before.committed - set(case.retried):
        assert not since[receipt_of[store_key]], "INV3: a committed answer was asked for again"
    again = [key for key in since if key in case.before.asked]
    if case.crashed:
        assert len(again) <= case.concurrency, f"INV3: {len(again)} requests were repeated"


def _same_end(case: Case, texts: Mapping[str, str]) -> None:
    for identity, text in case.texts.items():
        found = texts.get(case.rows[identity].store)
        assert found == text, f"INV4: {identity} holds {found!r}, not {text!r}"


def _whole_files(case: Case) -> None:
    name = case.store.name
    allowed = {f"{name}{end}" for end in BESIDE_A_STORE}
    odd = [p.name for p in case.store.parent.glob(f"*{name}*") if p.name not in allowed]
    assert not odd, f"INV5: left beside the store: {odd}"
    with RationaleStore.read_only(case.store) as opened:
        assert opened.verify() == [], "INV5: the store is not whole"


def _accounting(case: Case) -> None:
    states = case.outcome.states
    assert set(states) <= set(case.rows), "INV6: a state of a row that does not exist"
    for identity, state in states.items():
        assert state.startswith(STATES), f"INV6: {identity} is {state!r}"
    if case.finished:
        missing = sorted(set(case.rows) - set(states))
        assert not missing, f"INV6: no state: {missing[:5]}"


def _secrets(case: Case) -> None:
    beside = [case.store.with_name(case.store.name + end) for end in BESIDE_A_STORE]
    files = [p for p in beside if p.exists()]
    for place in case.places:
        files += [p for p in place.rglob("*") if p.is_file()] if place.is_dir() else [place]
    sought = [s.encode() for s in (KEY, quote(KEY, safe=""), json.dumps(KEY)[1:-1])]
    sought.append(base64.b64encode(KEY.encode()))
    for path, raw in [
        ("output", case.outcome.output.encode()),
        *((p, p.read_bytes()) for p in files),
    ]:
        assert not any(secret in raw for secret in sought), f"INV7: the key stands in {path}"


def _texts(store: Path) -> dict[str, str]:
    """Committed texts by key, read by plain SQL and not by the product's own routine."""
    return {
        key: bytes(raw).decode() for key, raw in _rows(store, "SELECT key, text FROM completions")
    }


def _attempts(store: Path) -> dict[str, Counter[str]]:
    found: dict[str, Counter[str]] = {}
    for key, outcome in _rows(store, "SELECT key, outcome FROM attempts"):
        found.setdefault(key, Counter())[outcome] += 1
    return found


def _rows(store: Path, query: str) -> list[tuple[str, str]]:
    """Read without touching the store; a crash while it is made leaves a journal, or no tables."""
    if not store.exists() or not store.stat().st_size:
        return []
    journal = store.with_name(f"{store.name}-journal")
    with tempfile.TemporaryDirectory() as folder:
        place = f"{store.resolve().as_uri()}?mode=ro"
        if journal.exists():
            for path in (store, journal):
                shutil.copy(path, folder)
            place = (Path(folder) / store.name).as_uri()
        connection = sqlite3.connect(place, uri=True)
        try:
            tables = {name for (name,) in connection.execute("SELECT name FROM sqlite_master")}
            return list(connection.execute(query)) if tables else []
        finally:
            connection.close()

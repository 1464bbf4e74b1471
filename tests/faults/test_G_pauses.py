"""G02 to G04 and G24: rate limits, what Retry-After may say, and clocks that jump."""

import email.utils
import itertools
import os
import signal
import sqlite3
import subprocess
import time
from pathlib import Path

import pytest

from fiatkit.models.providers._statuses import retry_after
from fiatkit.reasoning import RationaleStore
from fiatkit.reasoning.stopping import Stopping
from tests.faults import child
from tests.faults.conftest import Meet
from tests.faults.fakeserver import (
    Asked,
    FakeServer,
    Reply,
    completion,
    error,
    first,
    right_text,
    well,
)
from tests.faults.invariants import Case, check, right, snapshot


def test_G02_the_whole_queue_pauses_then_opens_up_without_a_burst(meet: Meet) -> None:
    def script(asked: Asked) -> Reply:
        if asked.number == 9:
            return error(429, "rate_limit_exceeded", retry_after_ms="700")
        return Reply(body=completion(right_text(asked.text)), wait=0.05)

    case = meet(script, rows=40, concurrency=8, large={"concurrency": 8})
    receipts = case.server.receipts
    over = receipts[8].at + 0.7
    before = [asked for asked in receipts[9:] if asked.at < over]
    first, second, *_ = (asked for asked in receipts[9:] if asked.at >= over)
    assert len(before) <= 2 * 8, "only what was under way when the refusal came in"
    assert second.at - first.at >= 0.05, "the first request after the pause goes alone"
    assert case.outcome.end["calls"] == 41
    assert case.outcome.end["possibly_billed"] == 0


def test_G02_a_rate_limit_is_not_counted_against_the_row(meet: Meet) -> None:
    limited = error(429, "rate_limit_exceeded", retry_after_ms="5")
    case = meet(first(9, limited), rows=2, policy={"max_attempts": 2})
    assert case.outcome.end["calls"] == 20


def test_G02_what_an_endpoint_says_is_left_is_kept_to(meet: Meet) -> None:
    """One request is left and another comes back each 0.1 s: nobody is refused."""
    free_at: list[float] = []

    def script(asked: Asked) -> Reply:
        recent = [at for at in free_at if asked.at - at < 0.08]
        free_at.append(asked.at)
        if len(recent) > 1:
            return error(429, "rate_limit_exceeded", retry_after_ms="100")
        said = {
            "x-ratelimit-limit-requests": "600",
            "x-ratelimit-remaining-requests": "1",
            "x-ratelimit-reset-requests": "1m0s",
        }
        return Reply(body=completion(right_text(asked.text)), headers=said)

    case = meet(script, rows=12, concurrency=1)
    assert case.outcome.end["calls"] == 12
    gaps = [b.at - a.at for a, b in itertools.pairwise(case.server.receipts)]
    assert sorted(gaps)[len(gaps) // 2] > 0.08


NOW = 1_700_000_000.0


def date(seconds: float) -> str:
    return email.utils.formatdate(NOW + seconds, usegmt=True)


@pytest.mark.parametrize(
    ("headers", "seconds"),
    [
        ({"retry-after": "20"}, 20),
        ({"retry-after": "0"}, None),
        ({"retry-after": "-10"}, None),
        ({"retry-after": "60"}, 60),
        ({"retry-after": "120"}, 120),
        ({"retry-after": "121"}, 121),  # the SDK gives up here; a run pauses
        ({"retry-after": "0.5"}, 0.5),
        ({"retry-after": ""}, None),
        ({"retry-after": "soon"}, None),
        ({"retry-after": "nan"}, None),
        ({"retry-after": "inf"}, None),
        ({"retry-after": "1e35"}, None),
        ({"retry-after": "1e999"}, None),
        ({"retry-after": "99999999999999999999999999999999999"}, None),
        ({"retry-after": date(20)}, 20),
        ({"retry-after": date(0)}, None),
        ({"retry-after": date(-10)}, None),
        ({"retry-after": date(121)}, 121),
        ({"retry-after": "Zun, 29 Sep 2023 16:26:27 GMT"}, None),
        ({"retry-after": "Thu, 01 Jan 100000 00:00:00 GMT"}, None),
        ({"retry-after-ms": "250", "retry-after": "9"}, 0.25),
        ({"retry-after-ms": "soon", "retry-after": "9"}, 9),
        ({"retry-after-ms": "0", "retry-after": "9"}, None),
    ],
)
def test_G03_retry_after_is_read_as_the_sdk_reads_it(
    headers: dict[str, str], seconds: float | None
) -> None:
    assert retry_after(headers, now=NOW) == seconds


@pytest.mark.parametrize("said", ["nan", "inf", "-10", "1e35", "", "soon"])
def test_G03_a_nonsensical_pause_becomes_our_own(meet: Meet, said: str) -> None:
    case = meet(first(1, error(429, retry_after=said)), rows=2)
    assert case.outcome.end["retries"] == 2


THREE_HOURS = error(429, "rate_limit_exceeded", retry_after="10800")


def test_G04_max_wait_stops_at_once_and_says_when_to_come_back(tmp_path: Path) -> None:
    def script(asked: Asked) -> Reply:
        return THREE_HOURS if asked.number == 1 else well(asked)

    with FakeServer(script) as server:
        store = tmp_path / "store.sqlite"
        stopped = child.here(server.url, store, 6, policy={"max_wait": "1h"})
        before = snapshot(store, server)
        done = child.here(server.url, store, 6)
        keys = child.keys(server.url, child.queries(6))
    assert stopped.code == 5
    assert "asks to wait until" in stopped.output
    assert "Run the same command again" in stopped.output
    check(Case(server, store, keys, done, texts=right(keys), before=before))


def test_G04_a_pause_of_hours_says_when_it_ends_and_ctrl_c_works(tmp_path: Path) -> None:
    store = tmp_path / "store.sqlite"
    with FakeServer(lambda asked: THREE_HOURS) as server:
        process = subprocess.Popen(
            child.command(server.url, store, 4),
            cwd=child.ROOT,
            env=child.environment(),
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
        )
        assert process.stderr is not None
        line = process.stderr.readline()
        assert line.startswith("Paused by the endpoint; going on at "), line
        asked, worked = len(server.receipts), cpu_seconds(process.pid)
        process.send_signal(signal.SIGINT)
        assert process.stdout is not None
        out, err = process.stdout.read(), process.stderr.read()
        _, status, used = os.wait4(process.pid, 0)
        process.returncode = os.waitstatus_to_exitcode(status)
        assert len(server.receipts) == asked, "nothing was sent after Ctrl-C"
        keys = child.keys(server.url, child.queries(4))
    outcome = child.read(process.returncode, out, line + err)
    work = used.ru_utime + used.ru_stime - worked
    limits = {"seconds of work from Ctrl-C to the end": (work, 1.0)}
    check(Case(server, store, keys, outcome, code=130, finished=False, limits=limits))
    with RationaleStore.read_only(store) as opened:
        assert opened.status()["attempts"] == {"failed:rate_limit": asked}, "all is committed"


def cpu_seconds(process: int) -> float:
    """Seconds of work of a process until now."""
    fields = Path(f"/proc/{process}/stat").read_text().rpartition(")")[2].split()
    return (int(fields[11]) + int(fields[12])) / os.sysconf("SC_CLK_TCK")


@pytest.mark.parametrize("jump", [86400.0, -86400.0])
def test_G24_a_clock_that_jumps_at_every_look_changes_nothing(
    meet: Meet, monkeypatch: pytest.MonkeyPatch, jump: float
) -> None:
    real, calls = time.time, itertools.count()
    monkeypatch.setattr(time, "time", lambda: real() + jump * (next(calls) // 5))
    rested: list[float | None] = []
    rest = Stopping.rest

    async def noted(stopping: Stopping, seconds: float | None) -> None:
        rested.append(seconds)
        await rest(stopping, seconds)

    monkeypatch.setattr(Stopping, "rest", noted)
    trouble = error(503, retry_after_ms="100")
    case = meet(first(2, trouble), rows=6, concurrency=2)
    pauses = [seconds for seconds in rested if seconds is not None]
    assert pauses
    assert all(0 < seconds < 0.11 for seconds in pauses), "as long as the endpoint said, no more"
    with sqlite3.connect(case.store) as db:
        rows = db.execute("SELECT seq, ended - started FROM attempts ORDER BY seq").fetchall()
        seconds = db.execute("SELECT min(seconds) FROM completions").fetchone()[0]
    assert [seq for seq, _ in rows] == list(range(1, 19))
    assert all(duration >= 0 for _, duration in rows)
    assert seconds >= 0


FAKETIME = sorted(Path("/usr/lib").glob("*/faketime/libfaketimeMT.so.1"))


@pytest.mark.skipif(not FAKETIME, reason="libfaketime is not installed: apt-get install faketime")
@pytest.mark.parametrize("jump", ["+1d", "-1d"])
def test_G24_the_clock_of_a_running_process_jumps_by_a_day(tmp_path: Path, jump: str) -> None:
    """The process sees another time of day from the fourth request on; monotonic time goes on."""
    told = tmp_path / "clock"
    told.write_text("+0")
    store = tmp_path / "store.sqlite"

    def script(asked: Asked) -> Reply:
        if asked.number == 4:
            told.write_text(jump)
        if asked.time == 1:
            return error(503, retry_after_ms="50")
        return Reply(body=completion(right_text(asked.text)), wait=0.02)

    clock = {
        "LD_PRELOAD": str(FAKETIME[0]),
        "FAKETIME_TIMESTAMP_FILE": str(told),
        "FAKETIME_NO_CACHE": "1",
        "FAKETIME_DONT_FAKE_MONOTONIC": "1",
    }
    with FakeServer(script) as server:
        done = subprocess.run(
            child.command(server.url, store, 12, concurrency=2),
            cwd=child.ROOT,
            env=child.environment() | clock,
            capture_output=True,
            text=True,
            timeout=120,
        )
        outcome = child.read(done.returncode, done.stdout, done.stderr)
        keys = child.keys(server.url, child.queries(12))
    check(Case(server, store, keys, outcome, texts=right(keys)))
    with sqlite3.connect(store) as db:
        rows = db.execute("SELECT started, ended FROM attempts ORDER BY seq").fetchall()
        kept = db.execute("SELECT min(seconds), max(seconds) FROM completions").fetchone()
    starts = [start for start, _ in rows]
    assert max(starts) - min(starts) > 80_000, "the clock did jump"
    assert all(end >= start for start, end in rows)
    assert 0 <= kept[0] <= kept[1] < 60, "durations do not follow the clock"

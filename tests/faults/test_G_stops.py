"""G05, G22, G25, G26: fatal errors and their words, signals and closed pipes, caps on spending."""

import signal
import sqlite3
import subprocess
import time
from collections.abc import Iterator
from contextlib import contextmanager
from decimal import Decimal
from pathlib import Path

import pytest

from fiatkit.reasoning import RationaleStore
from tests.command import run as fiat
from tests.faults import child
from tests.faults.conftest import Meet
from tests.faults.fakeserver import (
    PRICE,
    Asked,
    FakeServer,
    Reply,
    completion,
    error,
    right_text,
    well,
)
from tests.faults.invariants import Case, Snapshot, check, right, snapshot


@pytest.mark.parametrize(
    ("reply", "words"),
    [
        (error(429, "insufficient_quota"), "no quota left"),
        (error(402), "no quota left"),
        (error(401, "invalid_api_key"), "Check the key"),
        (error(403), "Check the key"),
        (error(404, "model_not_found"), "Check large.model"),
    ],
)
def test_G05_three_fatal_errors_of_one_kind_stop_the_run(
    meet: Meet, reply: Reply, words: str
) -> None:
    case = meet(lambda asked: reply, rows=10, concurrency=1, code=5)
    assert len(case.server.receipts) == 3
    assert max(case.server.counts().values()) == 1, "not retried"
    assert words in case.outcome.output


def test_G05_a_run_of_one_row_with_a_wrong_key_is_exit_5_too(meet: Meet) -> None:
    meet(lambda asked: error(401), rows=1, code=5)


def test_G05_single_refusals_among_answers_fail_their_rows_only(meet: Meet) -> None:
    def script(asked: Asked) -> Reply:
        return error(403) if asked.text.endswith(("2.", "5.")) else well(asked)

    failing = {"q2": "failed:auth", "q5": "failed:auth"}
    meet(script, rows=8, concurrency=1, failing=failing)


def slowly(asked: Asked) -> Reply:
    return Reply(body=completion(right_text(asked.text)), wait=0.4)


@contextmanager
def running(server: FakeServer, store: Path, rows: int = 40) -> Iterator[subprocess.Popen[str]]:
    """A child that has got its first answer and has others under way."""
    process = subprocess.Popen(
        child.command(server.url, store, rows, concurrency=4),
        cwd=child.ROOT,
        env=child.environment(),
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )
    try:
        yield process
    finally:
        process.kill()
        process.wait()


def resumes(server: FakeServer, store: Path, before: Snapshot, rows: int = 40) -> None:
    """The same run again: every row once, nothing that was committed is asked for."""
    outcome = child.here(server.url, store, rows)
    keys = child.keys(server.url, child.queries(rows))
    check(Case(server, store, keys, outcome, texts=right(keys), before=before, crashed=True))


@pytest.mark.parametrize(
    ("number", "code"), [(signal.SIGINT, 130), (signal.SIGTERM, 143), (signal.SIGHUP, 129)]
)
def test_G25_a_signal_lets_in_what_is_under_way(
    tmp_path: Path, number: signal.Signals, code: int
) -> None:
    store = tmp_path / "store.sqlite"
    with FakeServer(slowly) as server:
        with running(server, store) as process:
            assert process.stdout is not None
            line = process.stdout.readline()
            process.send_signal(number)
            out, err = child.rest(process)
        outcome = child.read(process.returncode, line + out, err)
        keys = child.keys(server.url, child.queries(40))
        case = Case(server, store, keys, outcome, code=code, finished=False)
        check(case)
        assert "Stopping: what is under way is waited for" in err
        assert len(outcome.acked) == len(server.receipts), "each call that was sent was let in"
        assert len(outcome.acked) <= 12
        resumes(server, store, snapshot(store, server))


def test_G25_a_second_ctrl_c_stops_at_once(tmp_path: Path) -> None:
    store = tmp_path / "store.sqlite"

    def script(asked: Asked) -> Reply:
        return well(asked) if asked.number <= 4 else Reply(silent=True)

    with FakeServer(script) as server:
        with running(server, store) as process:
            assert process.stdout is not None and process.stderr is not None
            lines = [process.stdout.readline() for _ in range(4)]
            until = time.monotonic() + 30
            while len(server.receipts) < 8 and time.monotonic() < until:
                time.sleep(0.01)
            process.send_signal(signal.SIGINT)
            first = process.stderr.readline()
            assert "Once more to stop at once" in first
            again = time.monotonic()
            process.send_signal(signal.SIGINT)
            out, err = child.rest(process)
            assert time.monotonic() - again < 25, "less than the 30 s of the first one"
        outcome = child.read(process.returncode, "".join(lines) + out, first + err)
        keys = child.keys(server.url, child.queries(40))
        check(Case(server, store, keys, outcome, code=130, finished=False))
        assert outcome.end["possibly_billed"] == 4
        server.script = well
        resumes(server, store, snapshot(store, server))


def test_G25_a_closed_pipe_is_exit_141_and_loses_nothing(tmp_path: Path) -> None:
    store = tmp_path / "store.sqlite"
    with FakeServer(slowly) as server:
        with running(server, store) as process:
            assert process.stdout is not None and process.stderr is not None
            line = process.stdout.readline()
            process.stdout.close()
            err = process.stderr.read()
            process.wait(timeout=60)
        outcome = child.read(process.returncode, line, err)
        keys = child.keys(server.url, child.queries(40))
        check(Case(server, store, keys, outcome, code=141, finished=False))
        with RationaleStore.read_only(store) as opened:
            assert opened.status()["completions"] == len(server.receipts)
        resumes(server, store, snapshot(store, server))


ROW_COST = Decimal("0.00006")  # 40 prompt tokens at $1 and 10 written at $2 a million


def test_G26_no_request_is_sent_that_the_cap_does_not_cover(meet: Meet) -> None:
    cap = Decimal("0.001")
    policy = {"max_cost": str(cap)}
    case = meet(rows=40, concurrency=8, code=5, price=PRICE, policy=policy)
    spent = Decimal(case.outcome.end["cost"])
    assert spent == ROW_COST * len(case.server.receipts)
    assert cap - 2 * ROW_COST < spent <= cap
    assert "max_cost reached" in case.outcome.output
    assert "Run the same command again" in case.outcome.output


def test_G26_a_server_that_writes_more_than_asked_overshoots_by_what_is_under_way(
    meet: Meet,
) -> None:
    def script(asked: Asked) -> Reply:
        usage = {"prompt_tokens": 100, "completion_tokens": 2000}
        return Reply(body=completion(right_text(asked.text), usage=usage), wait=0.05)

    cap, row = Decimal("0.02"), Decimal("0.0041")
    policy = {"max_cost": str(cap)}
    case = meet(script, rows=60, concurrency=4, code=5, price=PRICE, policy=policy)
    assert Decimal(case.outcome.end["cost"]) <= cap + 4 * row


def test_G26_unknown_and_lost_calls_count_at_their_worst(meet: Meet) -> None:
    def script(asked: Asked) -> Reply:
        return Reply(body=completion(right_text(asked.text), usage=None))

    policy = {"max_cost": "0.001"}
    case = meet(script, rows=40, concurrency=1, code=5, price=PRICE, policy=policy)
    assert 2 <= len(case.server.receipts) <= 1000 // 104 + 1
    assert Decimal(case.outcome.end["cost"]) == 0
    assert "possibly billed" in case.outcome.output


def test_G26_max_calls_is_exact_and_counts_retries(meet: Meet) -> None:
    def script(asked: Asked) -> Reply:
        return error(503) if asked.time == 1 else well(asked)

    case = meet(script, rows=40, concurrency=4, code=5, policy={"max_calls": 15})
    assert len(case.server.receipts) == 15
    assert "max_calls reached" in case.outcome.output


def test_G26_a_cap_without_a_price_is_refused_before_anything_is_sent(tmp_path: Path) -> None:
    with FakeServer() as server:
        outcome = child.here(server.url, tmp_path / "s.sqlite", 3, policy={"max_cost": "1"})
    assert (outcome.code, server.receipts) == (2, [])
    assert 'the price of "m" is not known' in outcome.output
    assert "prices:" in outcome.output


TASK_FILE = """
version: 1
name: toy
fields: [text]
target: label
labels: [warm, cold]
reasoning: {instruction: Say warm or cold., max_tokens: 32}
tuning: {instruction: Say warm or cold.}
"""
RUN_FILE = """
version: 1
task: task.yaml
data: {file: rows.csv, dev_rows: 0, test_rows: 40}
large: {provider: openai_compatible, model: m, base_url: URL, concurrency: 4}
small: {model: smollm2-135m}
recipes: [icl]
sizes: [12]
prices: {m: {prompt: 1, completion: 2}}
"""


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    rows = "".join(f"{i},text {i},{('warm', 'cold')[i % 2]}\n" for i in range(60))
    (tmp_path / "rows.csv").write_text("id,text,label\n" + rows)
    (tmp_path / "task.yaml").write_text(TASK_FILE)
    return tmp_path


def test_G26_a_command_stopped_by_max_cost_resumes_and_ends_with_every_row_once(
    folder: Path,
) -> None:
    with FakeServer() as server:
        (folder / "run.yaml").write_text(RUN_FILE.replace("URL", server.url))
        told = fiat(folder, "doctor", "run.yaml").stdout
        assert "at most 40 calls of the large model" in told
        assert "$" in told
        stops = 0
        for cap in ("0.001", "0.001", "1"):
            done = fiat(folder, "expand", "run.yaml", "--max-cost", cap)
            assert "Traceback" not in done.stderr
            assert "(60% cached by the provider)" in done.stderr
            stops += done.returncode == 5
            if done.returncode == 0:
                break
        assert stops == 2
        assert done.returncode == 0, done.stderr
        assert "40 rationales: 40 ok" in done.stdout
        assert len(server.receipts) == 40
        assert set(server.counts().values()) == {1}, "every row was paid once"
        with RationaleStore.read_only(folder / "runs" / "rationales.sqlite") as store:
            assert store.status()["completions"] == 40
            assert store.spent().cost == 40 * ROW_COST


def test_flags_are_checked_and_win_over_the_file(folder: Path) -> None:
    with FakeServer() as server:
        limits = "limits: {max_calls: 3}\n"
        (folder / "run.yaml").write_text(RUN_FILE.replace("URL", server.url) + limits)
        wrong = fiat(folder, "expand", "run.yaml", "--max-wait", "soon")
        assert wrong.returncode == 2
        assert '"soon" is no duration' in wrong.stderr
        assert fiat(folder, "expand", "run.yaml").returncode == 5
        assert len(server.receipts) == 3
        assert fiat(folder, "expand", "run.yaml", "--max-calls", "100").returncode == 0
        assert len(server.receipts) == 40


EVIL = "\x1b]0;owned\x07\x1b[2J\u202elive\x9b31m\x00</script>"
WORDS = {
    "a fatal error": lambda asked: error(403, EVIL, EVIL),
    "a refused row": lambda asked: error(400, EVIL, EVIL),
    "raw bytes": lambda asked: Reply(500, b"\x1b[31m\xff\xfe\x00"),
    "no completion": lambda asked: Reply(200, f'{{"x": "{EVIL}"}}'),
    "a reason to finish": lambda asked: Reply(body=completion("x", finish=EVIL)),
    "a model's name": lambda asked: Reply(body=completion(right_text(asked.text), model=EVIL)),
}


@pytest.mark.parametrize("name", WORDS)
def test_G22_what_a_server_says_commands_no_terminal(folder: Path, name: str) -> None:
    """Neither the command that meets it nor those that tell of it later, nor the ledger."""
    with FakeServer(WORDS[name]) as server:
        limits = "limits: {max_attempts: 1}\n"
        (folder / "run.yaml").write_text(RUN_FILE.replace("URL", server.url) + limits)
        said = [fiat(folder, "expand", "run.yaml")]
    said.append(fiat(folder, "store", "status"))
    said.append(fiat(folder, "store", "ledger", "--by", "outcome,model"))
    for done in said:
        shown = done.stdout + done.stderr
        assert "Traceback" not in shown
        assert not [c for c in shown if c not in "\n\t" and not c.isprintable()], repr(shown)
    with sqlite3.connect(folder / "runs" / "rationales.sqlite") as db:
        for (outcome,) in db.execute("SELECT DISTINCT outcome FROM attempts"):
            assert outcome.isprintable()


def test_G23_answers_that_are_not_the_target_are_counted_told_and_kept(folder: Path) -> None:
    def number(asked: Asked) -> int:
        return int(asked.text.rpartition(" ")[2])

    def script(asked: Asked) -> Reply:
        right, wrong = ("warm", "cold") if number(asked) % 2 == 0 else ("cold", "warm")
        said = {0: f"Answer: {wrong}", 1: "It is neither."}.get(
            number(asked) % 5, f"Answer: {right}"
        )
        return Reply(body=completion(f"Text {number(asked)}.\n{said}"))

    with FakeServer(script) as server:
        (folder / "run.yaml").write_text(RUN_FILE.replace("URL", server.url))
        done = fiat(folder, "expand", "run.yaml")
        kinds = [number(asked) % 5 for asked in server.receipts]
        other, none = kinds.count(0), kinds.count(1)
        told = f"{40 - other - none} as the target, {other} another, {none} none"
        assert "Answers in 40 rationales by " in done.stderr
        assert f": {told}. All of them are used." in done.stderr
        assert "40 rationales: 40 ok" in done.stdout
        again = fiat(folder, "expand", "run.yaml")
        assert told in again.stderr, "also when they come from the store"
        assert len(server.receipts) == 40

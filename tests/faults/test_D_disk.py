"""The disk says no: full, failing, read-only, shared, out of files. Nothing acknowledged is lost."""

import re
import resource
import subprocess
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import pytest

from fiatkit.errors import EnvironmentProblem, StoreLockedError
from fiatkit.files import check_writable
from fiatkit.reasoning import RationaleStore, place
from tests.command import fiat
from tests.faults import child
from tests.faults.fakeserver import FakeServer, well
from tests.faults.invariants import Case, check, right, snapshot
from tests.faults.machine import mounted, remount, strace
from tests.reasoning.test_store import put

ROWS = 60


def stopped_then_resumed(server: FakeServer, store: Path, mend: Callable[[], object]) -> str:
    """A run that ends with code 4, what it said; then, mended, one that ends well. Both checked."""
    rows = child.keys(server.url, child.queries(ROWS))
    outcome = child.run(server.url, store, ROWS)
    case = Case(server, store, rows, outcome, code=4, crashed=True, finished=False)
    check(case)
    before = snapshot(store, server)
    mend()
    again = child.run(server.url, store, ROWS)
    assert outcome.acked.items() <= again.acked.items()
    check(replace(case, outcome=again, code=0, finished=True, texts=right(rows), before=before))
    return outcome.output


@pytest.mark.faults("tmpfs")
def test_D01_a_full_disk_stops_the_run_and_keeps_what_was_acknowledged(tmp_path: Path) -> None:
    with mounted(tmp_path / "small", "size=250k") as small, FakeServer() as server:
        store = small / "store.sqlite"
        said = stopped_then_resumed(server, store, lambda: remount(small, "size=20m"))
    assert str(store) in said
    assert re.search(r"full \([\d.]+ MB free\)", said)
    assert "Free disk space" in said


@pytest.mark.faults("strace")
@pytest.mark.parametrize(
    ("call", "number"),
    [
        ("fdatasync", 17),
        ("pwrite64", 90),
        pytest.param("fdatasync", 14, marks=pytest.mark.slow),
        pytest.param("pwrite64", 70, marks=pytest.mark.slow),
    ],
)
def test_D02_an_error_of_the_disk_stops_the_run_and_nothing_is_tried_again(
    tmp_path: Path, call: str, number: int
) -> None:
    store = tmp_path / "store.sqlite"
    log = tmp_path / "strace.log"
    calls = "fsync,fdatasync,pwrite64"
    inject = f"inject={call}:error=EIO:when={number}"
    tracer = strace(log, "-y", "-e", f"trace={calls}", "-e", inject)
    with FakeServer() as server:
        rows = child.keys(server.url, child.queries(20))
        done = subprocess.run(
            [*tracer, *child.command(server.url, store, 20, one_thread=True)],
            cwd=child.ROOT,
            env=child.environment(),
            capture_output=True,
            text=True,
            timeout=120,
        )
        outcome = child.read(done.returncode, done.stdout, done.stderr)
        case = Case(server, store, rows, outcome, code=4, crashed=True, finished=False)
        check(case)
        assert "cannot be used: disk I/O error" in outcome.output
        after = log.read_text().split("(INJECTED)", 1)[1]
        assert not re.findall(r"(?:fsync|fdatasync|pwrite64)\(\d+<[^>]*store\.sqlite[^>]*>", after)
        before = snapshot(store, server)
        again = child.run(server.url, store, 20)
        check(replace(case, outcome=again, code=0, finished=True, texts=right(rows), before=before))


@pytest.mark.faults("tmpfs")
def test_D07_a_read_only_place_can_be_looked_at_and_not_written(tmp_path: Path) -> None:
    with mounted(tmp_path / "ro", "size=2m") as folder:
        store = folder / "store.sqlite"
        with RationaleStore(store) as opened:
            key = put(opened, "q")
        remount(folder, "ro")
        with pytest.raises(EnvironmentProblem, match="Read-only file system"):
            RationaleStore(store)
        with RationaleStore.read_only(store) as opened:
            assert opened.get(key) is not None
            assert opened.verify() == []


@pytest.fixture
def mounts(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Callable[[str], Path]:
    """Say that a folder is the root of a file system of some type."""

    def say(kind: str) -> Path:
        folder = tmp_path / "a b"
        folder.mkdir(exist_ok=True)
        point = str(folder).replace(" ", "\\040")
        table = tmp_path / "mounts"
        table.write_text(f"/dev/sda / ext4 rw 0 0\nserver:/x {point} {kind} rw 0 0\n")
        monkeypatch.setattr(place, "MOUNTS", table)
        return folder / "store.sqlite"

    return say


@pytest.mark.parametrize("kind", ["nfs4", "cifs", "overlay", "fuse.sshfs", "lustre", "9p"])
def test_D07_on_a_shared_file_system_another_journal_is_used_with_a_warning(
    mounts: Callable[[str], Path], kind: str, caplog: pytest.LogCaptureFixture
) -> None:
    path = mounts(kind)
    with RationaleStore(path) as store:
        key = put(store, "q")
        assert store._db.execute("PRAGMA journal_mode").fetchone() == ("truncate",)
        assert store._db.execute("PRAGMA synchronous").fetchone() == (2,)
    assert f"file system of type {kind}" in caplog.text
    mounts("ext4")
    caplog.clear()
    with RationaleStore(path) as store:
        assert store._db.execute("PRAGMA journal_mode").fetchone() == ("wal",)
        assert store.get(key) is not None
    assert not caplog.records
    mounts(kind)
    with RationaleStore(path) as store:
        assert store.get(key) is not None
        assert store._db.execute("PRAGMA journal_mode").fetchone() == ("truncate",)


def test_D06_requests_of_another_machine_are_taken_over_only_when_told(
    mounts: Callable[[str], Path], monkeypatch: pytest.MonkeyPatch
) -> None:
    path = mounts("nfs4")
    with monkeypatch.context() as elsewhere:
        elsewhere.setattr("socket.gethostname", lambda: "node7")
        with RationaleStore(path) as store:
            store.lease("k")
    with pytest.raises(StoreLockedError, match="requests of node7 under way.*\n.*fiat store steal"):
        RationaleStore(path)
    RationaleStore(path, steal=True).close()
    with RationaleStore(path) as store:
        assert store.spent().possibly_billed == 1


def test_D06_on_a_local_disk_the_lock_is_proof_enough(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = tmp_path / "store.sqlite"
    with monkeypatch.context() as elsewhere:
        elsewhere.setattr("socket.gethostname", lambda: "container-1")
        with RationaleStore(path) as store:
            store.lease("k")
    with RationaleStore(path) as store:
        assert store.spent().possibly_billed == 1


def unusable(tmp_path: Path, kind: str) -> Path:
    if kind == "a file":
        (tmp_path / "file").write_text("x")
        return tmp_path / "file" / "store.sqlite"
    if kind == "a long name":
        return tmp_path / ("x" * 300) / "store.sqlite"
    if kind == "a folder":
        (tmp_path / "folder").mkdir()
        return tmp_path / "folder"
    return Path("/proc/nothing/store.sqlite")


@pytest.mark.parametrize("kind", ["a file", "a long name", "a folder", "not to be made"])
def test_D11_a_place_that_cannot_be_used_is_told_before_anything_is_paid(
    tmp_path: Path, kind: str
) -> None:
    path = unusable(tmp_path, kind)
    with FakeServer() as server:
        outcome = child.run(server.url, path, 2)
        assert outcome.code == 4, outcome.output
        assert "Traceback" not in outcome.output
        assert server.receipts == []
    with pytest.raises(EnvironmentProblem, match="nothing was spent"):
        check_writable(path)


@pytest.mark.faults("tmpfs")
def test_D11_a_read_only_place_is_told_before_anything_is_paid(tmp_path: Path) -> None:
    with mounted(tmp_path / "ro", "size=1m,ro") as folder, FakeServer() as server:
        outcome = child.run(server.url, folder / "store.sqlite", 2)
        assert (outcome.code, server.receipts) == (4, [])
        with pytest.raises(EnvironmentProblem, match="Read-only file system"):
            check_writable(folder / "predictions.jsonl")


def test_D11_a_unicode_name_works(tmp_path: Path) -> None:
    store = tmp_path / "Begründungen ❄ 理由" / "магазин.sqlite"
    with FakeServer() as server:
        outcome = child.run(server.url, store, 3)
        check(Case(server, store, child.keys(server.url, child.queries(3)), outcome))
    check_writable(store.with_name("out ❄.jsonl"))
    assert [path.name for path in store.parent.glob("out*")] == []


def test_D11_predict_looks_at_its_output_before_the_artefact(tmp_path: Path) -> None:
    said = fiat(tmp_path, "predict", "none", "rows.jsonl", "--out", "/proc/x/y.jsonl", code=4)
    assert "nothing was spent" in said


@pytest.mark.faults("tmpfs")
def test_D12_a_disk_that_may_not_do_is_told_at_the_start(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    with (
        mounted(tmp_path / "small", "size=2m") as small,
        RationaleStore(small / "store.sqlite") as store,
    ):
        store.check_room(100)
        assert not caplog.records
        store.check_room(1000)
        assert "may need 12.3 MB for 1,000 answers" in caplog.text
        for number in range(3):
            put(store, f"q{number}", "x" * 200_000)
        caplog.clear()
        store.check_room(5)
        assert "MB for 5 answers" in caplog.text, "by the size of the answers that are there"


@pytest.mark.parametrize(("limit", "code", "at_once"), [(64, 0, 20), (12, 4, 0)])
def test_D13_few_file_handles_lower_the_concurrency_or_are_said(
    tmp_path: Path, limit: int, code: int, at_once: int
) -> None:
    store = tmp_path / "store.sqlite"
    with FakeServer(lambda asked: replace(well(asked), wait=0.05)) as server:
        done = subprocess.run(
            child.command(server.url, store, 60, large={"concurrency": 60}),
            cwd=child.ROOT,
            env=child.environment(),
            preexec_fn=lambda: resource.setrlimit(resource.RLIMIT_NOFILE, (limit, limit)),
            capture_output=True,
            text=True,
            timeout=120,
        )
        outcome = child.read(done.returncode, done.stdout, done.stderr)
        rows = child.keys(server.url, child.queries(60))
        check(Case(server, store, rows, outcome, code=code, finished=not code))
        assert server.most_at_once == at_once
        assert f"{limit} files may be open" in outcome.output
        assert outcome.end.get("calls", 0) == len(server.receipts), "no call failed for want of one"


def test_D13_opening_and_closing_leaks_no_handle(tmp_path: Path) -> None:
    def handles() -> int:
        return len(list(Path("/proc/self/fd").iterdir()))

    path = tmp_path / "store.sqlite"
    RationaleStore(path).close()
    before = handles()
    for _ in range(20):
        with RationaleStore(path) as store, pytest.raises(StoreLockedError):
            put(store, "q")
            RationaleStore(path)
        RationaleStore.read_only(path).close()
    assert handles() == before


@pytest.mark.faults("tmpfs")
def test_D13_no_inodes_left_is_told(tmp_path: Path) -> None:
    with mounted(tmp_path / "few", "size=2m,nr_inodes=2") as few, FakeServer() as server:
        outcome = child.run(server.url, few / "store.sqlite", 2)
        assert outcome.code == 4
        assert "No space left" in outcome.output or "unable to open" in outcome.output
        assert server.receipts == []

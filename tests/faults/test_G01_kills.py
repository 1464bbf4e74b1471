"""Kill -9 at any point: nothing acknowledged is lost, and the ledger agrees with the receipts."""

import random
from pathlib import Path

import pytest

from tests.faults import child, sweep
from tests.faults.forks import Forks

LOG = child.ROOT / "build" / "faults" / "sweep.log"
MINUTES = 55


@pytest.mark.faults("strace")
@pytest.mark.parametrize(
    ("call", "number"),
    [("pwrite64", 60), ("fdatasync", 15), ("sendto", 9)],
)
def test_G01_a_kill_at_a_system_call_loses_nothing(tmp_path: Path, call: str, number: int) -> None:
    with Forks() as forks:
        assert sweep.kill_at(forks, call, number, tmp_path), "the run was over before"


def test_G01_a_kill_at_a_random_moment_loses_nothing(tmp_path: Path) -> None:
    with Forks() as forks:
        sweep.kill_at_random(forks, random.Random(1000), tmp_path)


@pytest.mark.slow
@pytest.mark.faults("strace")
def test_G01_a_kill_at_every_system_call_and_200_random_ones_lose_nothing() -> None:
    done, left = sweep.sweep(LOG, MINUTES, 200)
    print(f"{done} points, 0 lost acknowledged rows, ledger difference 0")
    assert not left, f"{left} points left after {MINUTES} minutes: run it again to go on"
    assert done > 350

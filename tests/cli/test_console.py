"""Progress off a terminal: a line now and then, and one at the end."""

from types import SimpleNamespace

import pytest

from fiatkit.cli._console import Bars


def test_the_end_is_told_once_and_so_is_what_comes_after_it(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    clock = iter([0.0, 1.0, 2.0, 3.0, 30.0])
    time = SimpleNamespace(monotonic=lambda: next(clock))
    monkeypatch.setattr("fiatkit.cli._console.time", time)
    with Bars() as bars:
        bars.stage("tuning", 3)
        bars.advance(1)
        bars.advance(3, "loss 0.1")
        bars.advance(3, "scoring dev: 1 of 9")  # a second later: nothing is told
        bars.advance(3, "scoring dev: 9 of 9")  # half a minute later: that it goes on
    assert capsys.readouterr().err.strip().splitlines() == [
        "tuning: 0/3",
        "tuning: 3/3, 0:00 left (loss 0.1)",
        "tuning: 3/3, 0:00 left (scoring dev: 9 of 9)",
    ]

"""What a run is told to take: a range, by the small model's own size."""

from itertools import count
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest
from safetensors.numpy import save_file

from fiatkit.experiment.estimate import Estimate, _gemm_speed, small_weights
from fiatkit.models import cores


def told(large: float | None, small: float | None, slower: float = 1.5) -> str:
    return Estimate(3, 0, 0, large, small, slower).sentence()


@pytest.mark.parametrize(
    ("large", "small", "slower", "words"),
    [
        (300.0, 420.0, 1.667, "about 12 to 20 minutes here."),
        (0.0, 20.0, 1.5, "about 1 minute here."),
        (0.0, 50.0, 3.0, "about 1 to 2 minutes here."),
        (3600.0, 3 * 3600.0, 2.0, "about 4 to 8 hours here."),
        (None, 600.0, 1.5, "about 10 to 15 minutes here, and the large model's time."),
        (600.0, None, 1.5, "about 10 to 15 minutes here, and tuning time."),
    ],
)
def test_the_time_is_told_as_a_range(
    large: float | None, small: float | None, slower: float, words: str
) -> None:
    assert told(large, small, slower).endswith(f"This will take {words}")


def test_no_time_is_told_where_none_is_known() -> None:
    assert "take" not in told(None, None)


def test_the_small_models_size_is_that_of_its_files(tmp_path: Path) -> None:
    save_file({"a": np.zeros((3, 5), np.float32)}, tmp_path / "model-1.safetensors")
    save_file({"b": np.zeros(7, np.float16)}, tmp_path / "model-2.safetensors")
    assert small_weights(str(tmp_path)) == 22
    assert small_weights("nobody/has-this-135m") is None


def test_a_machine_that_is_too_busy_for_more_than_one_probe_has_a_speed_all_the_same(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """Whoever asks it for the time waits for a second."""
    clock = SimpleNamespace(perf_counter=count(0.0, 1.0).__next__)
    monkeypatch.setattr("fiatkit.experiment.estimate.time", clock)
    speed, busy = _gemm_speed()
    assert speed == cores() * 2 * 512**3
    assert busy >= 1

"""`fiat expand --batch` as a user types it, against a loopback server with OpenAI's batches."""

from pathlib import Path

import pytest
from tests.command import WIDE, fiat
from tests.faults.fakeserver import KEY
from tests.reasoning.batch_server import BatchServer, Course


def test_expand_in_batches_stop_and_go_on(
    run_folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(WIDE, "OPENAI_API_KEY", KEY)
    with BatchServer(Course(fate=lambda place: "refused" if place == 0 else "ok")) as server:
        run = (run_folder / "run.yaml").read_text()
        start, end = run.index("large:"), run.index("small:")
        large = (
            f"large: {{provider: openai_compatible, flavour: openai, model: m, batch: true, "
            f'base_url: "{server.url}/v1"}}\n'
        )
        (run_folder / "run.yaml").write_text(run[:start] + large + run[end:])
        told = fiat(run_folder, "expand", "run.yaml", "--batch-poll", "0.05")
        rows = len(server.made[0].rows)
        assert f"{rows} rows handed in, {rows - 1} answered, 1 http_400." in told
        assert f"{rows} rationales: {rows} ok" in told
        told = fiat(run_folder, "expand", "run.yaml", "--batch-cancel")
        assert "0 rows handed in" in told
        assert (len(server.made), len(server.single)) == (1, 1)
        told = fiat(run_folder, "store", "status", "--store", "runs/rationales.sqlite")
        assert "rows in open batches: 0" in told

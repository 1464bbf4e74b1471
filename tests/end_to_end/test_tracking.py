"""A comparison followed by trackio: what it gets, what it never gets, and how it resumes."""

import json
import sqlite3
from contextlib import closing
from pathlib import Path

import pytest
import yaml
from tests.command import fiat, run

pytest.importorskip("trackio", reason="trackio is not installed: fiatkit[track]")


def edit(folder: Path, **changes: object) -> None:
    path = folder / "run.yaml"
    path.write_text(yaml.safe_dump(yaml.safe_load(path.read_text()) | changes))


def tracked(place: Path) -> dict[str, list[tuple[int, dict[str, float]]]]:
    """Numbers by cell, in their order."""
    (database,) = place.glob("toy*.db")
    found: dict[str, list[tuple[int, dict[str, float]]]] = {}
    with closing(sqlite3.connect(database)) as opened:
        for name, step, text in opened.execute("SELECT run_name, step, metrics FROM metrics ORDER BY id"):  # fmt: skip
            found.setdefault(name.split()[0], []).append((step, json.loads(text)))
    return found


def test_cells_are_tracked_as_they_come_and_never_twice(run_folder: Path, tmp_path: Path) -> None:
    place = tmp_path / "tracked"
    edit(run_folder, recipes=["icl", "fiat"], sizes=[8], seeds=[0], track=["trackio"], title="toy")
    fiat(run_folder, "compare", "run.yaml", TRACKIO_DIR=str(place))
    found = tracked(place)
    cells = {"icl-n0-s0", "icl_constrained-n0-s0", "fiat-n8-s0", "majority-n8-s0", "tfidf-n8-s0"}
    assert set(found) == cells | {"report"}
    steps = [(step, values) for step, values in found["fiat-n8-s0"] if "loss" in values]
    assert [step for step, _ in steps] == [1, 2]
    assert all(values["loss"] > 0 for _, values in steps)
    assert len([1 for _, values in found["fiat-n8-s0"] if "dev/accuracy" in values]) == 2
    out = run_folder / "runs" / "run"
    record = json.loads((out / "cells" / "fiat-n8-s0" / "cell.json").read_text())
    last = found["fiat-n8-s0"][-1][1]
    score = record["scores"]["accuracy"]
    assert last["accuracy"] == score["value"]
    assert (last["accuracy.low"], last["accuracy.high"]) == (score["low"], score["high"])
    assert last["accuracy/es"] == score["languages"]["es"]
    assert last["usage/calls"] == record["usage"]["calls"] == 32
    written = b"".join(path.read_bytes() for path in place.rglob("*") if path.is_file())
    assert b"icl_constrained" in written
    assert b"number 7" not in written, "no row of the data leaves"

    (out / "cells" / "fiat-n8-s0" / "cell.json").unlink()
    (out / ".tracked-trackio").write_text("icl-n0-s0\nicl_constrained-n0-s0\n")
    edit(run_folder, track_rows=True)
    fiat(run_folder, "compare", "run.yaml", TRACKIO_DIR=str(place))
    again = tracked(place)
    assert again["icl-n0-s0"] == found["icl-n0-s0"]
    assert len(again["tfidf-n8-s0"]) == 2, "a cell that was finished untracked is caught up with"
    assert len(again["fiat-n8-s0"]) == 2 * len(found["fiat-n8-s0"]), "the same run goes on"
    written = b"".join(path.read_bytes() for path in place.rglob("*") if path.is_file())
    assert b"number 7" in written, "asked for by track_rows"


def test_a_tracker_without_a_disk_stops_nothing(run_folder: Path, tmp_path: Path) -> None:
    edit(run_folder, recipes=["lora"], sizes=[8], seeds=[0], floors=False)
    (tmp_path / "file").write_text("no folder")
    shown = fiat(
        run_folder, "compare", "run.yaml", "--track", "trackio", TRACKIO_DIR=f"{tmp_path}/file/x"
    )
    assert shown.count("trackio is switched off") == 1
    assert "OSError: it did not write the run lora-n8-s0" in shown
    assert (run_folder / "runs" / "run" / "cells" / "lora-n8-s0" / "cell.json").is_file()


def test_what_cannot_be_tracked_is_told_before_anything_is_done(run_folder: Path) -> None:
    done = run(run_folder, "compare", "run.yaml", "--track", "trakio")
    assert done.returncode == 2
    assert 'Did you mean "trackio"?' in done.stderr
    assert not (run_folder / "runs").exists()

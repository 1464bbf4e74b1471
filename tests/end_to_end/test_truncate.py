"""truncate: in the run file, in what is noted, in the artefact, and in what the artefact answers."""

import json
from pathlib import Path

from fiatkit.config import read_config
from fiatkit.experiment import compare, make_plan
from fiatkit.experiment.progress import Silent
from fiatkit.experiment.single import load_fitted, tune_one


class Told(Silent):
    """Keeps what an experiment tells of its progress."""

    def __init__(self) -> None:
        self.stages: dict[str, int] = {}
        self.done: list[tuple[str, int, str]] = []

    def stage(self, name: str, total: int) -> None:
        self.stages[name] = total

    def advance(self, done: int, note: str = "") -> None:
        self.done.append((list(self.stages)[-1], done, note))

    def say(self, message: str) -> None:
        pass


def run_of(folder: Path, **changes: str) -> Path:
    rows = (folder / "rows.csv").read_text()
    (folder / "rows.csv").write_text(rows.replace(" number", " number" + " and so on" * 12))
    path = folder / "run.yaml"
    text = path.read_text().replace("[icl, lora, instruct, fiat, finetune]", "[instruct]")
    text = text.replace("[8, 16]", "[8]").replace("[0, 1]", "[0]")
    text = text.replace("epochs: 2", "epochs: 1, max_length: 90")
    path.write_text(text + "".join(f"{key}: {value}\n" for key, value in changes.items()))
    return path


def test_I15_a_cut_is_chosen_counted_shown_and_kept_with_the_artefact(run_folder: Path) -> None:
    config = read_config(run_of(run_folder, truncate="middle"))
    config = config.model_copy(update={"out": run_folder / "out", "store": run_folder / "s.sqlite"})
    told = Told()
    compare(make_plan(config), told)
    place = run_folder / "out" / "cells" / "instruct-n8-s0"
    notes = json.loads((place / "cell.json").read_text())["notes"]
    assert "8 training rows had a field cut" in notes
    assert any(note.startswith("16 rows were answered with a field cut") for note in notes)
    rows = [json.loads(line) for line in (place / "predictions.jsonl").read_text().splitlines()]
    assert all(row["status"] == "ok" and row["cut"] > 0 for row in rows)

    title = "[1/1] instruct on 8 rows, seed 0"
    assert told.stages == {title: 1, f"{title}: answering": 16}
    assert (f"{title}: answering", 16, "") in told.done
    assert any("scoring dev: 8 of 8" in note for _, _, note in told.done)

    tune_one(config, "instruct", 8, 0, run_folder / "model", told)
    fitted = load_fitted(run_folder / "model")
    assert fitted.predictor.truncate == "middle"
    (run_folder / "new.csv").write_text(f"id,language,text\n1,en,{'the sun ' * 40}\n2,en,the sun\n")
    long, short = fitted.predict(run_folder / "new.csv", run_folder / "s.sqlite", told)
    assert (long.status, long.cut > 0, short.cut) == ("ok", True, 0)


def test_I15_without_it_the_row_is_skipped(run_folder: Path) -> None:
    path = run_of(run_folder)
    rows = (run_folder / "rows.csv").read_text().splitlines()
    some = [line.replace(" and so on", "") if i % 4 < 2 else line for i, line in enumerate(rows)]
    (run_folder / "rows.csv").write_text("\n".join(some) + "\n")
    config = read_config(path)
    few_a_step = config.tuning.model_copy(update={"batch_rows": 4})
    config = config.model_copy(update={"out": run_folder / "out", "tuning": few_a_step})
    compare(make_plan(config), Told())
    place = run_folder / "out" / "cells" / "instruct-n8-s0"
    counts = json.loads((place / "cell.json").read_text())["counts"]
    assert set(counts) == {"ok", "skipped:too_long"}
    assert sum(counts.values()) == 16

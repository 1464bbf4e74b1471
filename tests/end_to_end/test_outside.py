"""Outside systems: a file of predictions becomes a line of the comparison, or is refused."""

import hashlib
import json
from pathlib import Path

import pytest
import yaml
from tests.command import fiat

from fiatkit.files import read_jsonl
from fiatkit.report import load_run, summarise

METRICS = ["accuracy", "macro_f1", "weighted_f1", "auc_pr", "roc_auc"]


def edit(folder: Path, **changes: object) -> None:
    path = folder / "run.yaml"
    values = yaml.safe_load(path.read_text()) | changes
    path.write_text(yaml.safe_dump({k: v for k, v in values.items() if v is not None}))


def predict(folder: Path, name: str, targets: dict[str, str], *, wrong: int) -> Path:
    """A file that answers the first `wrong` rows wrongly, in an order of its own."""
    lines = []
    for index, (row, target) in enumerate(targets.items()):
        other = {"warm": "cold", "cold": "warm"}[target]
        answer = other if index < wrong else target
        shares = {answer: 0.75, ({"warm", "cold"} - {answer}).pop(): 0.25}
        lines.append(json.dumps({"id": row, "answer": answer, "probabilities": shares}))
    path = folder / name
    path.write_text("\n".join(reversed(lines)) + "\n")
    return path


@pytest.fixture
def finished(run_folder: Path) -> tuple[Path, dict[str, str]]:
    """A finished comparison, and the targets of its test rows."""
    task = (run_folder / "task.yaml").read_text()
    (run_folder / "task.yaml").write_text(f"{task}metrics: [{', '.join(METRICS)}]\n")
    edit(run_folder, recipes=["icl"], sizes=[8], seeds=[0])
    fiat(run_folder, "compare", "run.yaml")
    rows = read_jsonl(run_folder / "runs" / "run" / "test.jsonl")
    return run_folder, {row["id"]: row["target"] for row in rows}


def test_an_outside_system_joins_all_tables(finished: tuple[Path, dict[str, str]]) -> None:
    folder, targets = finished
    out = folder / "runs" / "run"
    file = predict(folder, "gpt.jsonl", targets, wrong=4)
    before = (out / "test.jsonl").read_bytes()
    edit(folder, outside={"gpt": "gpt.jsonl"})
    shown = fiat(folder, "compare", "run.yaml")
    assert "gpt [outside]" in shown
    line = next(line for line in summarise(load_run(out)).lines if line.recipe == "gpt")
    assert line.score == pytest.approx(75)
    assert set(line.languages) == {"en", "es"}
    assert line.others["roc_auc"] is not None
    assert line.differences["icl"] is not None
    assert line.differences["icl"].value == pytest.approx(-25)
    assert (line.size, line.calls, line.seconds, line.is_outside) == (None, None, None, True)
    record = json.loads((out / "outside" / "gpt" / "cell.json").read_text())
    assert record["sha256"] == hashlib.sha256(file.read_bytes()).hexdigest()
    assert "Outside system: gpt.jsonl" in (out / "report.html").read_text()
    assert (out / "test.jsonl").read_bytes() == before, "no recipe ran again"

    predict(folder, "gpt.jsonl", targets, wrong=8)
    fiat(folder, "compare", "run.yaml", "--with", "other=gpt.jsonl")
    scores = {c.recipe: c.record.scores["accuracy"].value for c in load_run(out).cells}
    assert (scores["gpt"], scores["other"]) == (50, 50), "a file that changed is scored anew"
    edit(folder, outside=None)
    fiat(folder, "compare", "run.yaml")
    assert not {"gpt", "other"} & {cell.recipe for cell in load_run(out).cells}

    shown = fiat(folder, "report", "runs/run", "--with", "gpt=gpt.jsonl")
    assert "gpt [outside]" in shown
    assert "gpt" not in {cell.recipe for cell in load_run(out).cells}, "the folder is as it was"


def test_what_does_not_fit_is_refused_before_anything_is_spent(
    finished: tuple[Path, dict[str, str]],
) -> None:
    folder, targets = finished
    predict(folder, "less.jsonl", dict(list(targets.items())[3:]), wrong=0)
    predict(folder, "more.jsonl", targets | {"r999": "warm"}, wrong=0)
    cells = sorted((folder / "runs" / "run" / "cells").iterdir())
    for words, told in (
        (("--with", "gpt=less.jsonl"), "no prediction for 3 of the 16 ids of the test rows"),
        (("--with", "gpt=more.jsonl"), 'answers 1 ids that are not in the test rows, such as "r999"'),
        (("--with", "fiat=less.jsonl"), '"fiat" is a recipe'),
        (("--with", "a/b=less.jsonl"), 'cannot be called "a/b"'),
        (("--with", "less.jsonl"), "is not NAME=FILE"),
        (("--with", "gpt=gone.jsonl"), "No such file"),
    ):  # fmt: skip
        assert told in fiat(folder, "compare", "run.yaml", *words, code=2)
        assert told in fiat(folder, "report", "runs/run", *words, code=2)
    assert sorted((folder / "runs" / "run" / "cells").iterdir()) == cells


def test_evaluate_gives_every_metric_with_its_interval(
    finished: tuple[Path, dict[str, str]],
) -> None:
    folder, targets = finished
    rows = [line for line in (folder / "rows.csv").read_text().splitlines() if line.split(",")[0] in {"id", *targets}]  # fmt: skip
    (folder / "gold.csv").write_text("\n".join(rows) + "\n")
    predict(folder, "gpt.jsonl", targets, wrong=4)
    words = ("evaluate", "--gold", "gold.csv", "--task", "task.yaml")
    shown = fiat(folder, *words, "--predictions", "gpt.jsonl")
    assert shown == fiat(folder, *words, "gpt.jsonl")
    for name in METRICS:
        (line,) = [line for line in shown.splitlines() if f" {name} " in line]
        assert " to " in line
    predict(folder, "less.jsonl", dict(list(targets.items())[3:]), wrong=0)
    assert "no prediction for 3 of the 16" in fiat(folder, *words, "less.jsonl", code=2)
    assert "one file of predictions" in fiat(folder, *words, code=2)

"""Every command on a tiny model made here and a scripted large one, as a user types them."""

import json
from pathlib import Path

from tests.command import fiat


def cells(folder: Path) -> dict[str, bytes]:
    found = sorted((folder / "runs" / "run" / "cells").glob("*/*.jsonl"))
    return {path.parent.name: path.read_bytes() for path in found}


def test_compare_tune_predict_evaluate(run_folder: Path) -> None:
    shown = fiat(run_folder, "compare", "run.yaml")
    for name in ("icl", "icl_constrained", "lora", "instruct", "fiat", "finetune", "majority"):
        assert name in shown
    out = run_folder / "runs" / "run"
    names = {path.name for path in (out / "cells").iterdir()}
    tuned = {
        f"{r}-n{n}-s{s}"
        for r in ("lora", "instruct", "fiat", "finetune", "majority", "tfidf")
        for n in (8, 16)
        for s in (0, 1)
    }
    assert names == tuned | {"icl-n0-s0", "icl_constrained-n0-s0"}
    for name in names:
        record = json.loads((out / "cells" / name / "cell.json").read_text())
        assert sum(record["counts"].values()) == 16
    page = (out / "report.html").read_text(encoding="utf-8")
    assert "<svg" in page
    assert "Content-Security-Policy" in page
    assert "It is warm there." in page

    record = json.loads((out / "cells" / "fiat-n16-s0" / "cell.json").read_text())
    assert record["test_usage"]["calls"] == 16, "what a prediction costs, apart from fitting"
    assert sum(counts["rows"] for counts in record["tokens"].values()) == 16
    assert all(counts["tokens"] >= counts["words"] > 0 for counts in record["tokens"].values())

    before = cells(run_folder)
    (out / "cells" / "fiat-n16-s1" / "cell.json").unlink()
    fiat(run_folder, "compare", "run.yaml")
    assert cells(run_folder) == before, "a cell made again is the same, byte for byte"

    status = fiat(run_folder, "store", "status")
    assert "completions: 40" in status or "completions: " in status
    assert "all intact" in fiat(run_folder, "store", "verify")

    fiat(run_folder, "tune", "run.yaml", "--recipe", "fiat", "--size", "16", "--out", "model")
    new = "id,language,text\n1,en,the sun again\n2,es,mucho hielo\n"
    (run_folder / "new.csv").write_text(new)
    fiat(run_folder, "predict", "model", "new.csv", "--out", "new.jsonl")
    answers = [json.loads(line) for line in (run_folder / "new.jsonl").read_text().splitlines()]
    assert [a["id"] for a in answers] == ["1", "2"]
    assert all(a["status"] == "ok" and set(a["probabilities"]) == {"warm", "cold"} for a in answers)
    assert all("Answer:" in a["rationale"] for a in answers)

    with_bad = new + "3,en,\n4,en,ice\n"
    (run_folder / "bad.csv").write_text(with_bad)
    told = fiat(run_folder, "predict", "model", "bad.csv", "--out", "bad.jsonl", code=2)
    assert "bad.csv, line 4: text is empty" in told and "--skip-bad" in told
    told = fiat(run_folder, "predict", "model", "bad.csv", "--out", "bad.jsonl", "--skip-bad")
    assert "3 ok, 1 skipped:bad_row" in told
    lines = [json.loads(line) for line in (run_folder / "bad.jsonl").read_text().splitlines()]
    assert [a["id"] for a in lines] == ["1", "2", "3", "4"]
    assert lines[:2] == answers and lines[2]["status"] == "skipped:bad_row"

    latin = "id,language,text\n1,de,große Kälte\n".encode("latin-1")
    (run_folder / "latin.csv").write_bytes(latin)
    fiat(run_folder, "predict", "model", "latin.csv", "--out", "l.jsonl", "--encoding", "latin-1")

    (run_folder / "gold.csv").write_text("id,language,text,label\n1,en,x,warm\n2,es,y,cold\n")
    shown = fiat(run_folder, "evaluate", "new.jsonl", "--gold", "gold.csv", "--task", "task.yaml")
    assert "accuracy" in shown


def test_rationales_solve_what_the_text_does_not_name(run_folder: Path) -> None:
    """The tiny model learns to copy the answer out of the rationale: FIAT's point, in small."""
    text = (run_folder / "run.yaml").read_text()
    text = text.replace("epochs: 2", "epochs: 12").replace("sizes: [8, 16]", "sizes: [16]")
    text = text.replace("seeds: [0, 1]", "seeds: [0]")
    text = text.replace("[icl, lora, instruct, fiat, finetune]", "[icl, fiat]")
    (run_folder / "run.yaml").write_text(text)
    fiat(run_folder, "compare", "run.yaml")
    folder = run_folder / "runs" / "run" / "cells"
    scores = {
        name: json.loads((folder / name / "cell.json").read_text())["scores"]["accuracy"]["value"]
        for name in ("icl-n0-s0", "fiat-n16-s0")
    }
    assert scores["icl-n0-s0"] == 100
    assert scores["fiat-n16-s0"] > 80


def test_doctor_counts_before_anything_is_spent(run_folder: Path) -> None:
    shown = fiat(run_folder, "doctor", "run.yaml")
    assert "train: 24 rows" in shown
    assert "calls of the large model" in shown
    assert not (run_folder / "runs").exists()

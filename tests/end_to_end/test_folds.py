"""Folds: every row is tested once, by models that never saw its group; the report pools them."""

import json
import re
from pathlib import Path

import pytest
from tests.command import fiat

from fiatkit.config import RunConfig, read_config
from fiatkit.errors import SettingsError, UsageError
from fiatkit.experiment import Plan, make_plan
from fiatkit.files import read_jsonl


@pytest.fixture
def folds_folder(run_folder: Path) -> Path:
    """The small run with three folds, and rows two of which make a group."""
    task = (run_folder / "task.yaml").read_text()
    (run_folder / "task.yaml").write_text(task + "group: [pair]\n")
    lines = (run_folder / "rows.csv").read_text().splitlines()
    paired = [f"{line},p{number // 2}" for number, line in enumerate(lines[1:])]
    (run_folder / "rows.csv").write_text("\n".join([f"{lines[0]},pair", *paired]) + "\n")
    text = (run_folder / "run.yaml").read_text()
    text = text.replace("dev_rows: 8, test_rows: 16", "dev_rows: 4, folds: 3")
    text = text.replace("[icl, lora, instruct, fiat, finetune]", "[icl, fiat]")
    text = text.replace("sizes: [8, 16]", "sizes: [8]").replace("seeds: [0, 1]", "seeds: [0]")
    (run_folder / "run.yaml").write_text(text.replace("epochs: 2", "epochs: 1"))
    return run_folder


def plan(folder: Path, **data: object) -> Plan:
    config = read_config(folder / "run.yaml")
    values = config.data.model_dump() | data
    return make_plan(config.model_copy(update={"data": type(config.data)(**values)}))


def test_each_row_is_tested_once_and_no_group_is_parted(folds_folder: Path) -> None:
    found = plan(folds_folder)
    assert len(found.parts) == 3
    tested = [row.id for part in found.parts for row in part.data.test]
    assert len(tested) == len(set(tested)) == 48
    assert [row.id for row in found.data.test] == tested
    for part in found.parts:
        assert len(part.data.test) == 16
        assert len(part.data.dev) == 4
        seen = {row.group for row in (*part.data.train, *part.data.dev)}
        assert not seen & {row.group for row in part.data.test}
        languages = [row.query.language for row in part.data.test]
        assert 4 <= languages.count("es") <= 12, "mixed"
    assert len({part.out for part in found.parts}) == 3
    assert any("3 folds: every row is tested once" in note for note in found.data.notes)


def test_the_report_pools_the_folds(folds_folder: Path) -> None:
    shown = fiat(folds_folder, "compare", "run.yaml")
    assert "48 test rows in 24 groups" in shown
    out = folds_folder / "runs" / "run"
    rows = list(read_jsonl(out / "test.jsonl"))
    assert len({row["id"] for row in rows}) == 48
    for name in ("icl-n0-s0", "fiat-n8-s0", "tfidf-n8-s0"):
        pooled = json.loads((out / "cells" / name / "cell.json").read_text())
        score = pooled["scores"]["accuracy"]
        assert (score["n"], score["groups"]) == (48, 24)
        parts = [out / "folds" / str(n) / "cells" / name for n in (1, 2, 3)]
        alone = [json.loads((part / "cell.json").read_text()) for part in parts]
        mean = sum(record["scores"]["accuracy"]["micro"] for record in alone) / 3
        assert score["micro"] == pytest.approx(mean), "folds of one size"
        said = {p["id"]: p["answer"] for part in parts for p in read_jsonl(part / "predictions.jsonl")}  # fmt: skip
        kept = {p["id"]: p["answer"] for p in read_jsonl(out / "cells" / name / "predictions.jsonl")}  # fmt: skip
        assert kept == said
        assert pooled["usage"]["calls"] == (0 if name.startswith("tfidf") else 48)
    assert "completions: 48" in fiat(folds_folder, "store", "status"), "no row is paid for twice"

    before = (out / "cells" / "fiat-n8-s0" / "predictions.jsonl").read_bytes()
    (out / "folds" / "2" / "cells" / "fiat-n8-s0" / "cell.json").unlink()
    (out / "cells" / "fiat-n8-s0" / "cell.json").unlink()
    told = fiat(folds_folder, "compare", "run.yaml")
    assert re.search(r"1 cells? to fill", told)
    assert (out / "cells" / "fiat-n8-s0" / "predictions.jsonl").read_bytes() == before


def test_the_flag_wins_over_the_files_test_rows(folds_folder: Path) -> None:
    path = folds_folder / "run.yaml"
    path.write_text(path.read_text().replace("folds: 3", "test_rows: 16").replace("fiat]", "lora]"))
    told = fiat(folds_folder, "compare", "run.yaml", "--folds", "30", code=2)
    assert "only 24 groups" in told
    told = fiat(folds_folder, "doctor", "run.yaml")
    assert "test: 16 rows" in told


def test_what_folds_do_not_go_with_is_told(folds_folder: Path) -> None:
    with pytest.raises(UsageError, match="at most 28"):
        plan_of_size = read_config(folds_folder / "run.yaml").model_copy(update={"sizes": [40]})
        make_plan(RunConfig.model_validate(plan_of_size.model_dump()))
    path = folds_folder / "run.yaml"
    path.write_text(path.read_text().replace("folds: 3", "folds: 3, test_rows: 4"))
    with pytest.raises(SettingsError, match="leave test_rows out"):
        read_config(path)

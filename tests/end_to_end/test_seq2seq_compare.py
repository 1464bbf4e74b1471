"""`fiat compare` with an encoder-decoder as the small model."""

import json
from pathlib import Path

from tests.command import fiat


def test_compare_with_an_encoder_decoder(
    run_folder: Path, tiny_chat_model: Path, tiny_t5_model: Path
) -> None:
    run = run_folder / "run.yaml"
    text = run.read_text().replace(str(tiny_chat_model), str(tiny_t5_model))
    text = text.replace("[icl, lora, instruct, fiat, finetune]", "[icl, fiat, fiat -peft]")
    text = text.replace("sizes: [8, 16]", "sizes: [8]").replace("seeds: [0, 1]", "seeds: [0]")
    run.write_text(text)
    fiat(run_folder, "compare", "run.yaml")
    cells = run_folder / "runs" / "run" / "cells"
    for name in ("fiat-n8-s0", "fiat-peft-n8-s0"):
        record = json.loads((cells / name / "cell.json").read_text())
        assert record["counts"] == {"ok": 16}
        first, last = record["history"][0]["loss"], record["history"][-1]["loss"]
        assert last < first, "it was tuned"
        [predictions] = (cells / name).glob("*.jsonl")
        rows = [json.loads(line) for line in predictions.read_text().splitlines()]
        assert all(abs(sum(row["probabilities"].values()) - 1) < 1e-9 for row in rows)
    assert "It is warm there." in (cells.parent / "report.html").read_text(encoding="utf-8")

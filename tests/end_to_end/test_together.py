"""One tuning by two processes: the adapter of one process, but for the last digits of sums.

torchrun sets what `accelerate launch` sets too where it starts several processes.
"""

import json
import os
import subprocess
import sys
from pathlib import Path

import numpy as np
from safetensors.numpy import load_file
from tests.command import FIAT, WIDE, run

TORCHRUN = [sys.executable, "-m", "torch.distributed.run", "--standalone", "--no-python"]


def test_two_processes_tune_what_one_does(run_folder: Path) -> None:
    text = (run_folder / "run.yaml").read_text()
    text = text.replace("[icl, lora, instruct, fiat, finetune]", "[fiat]")
    text = text.replace("[8, 16]", "[15]").replace("[0, 1]", "[0]")
    (run_folder / "run.yaml").write_text(text)
    words = ["compare", "run.yaml", "--out"]
    assert run(run_folder, *words, "one").returncode == 0
    two = subprocess.run(
        [*TORCHRUN, "--nproc-per-node", "2", FIAT, *words, "two"],
        cwd=run_folder,
        env=WIDE,
        capture_output=True,
        text=True,
        timeout=600,
    )
    assert two.returncode == 0, two.stderr[-3000:]
    cells = [run_folder / name / "cells" / "fiat-n15-s0" for name in ("one", "two")]
    one, both = (json.loads((cell / "cell.json").read_text()) for cell in cells)
    cores = len(os.sched_getaffinity(0))
    assert (one["environment"]["processes"], both["environment"]["processes"]) == (1, 2)
    assert one["environment"]["threads"] == cores
    assert both["environment"]["threads"] == max(1, cores // 2)
    losses = ([entry["loss"] for entry in cell["history"]] for cell in (one, both))
    np.testing.assert_allclose(*losses, rtol=1e-5)
    weights = [load_file(cell / "adapter" / "adapter_model.safetensors") for cell in cells]
    assert any(np.abs(tensor).max() > 0.01 for n, tensor in weights[0].items() if "lora_B" in n)
    for name, tensor in weights[0].items():
        np.testing.assert_allclose(weights[1][name], tensor, atol=1e-4, err_msg=name)
    answers = [(cell / "predictions.jsonl").read_bytes() for cell in cells]
    assert [json.loads(line)["answer"] for line in answers[0].splitlines()] == [
        json.loads(line)["answer"] for line in answers[1].splitlines()
    ]

"""Tuning against TRL's SFTTrainer: the same model, rows, steps, first weights and learning rate.

    make bench-tune

TRL runs in an environment of its own, at its best on a CPU (float32, no gradient checkpointing,
loss on the completion only), padded as the tuner's own steps and padding-free. Each variant takes
the same steps in the same order; the first is left out of the times. Rounds take turns, so that a
machine that drifts drifts for all. Options: --models, --sets, --rounds, --steps.
"""

import argparse
import json
import statistics
import subprocess
import sys
import tempfile
import time
from pathlib import Path

import torch
from _rows import SETS, rows_of, tuned_folder
from safetensors.torch import save_file

from fiatkit.tuning import TuningSettings
from fiatkit.tuning.methods import lora
from fiatkit.tuning.tuner import encode_rows, steps

HERE = Path(__file__).parent
TRL = HERE / ".peers" / "trl" / "bin" / "python"
BATCH = 8
VARIANTS = {
    "fiatkit, shared": (sys.executable, "fiatkit_tune.py", "shared"),
    "fiatkit, not shared": (sys.executable, "fiatkit_tune.py", "padded"),
    "TRL, padded": (str(TRL), "trl_tune.py", "grouped"),
    "TRL, padding-free": (str(TRL), "trl_tune.py", "padding_free"),
}


def job_of(ref: str, name: str, count: int, folder: Path) -> dict:
    """Everything that both sides need, and what the rows are like."""
    rows = rows_of(name, "train", (count + 2) * BATCH)  # some have no rationale, or are too long
    small, weights = tuned_folder(ref)
    encoded, _, _ = encode_rows(small, rows.pairs(), 1024)
    encoded = encoded[: len(encoded) // BATCH * BATCH][: count * BATCH]  # whole batches only
    used = {row.query_id for row in encoded}
    pairs = [pair for pair in rows.pairs() if pair.prompt.query_id in used]
    torch.manual_seed(0)
    model = lora.attach(small.model, TuningSettings(), ref)
    first = {n: p.detach().clone() for n, p in model.named_parameters() if p.requires_grad}
    save_file({n.replace(".default", ""): p for n, p in first.items()}, folder / "init.safetensors")
    order = [step for step in steps(encoded, BATCH, 0, 1)]
    body = sum(
        p.numel()
        for n, p in model.named_parameters()
        if not p.requires_grad and "embed" not in n and "lm_head" not in n
    )
    return {
        "ref": ref,
        "model": str(weights),
        "rows": [[list(r.prompt), list(r.target)] for step in order for r in step],
        "tokens": [sum(r.length for r in step) for step in order],
        "pairs": [
            [p.prompt.query_id, [[q.kind, q.text] for q in p.prompt.parts], p.target] for p in pairs
        ],
        "body": body,
        "batch": BATCH,
        "rank": 16,
        "alpha": 32,
        "lr": 3e-4,
        "shares": [rate_share(step, len(order)) for step in range(len(order))],
        "init": str(folder / "init.safetensors"),
        "out": str(folder / "out"),
        "threads": torch.get_num_threads(),
    }


def rate_share(step: int, total: int) -> float:
    """The tuner's linear rise and fall of the learning rate, for TRL."""
    rise = max(1, round(TuningSettings().warmup * total))
    return (step + 1) / rise if step < rise else (total - step) / max(1, total - rise)


def run(variant: str, job: dict, folder: Path) -> tuple[list[dict], float]:
    """One variant in a process of its own: its steps, and its largest resident size in MiB."""
    python, script, kind = VARIANTS[variant]
    file = folder / "job.json"
    file.write_text(json.dumps(job | {"variant": kind}))
    done = subprocess.run(
        [python, str(HERE / "peers" / script), str(file)], capture_output=True, text=True
    )
    lines = []
    for line in done.stdout.splitlines():
        if line.startswith('{"'):
            lines.append(json.loads(line))
    if done.returncode or not lines:
        sys.exit(f"{variant} failed:\n{done.stderr[-2000:]}")
    return lines[:-1], lines[-1]["peak_mib"]


def peak_gflops() -> float:
    """What a large float32 product reaches now, best of ten."""
    a = torch.randn(2048, 2048)
    best = 1e9
    for _ in range(10):
        began = time.perf_counter()
        torch.mm(a, a)
        best = min(best, time.perf_counter() - began)
    return 2 * 2048**3 / best / 1e9


def table(ref: str, name: str, rounds: int, count: int) -> None:
    """Print one table."""
    with tempfile.TemporaryDirectory() as place:
        folder = Path(place)
        job = job_of(ref, name, count, folder)
        rates: dict[str, list[float]] = {v: [] for v in VARIANTS}
        losses: dict[str, list[float]] = {}
        memory: dict[str, float] = {}
        computed, peaks, busy = 0, [], []
        tokens = job["tokens"]
        for _ in range(rounds):
            for variant in VARIANTS:
                peaks.append(peak_gflops())
                found, memory[variant] = run(variant, job, folder)
                losses[variant] = [line["loss"] for line in found]
                seconds = sum(line["seconds"] for line in found[1:])
                rates[variant].append(sum(tokens[1:]) / seconds)
                if variant == "fiatkit, shared":
                    computed = sum(line["computed"] for line in found[1:])
                    busy.append(computed / seconds)
        best = max((v for v in VARIANTS if v.startswith("TRL")), key=lambda v: max(rates[v]))
        print(f"\n{ref}, {name}: {len(tokens)} steps of {BATCH} rows, {sum(tokens)} tokens")
        print(f"  shared beginnings spare {1 - computed / sum(tokens[1:]):.0%} of the tokens")
        for variant in VARIANTS:
            ratio = statistics.median(
                a / b for a, b in zip(rates[variant], rates[best], strict=True)
            )
            apart = max(
                abs(a - b) for a, b in zip(losses[variant], losses["TRL, padded"], strict=True)
            )
            print(
                f"  {variant:20s} {statistics.median(rates[variant]):6.0f} tokens/s  "
                f"{ratio:4.2f} x {best}  loss apart {apart:.1e}  peak {memory[variant]:.0f} MiB"
            )
        ceiling = statistics.median(peaks) * 1e9 / (4 * job["body"])
        print(
            f"  computed {statistics.median(busy):.0f} tokens/s, "
            f"{statistics.median(busy) / ceiling:.0%} of the ceiling {ceiling:.0f} "
            f"(4 x {job['body'] / 1e6:.0f}M operations a token at {statistics.median(peaks):.0f} "
            "GFLOPS; adapter, attention and head not counted)",
            flush=True,
        )


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--models", nargs="+", default=["smollm2-135m", "gemma3-270m"])
    parser.add_argument("--sets", nargs="+", default=list(SETS))
    parser.add_argument("--rounds", type=int, default=2)
    parser.add_argument("--steps", type=int, default=4)
    asked = parser.parse_args()
    for ref in asked.models:
        for name in asked.sets:
            table(ref, name, asked.rounds, asked.steps)


if __name__ == "__main__":
    main()

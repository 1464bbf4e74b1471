"""What tuning costs as the rows grow: seconds a row, and largest resident size.

    python benchmarks/cost_of_tuning.py [--sizes 100 300 1000 3000] [--steps 12]

Two tables. A random Llama of two layers takes every step of one epoch. SmolLM2 takes `--steps`
steps of an epoch over so many rows of sib200_major (`FIATKIT_DATA`), all of which it has read and
checked before. All texts are of 44 to 63 tokens, so that steps are alike at any size. Each size
runs in a process of its own. Flat means: no more than a tenth above the smallest size.
"""

import argparse
import contextlib
import json
import os
import resource
import subprocess
import sys
import tempfile
import time
from pathlib import Path

SET = "sib200_major"
LENGTHS = range(44, 64)  # tokens of text


class Enough(BaseException):
    """So many steps were taken."""


def tiny(folder: Path) -> str:
    """A random Llama of two layers with the tokenizer of SmolLM2."""
    from transformers import AutoTokenizer, LlamaConfig, LlamaForCausalLM

    from fiatkit.models import catalogue

    tokenizer = AutoTokenizer.from_pretrained(catalogue.resolve_transformers("smollm2-135m")[0])
    config = LlamaConfig(
        vocab_size=len(tokenizer),
        hidden_size=64,
        intermediate_size=128,
        num_hidden_layers=2,
        num_attention_heads=4,
        num_key_value_heads=2,
        eos_token_id=tokenizer.eos_token_id,
    )
    LlamaForCausalLM(config).save_pretrained(folder)
    tokenizer.save_pretrained(folder)
    return str(folder)


def one(model: str, size: int, most: int | None) -> None:
    """Tune on `size` rows, at most `most` steps; print the figures as JSON."""
    from fiatkit.models.local import SmallModel
    from fiatkit.recipes import INSTRUCT
    from fiatkit.recipes.predictor import training_pairs
    from fiatkit.tasks import load_examples, load_task
    from fiatkit.tuning import TuningSettings, tune

    folder = os.environ.get("FIATKIT_DATA") or sys.exit("Set FIATKIT_DATA; see docs/test_sets.md.")
    task = load_task("sib200")
    small = SmallModel.load(model, device="cpu")
    examples = load_examples(task, Path(folder) / SET / "train.jsonl")
    tokens = small.tokenizer([e.query.fields["text"] for e in examples])["input_ids"]
    like = [e for e, ids in zip(examples, tokens, strict=True) if len(ids) in LENGTHS][:size]
    pairs, _ = training_pairs(task, INSTRUCT, like, {})
    settings = TuningSettings(epochs=1)
    began = [time.monotonic()]

    def told(done: int, total: int, loss: float) -> None:
        began.append(time.monotonic())
        if most and done == most:
            raise Enough

    with contextlib.suppress(Enough):
        tune(small, pairs, settings, seed=0, on_progress=told)
    steps = len(began) - 2  # the first step is not timed: what comes before it is told apart
    found = {
        "rows": len(pairs),
        "first": began[1] - began[0],
        "row": (began[-1] - began[1]) / (steps * settings.batch_rows),
        "peak": resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024,
    }
    print(json.dumps(found))


def table(name: str, model: str, sizes: list[int], most: int | None) -> None:
    """Print a line for each size."""
    print(f"\n{name}, {SET}, {f'{most} steps' if most else 'one epoch'}")
    print("| rows | ms a row | up to the first step's end, s | peak MiB |\n|---|---|---|---|")
    for size in sizes:
        words = [sys.executable, __file__, "--one", model, str(size), str(most or 0)]
        done = subprocess.run(words, capture_output=True, text=True)
        if done.returncode:
            sys.exit(done.stderr[-2000:])
        found = json.loads(done.stdout.splitlines()[-1])
        print(
            f"| {found['rows']} | {1000 * found['row']:.1f} | {found['first']:.1f} "
            f"| {found['peak']:.0f} |",
            flush=True,
        )


def main() -> None:
    """Print both tables."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--sizes", nargs="+", type=int, default=[100, 300, 1000, 3000])
    parser.add_argument("--steps", type=int, default=12)
    parser.add_argument("--only", choices=["tiny", "smollm2"])
    parser.add_argument("--one", nargs=3, help=argparse.SUPPRESS)
    asked = parser.parse_args()
    if asked.one:
        model, size, most = asked.one
        one(model, int(size), int(most) or None)
        return
    if asked.only != "smollm2":
        with tempfile.TemporaryDirectory() as folder:
            table("random Llama", tiny(Path(folder)), asked.sizes, None)
    if asked.only != "tiny":
        table("smollm2-135m", "smollm2-135m", asked.sizes, asked.steps)


if __name__ == "__main__":
    main()

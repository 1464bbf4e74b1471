"""What the defaults of `tuning:` rest on: dev scores by rate, epoch, layers, batch, warm-up, rank.

    python benchmarks/tuning_defaults.py OUT.jsonl [--models ...] [--sets ...] [--sizes ...] ...

Tunes a small model by the recipe `instruct`, which needs no large model, on rows of a set's train
file that are in a language it can read, others for each seed, and scores dev rows before the first
epoch (0) and after each: the task's metric, and the mean negative log-likelihood of the right
answer (among the labels, where there are labels), which is less noisy. A cell is written to OUT
when it is done; the same command goes on with the next. `--print` only prints what OUT holds.
Needs `FIATKIT_DATA`.
"""

import argparse
import json
import math
import os
import sys
from collections import defaultdict
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from itertools import product
from pathlib import Path
from typing import Any

import torch

from fiatkit import metrics
from fiatkit.models.local import SmallModel
from fiatkit.recipes import INSTRUCT
from fiatkit.recipes.predictor import Predictor, training_pairs
from fiatkit.records import Example, ScoredRow
from fiatkit.tasks import Task, load_examples, load_task
from fiatkit.tuning import TuningSettings, tune
from fiatkit.tuning.tuner import encode_rows, target_loss

LONGEST = 256  # tokens of a row
DEV = 100
SETS = {
    "sib200_major": ("sib200", {f"{c}_Latn" for c in ("eng", "spa", "fra", "deu", "por", "ita")}),
    "xnli": ("xnli", {"en"}),
    "xquad_crosslingual": ("cross_language_qa", {"es", "de", "ro"}),
}
GRIDS: dict[str, tuple[dict[str, Any], ...]] = {
    "rates": tuple({"learning_rate": rate} for rate in (3e-4, 1e-3, 1e-4)),
    "layers": ({"layers": "top-15"}, {"layers": "top-8"}),
    "steps": ({"batch_rows": 4}, {"batch_rows": 16}, {"warmup": 0.0}),
    "ranks": ({"rank": 8}, {"rank": 4}),
}


@dataclass(frozen=True)
class Cell:
    """One tuning of the grid."""

    model: str
    name: str
    size: int
    changed: dict[str, Any]
    seed: int
    epochs: int

    @property
    def key(self) -> dict[str, Any]:
        """What its lines begin with."""
        told = {"model": self.model, "set": self.name, "rows": self.size}
        return told | {"seed": self.seed, "epochs": self.epochs} | self.changed

    def run(self) -> list[dict[str, Any]]:
        """Tune; returns a line for each epoch."""
        task, train, dev = rows_of(self.name, self.size, self.seed)
        pairs, _ = training_pairs(task, INSTRUCT, train, {})
        small = SmallModel.load(self.model, device="cpu")
        predictor = Predictor(task, INSTRUCT, small)
        lines: list[dict[str, Any]] = []

        def dev_score() -> float:
            score, loss = scored(predictor, dev)
            found = {"epoch": len(lines), "score": score, "loss": loss, "dev": len(dev)}
            lines.append(self.key | found)
            print(lines[-1], flush=True)
            return score

        settings = TuningSettings(epochs=self.epochs, **self.changed)
        reserve = predictor.reserve
        dev_score()
        tune(small, pairs, settings, seed=self.seed, reserve=reserve, dev_score=dev_score)
        return lines


def rows_of(name: str, size: int, seed: int) -> tuple[Task, list[Example], list[Example]]:
    """Rows of train, others for each seed, and of dev, in a language that the model reads."""
    folder = os.environ.get("FIATKIT_DATA") or sys.exit("Set FIATKIT_DATA; see docs/test_sets.md.")
    task_name, languages = SETS[name]
    task = load_task(task_name)
    most = 4 * LONGEST  # characters; about four to a token

    def read(split: str, start: int, count: int) -> list[Example]:
        rows = load_examples(task, Path(folder) / name / f"{split}.jsonl")
        found = [e for e in rows if e.query.language in languages]
        return [e for e in found if sum(map(len, e.query.fields.values())) < most][start:][:count]

    return task, read("train", seed * size, size), read("dev", 0, DEV)


def scored(predictor: Predictor, dev: Sequence[Example]) -> tuple[float, float]:
    """The task's first metric, and the mean negative log-likelihood of the right answers."""
    task = predictor.task
    predictions = predictor.predict([e.query for e in dev], {})
    rows = [ScoredRow(e, p) for e, p in zip(dev, predictions, strict=True)]
    score = metrics.corpus(task.metrics[0], rows, task.choices) or 0.0
    if task.choices:
        each = [
            -math.log((p.probabilities or {})[str(e.target)])
            for e, p in zip(dev, predictions, strict=True)
        ]
        return score, sum(each) / len(each)
    pairs, _ = training_pairs(task, INSTRUCT, dev, {})
    encoded = encode_rows(predictor.small, pairs, predictor.max_length, predictor.reserve)[0]
    with torch.inference_mode():
        total = sum(float(target_loss(predictor.small, [row])) for row in encoded)
    return score, total / sum(len(row.target) for row in encoded)


def cells(asked: argparse.Namespace) -> Iterator[Cell]:
    """The tunings asked for, what tells most first."""
    changes = [changed for grid in asked.grids for changed in GRIDS[grid]]
    for seed, size, model, name in product(asked.seeds, asked.sizes, asked.models, asked.sets):
        yield from (Cell(model, name, size, changed, seed, asked.epochs) for changed in changes)


def read(out: Path) -> list[dict[str, Any]]:
    """The lines that were written so far."""
    return [json.loads(line) for line in out.read_text().splitlines()] if out.is_file() else []


def table(lines: Sequence[dict[str, Any]]) -> None:
    """Print a line for each cell: score and loss after each of its epochs."""
    by_cell: dict[str, dict[int, tuple[float, float]]] = defaultdict(dict)
    for line in lines:
        found = (line.pop("epoch"), line.pop("score"), line.pop("loss"))
        by_cell[json.dumps(line)][found[0]] = found[1:]
    shown = sorted({number for epochs in by_cell.values() for number in epochs})
    print("| cell | " + " | ".join(f"epoch {n}" for n in shown) + " |")
    print("|---" * (len(shown) + 1) + "|")
    for key, epochs in by_cell.items():
        told = ", ".join(f"{name} {value}" for name, value in json.loads(key).items())
        texts = [f"{epochs[n][0]:.1f} ({epochs[n][1]:.3f})" if n in epochs else "" for n in shown]
        print(f"| {told} | " + " | ".join(texts) + " |")


def main() -> None:
    """Run what is left of the grid, then print the table."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("out", type=Path)
    parser.add_argument("--models", nargs="+", default=["smollm2-135m", "gemma3-270m"])
    parser.add_argument("--sets", nargs="+", default=list(SETS))
    parser.add_argument("--sizes", nargs="+", type=int, default=[100, 300])
    parser.add_argument("--grids", nargs="+", default=list(GRIDS), choices=list(GRIDS))
    parser.add_argument("--epochs", type=int, default=TuningSettings().epochs)
    parser.add_argument("--seeds", nargs="+", type=int, default=[0])
    parser.add_argument("--print", dest="only", action="store_true")
    asked = parser.parse_args()
    for cell in () if asked.only else cells(asked):
        if not any(cell.key.items() <= line.items() for line in read(asked.out)):
            lines = cell.run()
            with asked.out.open("a") as file:
                file.writelines(json.dumps(line) + "\n" for line in lines)
    table(read(asked.out))


if __name__ == "__main__":
    main()

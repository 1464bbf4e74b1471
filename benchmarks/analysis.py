"""What the analysis of a large run costs: processor time and memory, by metric.

    python benchmarks/analysis.py [--recipes 14] [--sizes 3] [--seeds 3] [--rows 1000]
                                  [--metric accuracy]

A run in memory, answers at random, ten languages, five rows a group.
"""

from __future__ import annotations

import argparse
import random
import resource
import time
from pathlib import Path

from fiatkit.records import Prediction
from fiatkit.report.analysis import analysis
from fiatkit.report.run import (
    CellRecord,
    CellResult,
    CellUsage,
    DataInfo,
    Run,
    RunInfo,
    StoredRationale,
    TaskInfo,
    TestRow,
)

LABELS = ["science", "travel", "politics", "sports", "health"]


def test_rows(count: int, rng: random.Random) -> list[TestRow]:
    return [
        TestRow(
            id=f"r{i}",
            language=f"l{i % 10}",
            group=f"g{i // 5}",
            fields={"text": "x"},
            target=rng.choice(LABELS),
            rationale=StoredRationale(
                text="word " * rng.randint(5, 40), answer=rng.choice(LABELS), status="ok"
            ),
        )
        for i in range(count)
    ]


def cell(recipe: str, size: int, seed: int, rows: list[TestRow], rng: random.Random) -> CellResult:
    predictions = {}
    for row in rows:
        answer = row.target if rng.random() < 0.6 else rng.choice(LABELS)
        shares = dict.fromkeys(LABELS, 0.1) | {answer: 0.6}
        predictions[row.id] = Prediction(row.id, answer, "ok", shares)
    record = CellRecord(
        recipe=recipe,
        label=recipe,
        kind="recipe",
        size=size,
        seed=seed,
        scores={},
        usage=CellUsage(calls=0),
    )
    return CellResult(record, predictions)


def peak() -> float:
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    for name, default in (("recipes", 14), ("sizes", 3), ("seeds", 3), ("rows", 1000)):
        parser.add_argument(f"--{name}", type=int, default=default)
    parser.add_argument("--metric", default="accuracy")
    args = parser.parse_args()
    rng = random.Random(0)
    rows = test_rows(args.rows, rng)
    recipes = ["fiat", "instruct", *(f"other{i}" for i in range(args.recipes - 2))]
    cells = [
        cell(recipe, 100 * 3**size, seed, rows, rng)
        for recipe in recipes
        for size in range(args.sizes)
        for seed in range(args.seeds)
    ]
    task = TaskInfo(name="t", primary=args.metric, metrics=[args.metric], labels=LABELS)
    data = DataInfo(train=1, dev=1, test=args.rows, test_groups=1, held_out=0)
    info = RunInfo(
        title="t", task=task, config={}, data=data, models={}, fiatkit="0", started="now"
    )
    before, began = peak(), time.process_time()
    analysis(Run(Path(), info, rows, cells, len(cells)))
    print("| cells | rows | metric | processor s | MiB: run | at most |\n|---|---|---|---|---|---|")
    print(
        f"| {len(cells)} | {args.rows} | {args.metric} | {time.process_time() - began:.1f} "
        f"| {before:.0f} | {peak():.0f} |"
    )


if __name__ == "__main__":
    main()

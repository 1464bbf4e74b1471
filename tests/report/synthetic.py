"""A run folder of known truth, as `fiat compare` writes it: many languages, sizes and seeds."""

import json
import random
from collections.abc import Sequence
from dataclasses import asdict
from pathlib import Path
from typing import Any

from fiatkit import metrics
from fiatkit.records import Example, Prediction, Query, ScoredRow

LABELS = ["science", "travel", "politics", "sports", "health"]
TEXTS = {
    "am": "ሳይንቲስቶች አዲስ ዘዴ አገኙ።",
    "ar": "أعلن العلماء عن طريقة جديدة (رقم 7) لفحص الخلايا.",
    "bn": "বিজ্ঞানীরা একটি নতুন পদ্ধতি আবিষ্কার করেছেন।",
    "es": "Los científicos anunciaron un método nuevo.",
    "sw": "Wanasayansi walitangaza mbinu mpya.",
    "zh": "科学家们宣布了一种新方法。",
}
SKILL = {
    "majority": 0.2,
    "tfidf": 0.42,
    "icl": 0.53,
    "icl_constrained": 0.6,
    "lora": 0.45,
    "instruct": 0.55,
    "fiat": 0.68,
    "finetune": 0.4,
    "fiat -rationale": 0.56,
    "fiat -instruction": 0.64,
    "distil": 0.58,
    "answer_hint": 0.66,
    "shuffled_hint": 0.5,
    "small_icl": 0.3,
    "stack": 0.67,
    "setfit": 0.6,
}
FEW = tuple(SKILL)[:8]
LABEL = {
    "fiat": "FIAT: large model's rationale + instruction + LoRA",
    "instruct": "LoRA + instruction, no rationale",
    "icl": "the large model answers from a few examples",
    "lora": "LoRA alone: the text in, the answer out",
}
QUICK = 5000


def make_rows(
    groups: int, languages: Sequence[str], labels: Sequence[str] = LABELS
) -> list[dict[str, Any]]:
    """One row a group and language, so that groups cross languages."""
    rng = random.Random(1)
    rows = []
    for group in range(groups):
        target = rng.choice(labels)
        for language in languages:
            right = rng.random() < 0.6
            answer = target if right else rng.choice([*labels, None])
            text = f"The passage speaks of number {group}.\nTopic: {answer or 'weather'}"
            rows.append(
                {
                    "id": f"{language}-{group}",
                    "language": language,
                    "group": f"g{group}",
                    "fields": {"text": f"{TEXTS[language]} {group}"},
                    "target": target,
                    "references": [target],
                    "rationale": {"text": text, "answer": answer, "status": "ok"},
                }
            )
    return rows


def make_run(
    folder: Path,
    *,
    recipes: Sequence[str] = FEW,
    sizes: Sequence[int] = (50, 100, 200),
    seeds: Sequence[int] = (0, 1),
    groups: int = 40,
    languages: Sequence[str] = tuple(TEXTS),
    fail: float = 0.01,
    metric_names: Sequence[str] = ("accuracy", "macro_f1", "auc_pr"),
    labels: Sequence[str] = LABELS,
) -> Path:
    """Write a finished run; `fail` is the share of failed rows.

    The first metric is the primary one. For a free-text task give qa_f1 and answers as labels.
    """
    rows = make_rows(groups, languages, labels)
    folder.mkdir(parents=True)
    names = list(metric_names)
    cells = []
    for recipe in recipes:
        tuned = not recipe.startswith("icl")
        for size in sizes if tuned else [None]:
            for seed in seeds if tuned else [None]:
                place = f"{recipe}-n{size or 0}-s{seed or 0}"
                cells.append({"folder": place, "recipe": recipe, "size": size, "seed": seed})
                _write_cell(folder / "cells" / place, cells[-1], rows, names, labels, fail)
    _dump(folder / "test.jsonl", rows)
    (folder / "run.json").write_text(json.dumps(_info(rows, cells, names, labels)))
    return folder


def _info(
    rows: list[dict[str, Any]],
    cells: list[dict[str, Any]],
    names: list[str],
    labels: Sequence[str],
) -> Any:
    return {
        "version": 1,
        "title": "Topics of sentences in six languages",
        "task": {
            "name": "sib200",
            "description": "Which topic a sentence is about.",
            "primary": names[0],
            "metrics": names,
            "labels": [] if "qa_f1" in names else list(labels),
        },
        "config": {
            "version": 1,
            "task": "sib200",
            "data": {"file": "${FIATKIT_DATA}/sib200_major/train.jsonl", "test_rows": 240},
            "large": {"provider": "llama_cpp", "model": "qwen2.5-coder-1.5b"},
            "small": {"model": "smollm2-135m"},
            "recipes": ["icl", "lora", "instruct", "fiat"],
            "sizes": [50, 100, 200],
            "seeds": [0, 1],
            "out": "/somewhere/else",
        },
        "fingerprints": {
            "data": "5f2790c3bfa973fa36e41219912e75c7f56f1552dc0082eae414f5bc2cd2ee92"
        },
        "cells": cells,
        "data": {
            "train": 700,
            "dev": 60,
            "test": len(rows),
            "test_groups": len({row["group"] for row in rows}),
            "held_out": 12,
            "notes": ["12 rows held out with the exemplars."],
        },
        "models": {
            "large": {"provider": "llama_cpp", "model": "qwen2.5-coder-1.5b"},
            "small": {"model": "smollm2-135m", "device": "auto"},
        },
        "fiatkit": "0.1.0",
        "started": "2026-11-23T01:20:07+00:00",
    }


def _predict(
    row: dict[str, Any],
    plan: dict[str, Any],
    rng: random.Random,
    labels: Sequence[str],
    fail: float,
) -> Prediction:
    if rng.random() < fail:
        return Prediction(row["id"], None, "failed:no_answer", None, "I cannot tell \x1b[31m.")
    gain = 0.0 if plan["size"] is None else plan["size"] / 200 * 0.12 - 0.06
    right = rng.random() < SKILL[plan["recipe"]] + gain
    wrong = [label for label in labels if label != row["target"]]
    answer = row["target"] if right else rng.choice(wrong)
    if plan["size"] is None:
        return Prediction(row["id"], answer, "ok", None, answer)
    shares = {label: 0.1 for label in labels} | {answer: 0.6}
    return Prediction(row["id"], answer, "ok", shares, answer)


def _write_cell(
    folder: Path,
    plan: dict[str, Any],
    rows: list[dict[str, Any]],
    names: list[str],
    labels: Sequence[str],
    fail: float,
) -> None:
    rng = random.Random(f"{plan['folder']}")
    predictions = [_predict(row, plan, rng, labels, fail) for row in rows]
    scored = [
        ScoredRow(
            Example(
                Query(row["id"], row["fields"], row["language"]), row["target"], (), row["group"]
            ),
            prediction,
        )
        for row, prediction in zip(rows, predictions, strict=True)
    ]
    scores = {n: _score(n, scored, labels) for n in names}
    large = plan["recipe"] in ("icl", "icl_constrained", "fiat", "answer_hint", "stack")
    calls = len(rows) + (plan["size"] or 0) + 60 if large else 0
    floor = plan["recipe"] in ("majority", "tfidf")
    spent = 0.0001 if floor else 0.02 + 0.01 * (sum(plan["recipe"].encode()) % 7)
    record = {
        "recipe": plan["recipe"],
        "label": LABEL.get(plan["recipe"], f"What {plan['recipe']} does"),
        "kind": "floor" if floor else "recipe",
        "size": plan["size"],
        "seed": plan["seed"],
        "train_groups": None if plan["size"] is None else plan["size"] * 9 // 10,
        "scores": scores,
        "counts": scores[names[0]]["counts"],
        "usage": {
            "calls": calls,
            "prompt_tokens": calls * 343,
            "completion_tokens": calls * 24,
            "cached_tokens": calls * 300,
        },
        "seconds": {
            "rationales": calls * 2.1,
            "tuning": (plan["size"] or 0) * 1.4,
            "prediction": len(rows) * spent,
        },
        "history": [],
        "notes": ["1 training row left out: failed:truncated"] if plan["recipe"] == "fiat" else [],
    }
    folder.mkdir(parents=True)
    (folder / "cell.json").write_text(json.dumps(record))
    _dump(
        folder / "predictions.jsonl",
        [
            {
                "id": p.query_id,
                "answer": p.answer,
                "status": p.status,
                "probabilities": p.probabilities,
                "text": p.text,
            }
            for p in predictions
        ],
    )


def _score(name: str, rows: Sequence[ScoredRow], labels: Sequence[str]) -> dict[str, Any]:
    """The score as a run has it; with a rough interval where resampling would take long."""
    return asdict(metrics.evaluate(name, rows, labels, resamples=200 if len(rows) < QUICK else 10))


def _dump(path: Path, rows: Sequence[Any]) -> None:
    path.write_text("".join(json.dumps(row) + "\n" for row in rows), encoding="utf-8")

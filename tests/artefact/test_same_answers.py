"""50 rows of SIB-200 get the same answers from fiatkit, plain peft and merged transformers.

llama.cpp does not weigh whole labels but writes greedily under a grammar, which is another way to
answer (docs/log.md): there F16 is held to F32, and how often it agrees with fiatkit is printed.

Minutes: python -m pytest -m slow tests/artefact/test_same_answers.py
"""

import json
import os
from collections import Counter
from pathlib import Path

import pytest
from tests.artefact.test_export import asked_outside

from fiatkit.api import fit
from fiatkit.artefact.export import export
from fiatkit.experiment.single import load_fitted
from fiatkit.models.providers.llama_cpp import Settings, Worker
from fiatkit.recipes.predictor import small_prompt
from fiatkit.tasks import load_queries

LANGUAGES = {"eng_Latn", "spa_Latn", "fra_Latn", "deu_Latn", "por_Latn"}
ROWS = 50
DATA = Path(os.environ.get("FIATKIT_DATA", "data")) / "sib200_major"
pytestmark = [
    pytest.mark.slow,
    pytest.mark.weights,
    pytest.mark.skipif(not DATA.is_dir(), reason="FIATKIT_DATA has no sib200_major"),
]


def few_rows(folder: Path) -> None:
    """Four short rows a label to tune on, and 50 short rows of all languages to ask."""
    seen: Counter[str] = Counter()
    train, test = [], []
    for line in (DATA / "train.jsonl").read_text(encoding="utf-8").splitlines():
        row = json.loads(line)
        if row["language"] in LANGUAGES and len(row["text"]) < 110 and seen[row["label"]] < 4:
            seen[row["label"]] += 1
            train.append(line)
    lines = (DATA / "test.jsonl").read_text(encoding="utf-8").splitlines()
    test = [line for line in lines if len(json.loads(line)["text"].encode()) < 160][::10][:ROWS]
    (folder / "train.jsonl").write_text("\n".join(train) + "\n", encoding="utf-8")
    (folder / "test.jsonl").write_text("\n".join(test) + "\n", encoding="utf-8")


def by_llama(
    folder: Path, precision: str, prompts: list[list[int]], labels: list[str]
) -> list[str]:
    """Greedy answers of llama.cpp, held to the labels, to prompts as ids."""
    name = f"model-{precision}.gguf"
    quoted = " | ".join(json.dumps(label) for label in labels)
    worker = Worker(str(folder / name), Settings(model=name, context=1024))
    body = {"n_predict": 24, "temperature": 0, "samplers": ["temperature"]}
    body["grammar"] = f"root ::= {quoted}"
    try:
        answers = [worker.post("/completion", body | {"prompt": ids}) for ids in prompts]
    finally:
        worker.stop()
    return [answer["content"].strip() for answer in answers]


def test_fifty_rows_get_the_same_answers_everywhere(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    few_rows(tmp_path)
    config = {
        "task": "sib200",
        "data": {"train": "train.jsonl", "test": "test.jsonl"},
        "small": {"model": "smollm2-135m", "device": "cpu"},
        "sizes": [20],
        "tuning": {"epochs": 2, "learning_rate": 1e-3},
    }
    fit(config, out="model", recipe="lora", progress=False)
    compare(Path("model"), Path("test.jsonl"), tmp_path)


def compare(model: Path, rows: Path, folder: Path) -> dict[str, int]:
    """Answer the rows in every way; returns how many of them each way answers as fiatkit does."""
    fitted = load_fitted(model)
    task, small = fitted.task, fitted.predictor.small
    queries = load_queries(task, rows)
    ours = [p.answer for p in fitted.predictor.predict(queries, {})]
    assert len(ours) == ROWS and len(set(ours)) > 1
    asked = [{"row": dict(query.fields)} for query in queries]
    shown = [small_prompt(task, fitted.recipe, query, None) for query in queries]
    prompts = [list(small.encode(prompt, max_length=1000, reserve=20).ids) for prompt in shown]
    found: dict[str, list[str]] = {}
    for kind in ("peft", "merged"):
        export(model, kind, folder / kind)
        found[kind] = asked_outside(folder / kind, asked, folder)
    for precision in ("f32", "f16", "q8_0"):
        export(model, "gguf", folder / precision, precision=precision)
        found[precision] = by_llama(folder / precision, precision, prompts, task.choices or [])
    same = {
        way: sum(a == b for a, b in zip(ours, answers, strict=True))
        for way, answers in found.items()
    }
    print(same, dict(Counter(ours)))
    assert same["peft"] >= ROWS - 1 and same["merged"] >= ROWS - 1
    assert sum(a == b for a, b in zip(found["f32"], found["f16"], strict=True)) >= ROWS - 1
    return same

"""50 rows get the same answers from fiatkit, plain peft, merged transformers, and llama.cpp.

Each export is asked by the code of its own card, on a SmolLM2 that was tuned in earnest. A label
task, where whole labels are weighed, and questions, to which the model writes. Quantised files are
counted, not held to anything; and so are the labels that llama.cpp writes greedily under a grammar,
which is another rule.

Minutes: python -m pytest -m slow -s tests/artefact/test_same_answers.py
"""

import json
import os
from collections import Counter
from pathlib import Path
from typing import Any

import pytest
from tests.artefact import outside
from tests.artefact.test_export import asked_outside

from fiatkit.api import fit
from fiatkit.artefact.export import export
from fiatkit.experiment.single import load_fitted
from fiatkit.tasks import load_new_rows

ROWS = 50
DATA = Path(os.environ.get("FIATKIT_DATA", "data"))
TASKS = {  # set: task, languages, longest row in bytes, training rows
    "sib200_major": ("sib200", [f"{c}_Latn" for c in ("eng", "spa", "fra", "deu", "por")], 160, 96),
    "xquad_crosslingual": ("cross_language_qa", ["es", "de"], 700, 40),
}
pytestmark = [
    pytest.mark.slow,
    pytest.mark.weights,
    pytest.mark.skipif(not DATA.is_dir(), reason="FIATKIT_DATA is not set"),
]


def few_rows(name: str, folder: Path) -> None:
    """Short rows to tune on, and 50 to ask."""
    _, languages, longest, count = TASKS[name]
    for split, most in (("train", count), ("test", ROWS)):
        lines = (DATA / name / f"{split}.jsonl").read_text(encoding="utf-8").splitlines()
        rows = [json.loads(line) for line in lines]
        kept = [
            line
            for line, row in zip(lines, rows, strict=True)
            if row["language"] in languages
            and len((row.get("text") or row["context"]).encode()) < longest
        ]
        text = "\n".join(kept[:most]) + "\n"
        (folder / f"{split}.jsonl").write_text(text, encoding="utf-8")


@pytest.mark.parametrize("name", TASKS)
def test_fifty_rows_get_the_same_answers_everywhere(
    name: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    few_rows(name, tmp_path)
    config = {
        "task": TASKS[name][0],
        "data": {"train": "train.jsonl", "test": "test.jsonl"},
        "small": {"model": "smollm2-135m", "device": "cpu"},
        "sizes": ["all"],
        "tuning": {"epochs": 4},
    }
    fit(config, out="model", recipe="instruct", progress=False)
    compare(Path("model"), Path("test.jsonl"), tmp_path)


def compare(model: Path, rows: Path, folder: Path) -> None:
    """Answer the rows in every way, and count those that are answered as fiatkit does."""
    fitted = load_fitted(model)
    queries = load_new_rows(fitted.task, rows).queries
    ours = [p.text.strip() for p in fitted.predictor.predict(queries, {})]
    assert len(ours) == ROWS and len(set(ours)) > 1
    asked = [{"row": dict(query.fields)} for query in queries]
    found: dict[str, list[str]] = {}
    for kind in ("peft", "merged"):
        export(model, kind, folder / kind)
        found[kind] = asked_outside(folder / kind, asked, folder)
    for precision in ("f32", "f16", "q8_0"):
        export(model, "gguf", folder / precision, precision=precision)
        with outside.at_llama(folder / precision, f"model-{precision}.gguf") as names:
            found[precision] = [names["answer"](**row) for row in asked]
            if fitted.task.choices and precision == "f32":
                found["f32, greedy"] = [greedily(names, row) for row in asked]
    same = {
        way: sum(a == b for a, b in zip(ours, answers, strict=True))
        for way, answers in found.items()
    }
    print(f"\n{fitted.task.name}: {same}; fiatkit's: {Counter(ours).most_common(5)}")
    assert all(same[way] >= ROWS - 1 for way in ("peft", "merged", "f32", "f16")), same


def greedily(names: dict[str, Any], row: dict[str, Any]) -> str:
    """What llama.cpp writes under a grammar of the labels."""
    labels = [json.dumps(label) for label in names["form"]["labels"]]
    body = {"prompt": names["prompt_ids"](**row), "n_predict": 24, "temperature": 0}
    body |= {"samplers": ["temperature"], "grammar": f"root ::= {' | '.join(labels)}"}
    return str(names["complete"](body)["content"]).strip()

"""fiat doctor tells of a missing key before anything is sent."""

from pathlib import Path

import pytest
from tests.command import fiat

FILES = {
    "rows.csv": "text,label\n" + "".join(f"text number {n},{'ab'[n % 2]}\n" for n in range(20)),
    "task.yaml": """\
name: toy
fields: [text]
target: label
labels: [a, b]
reasoning: {instruction: "Say a or b after Answer:"}
tuning: {instruction: Say a or b.}
""",
    "run.yaml": """\
task: task.yaml
data: {file: rows.csv, dev_rows: 4, test_rows: 4}
large: {provider: openai_compatible, base_url: https://llm.example/v1, model: m, api_key_env: K1}
small: {model: smollm2-135m}
recipes: [icl]
sizes: [4]
""",
}


def test_a_missing_key_is_noted(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    for name, text in FILES.items():
        (tmp_path / name).write_text(text)
    monkeypatch.delenv("K1", raising=False)
    assert "K1 holds no key" in fiat(tmp_path, "doctor", "run.yaml")
    monkeypatch.setenv("K1", "secret-key")
    told = fiat(tmp_path, "doctor", "run.yaml")
    assert "holds no key" not in told and "secret-key" not in told

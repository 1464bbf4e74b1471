"""A small run: a task that rationales solve and the text alone does not."""

from pathlib import Path

import pytest

TASK = """
version: 1
name: toy
id: id
fields: [text]
language: language
target: label
labels: [warm, cold]
reasoning: {instruction: Say warm or cold., marker: "Answer:", max_tokens: 32}
tuning: {instruction: Say warm or cold.}
exemplars:
  - {fields: {text: hot tea}, target: warm, rationale: "It is hot. Answer: warm\\nAnswer: warm"}
"""
RUN = """
version: 1
task: task.yaml
data: {{file: rows.csv, dev_rows: 8, test_rows: 16}}
large:
  provider: scripted
  answers: {{"sun|sol": "It is warm there.\\nAnswer: warm", "ice|hielo": "Answer: cold"}}
  default: "I cannot tell."
small: {{model: {model}, plain: {plain}}}
recipes: [icl, lora, instruct, fiat, finetune]
sizes: [8, 16]
seeds: [0, 1]
tuning: {{epochs: 2, learning_rate: 0.01}}
"""


def rows() -> str:
    words = {"warm": ["sun", "sol"], "cold": ["ice", "hielo"]}
    lines = ["id,language,text,label"]
    for number in range(48):
        label = ["warm", "cold"][number % 2]
        language = ["en", "es"][number // 2 % 2]
        word = words[label][number // 2 % 2]
        lines.append(f"r{number},{language},{word} number {number},{label}")
    return "\n".join(lines) + "\n"


@pytest.fixture
def run_folder(tmp_path: Path, tiny_chat_model: Path, tiny_plain_model: Path) -> Path:
    """A folder with task.yaml, rows.csv and run.yaml on the tiny chat model."""
    (tmp_path / "task.yaml").write_text(TASK)
    (tmp_path / "rows.csv").write_text(rows())
    (tmp_path / "run.yaml").write_text(RUN.format(model=tiny_chat_model, plain=tiny_plain_model))
    return tmp_path

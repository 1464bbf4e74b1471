"""Rows as the products of both stages, for benchmarks of the small model.

Rationales are real ones by qwen2.5-coder-0.5b, kept in benchmarks/.cache, so that only the first
run writes them. Needs `FIATKIT_DATA`.
"""

import os
import sys
from dataclasses import dataclass
from pathlib import Path

from fiatkit.models import create_chat_model
from fiatkit.models.local import SmallModel
from fiatkit.reasoning import RationaleStore, Reasoner
from fiatkit.recipes import FIAT
from fiatkit.recipes.predictor import small_prompt, training_pairs
from fiatkit.records import Example, Rationale, SmallPrompt, TrainingPair
from fiatkit.tasks import Task, load_examples, load_task

CACHE = Path(__file__).parent / ".cache"
LARGE = {"provider": "llama_cpp", "model": "qwen2.5-coder-0.5b"}
SETS = {"sib200_major": "sib200", "xquad_crosslingual": "cross_language_qa"}


@dataclass(frozen=True)
class Rows:
    """Rows of one set with their rationales."""

    task: Task
    examples: list[Example]
    rationales: dict[str, Rationale]

    def pairs(self) -> list[TrainingPair]:
        """What FIAT tunes on."""
        return training_pairs(self.task, FIAT, self.examples, self.rationales)[0]

    def prompts(self) -> list[SmallPrompt]:
        """What FIAT reads when it predicts."""
        found = ((e.query, self.rationales[e.id]) for e in self.examples)
        return [small_prompt(self.task, FIAT, query, r) for query, r in found if r.status == "ok"]


def rows_of(name: str, split: str, count: int) -> Rows:
    """The first `count` rows of a set's split."""
    folder = os.environ.get("FIATKIT_DATA") or sys.exit("Set FIATKIT_DATA; see docs/test_sets.md.")
    task = load_task(SETS[name])
    examples = list(load_examples(task, Path(folder) / name / f"{split}.jsonl"))[:count]
    CACHE.mkdir(exist_ok=True)
    with Reasoner(task, create_chat_model(LARGE), RationaleStore(CACHE / "store.sqlite")) as large:
        rationales = large.expand([example.query for example in examples])
    return Rows(task, examples, rationales)


def tuned_folder(ref: str) -> tuple[SmallModel, Path]:
    """A small model, and the folder that transformers loads it from."""
    from fiatkit.models import catalogue

    return SmallModel.load(ref, device="cpu"), catalogue.resolve_transformers(ref)[0]

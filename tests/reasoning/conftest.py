"""A task and a scripted model for the store and the engine."""

from collections.abc import Callable
from pathlib import Path

import pytest

from fiatkit.models.providers.scripted import Scripted, Settings
from fiatkit.reasoning import RationaleStore, Reasoner
from fiatkit.records import Completion, Query, Request
from fiatkit.settings import parse
from fiatkit.tasks import Task

TASK = parse(
    Task,
    {
        "name": "toy",
        "fields": ["text"],
        "target": "label",
        "labels": ["warm", "cold"],
        "reasoning": {"instruction": "Say warm or cold."},
        "tuning": {"instruction": "Say."},
    },
    "toy",
)


class Playing(Scripted):
    """Plays a list of outcomes for each text: a completion, or an error to raise."""

    def __init__(self, play: Callable[[str, int], Completion | Exception | None]) -> None:
        super().__init__(Settings(default="Answer: warm", concurrency=4))
        self.play = play
        self.asked: list[str] = []

    async def complete(self, request: Request) -> Completion:
        text = request.messages[-1].content
        self.asked.append(text)
        outcome = self.play(text, self.asked.count(text))
        if isinstance(outcome, Exception):
            raise outcome
        return await super().complete(request) if outcome is None else outcome


@pytest.fixture
def queries() -> list[Query]:
    return [Query(f"q{i}", {"text": f"number {i}."}) for i in range(12)]


@pytest.fixture
def reasoner_of(tmp_path: Path) -> Callable[[Scripted], Reasoner]:
    def make(model: Scripted) -> Reasoner:
        return Reasoner(TASK, model, RationaleStore(tmp_path / "store.sqlite"))

    return make

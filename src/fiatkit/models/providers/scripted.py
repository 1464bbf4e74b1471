"""The fake large model that ships: answers by rule, so that everything runs without weights."""

from __future__ import annotations

import asyncio
import hashlib
import json
import re
from collections.abc import Iterator

from pydantic import Field, field_validator

from fiatkit.records import Completion, Finish, ModelIdentity, Request, Usage
from fiatkit.settings import Strict


class Settings(Strict):
    """Keys of `large:` in a run file for this provider.

    Attributes:
        model: a name for the store's key.
        answers: regular expression -> text; the first that is found in the last message answers.
            `\\1` in the text is the expression's first group.
        default: the answer where none is found.
        latency: seconds that each call takes.
        concurrency: calls that may be under way at once.
    """

    provider: str = "scripted"
    model: str = "scripted"
    answers: dict[str, str] = {}
    default: str = "I do not know."
    latency: float = Field(default=0.0, ge=0)
    concurrency: int = Field(default=8, ge=1)

    @field_validator("answers")
    @classmethod
    def _expressions(cls, value: dict[str, str]) -> dict[str, str]:
        for expression, text in value.items():
            try:
                re.compile(expression)
            except re.error as error:
                raise ValueError(f'"{expression}" is no regular expression: {error}') from None
            try:
                re.sub(f"{expression}\n|", text, "")
            except (re.error, IndexError) as error:
                raise ValueError(f'"{text}" cannot answer "{expression}": {error}') from None
        return value


def create(settings: Settings) -> Scripted:
    """Make the model."""
    return Scripted(settings)


class Scripted:
    """Answers by rule. Implements `ChatModel`; `calls` counts what it was asked."""

    def __init__(self, settings: Settings) -> None:
        self.settings = settings
        self.slots = settings.concurrency
        self.calls = 0
        rules = json.dumps([settings.answers, settings.default])
        revision = hashlib.sha256(rules.encode()).hexdigest()
        self.identity = ModelIdentity("scripted", "", settings.model, revision)

    async def complete(self, request: Request) -> Completion:
        """Answer by the first rule that fits."""
        self.calls += 1
        await asyncio.sleep(self.settings.latency)
        asked = request.messages[-1].content
        text = next(self._matches(asked), self.settings.default)
        if request.choices and text not in request.choices:
            text = request.choices[0]
        finish: Finish = "stop" if text.strip() else "empty"
        read = sum(len(message.content.split()) for message in request.messages)
        usage = Usage(read, len(text.split()), 0)
        return Completion(text, finish, usage, self.settings.model, self.settings.latency)

    def _matches(self, asked: str) -> Iterator[str]:
        for rule, text in self.settings.answers.items():
            if match := re.search(rule, asked):
                yield match.expand(text)

    async def close(self) -> None:
        """Nothing to free."""

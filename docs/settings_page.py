"""The text of docs/settings.md, from the classes that read run files and task files.

Keys, types and defaults are the fields'; what a key means is its line under `Attributes:` in the
docstring of its class, and a key without one is an error.
"""

from __future__ import annotations

import inspect
import re
import sys
from pathlib import Path
from types import NoneType
from typing import Annotated, Any, Literal, get_args, get_origin

from pydantic import BaseModel
from pydantic.fields import FieldInfo

from fiatkit import registry
from fiatkit.config import LargeSettings, RunConfig, SetFitSettings, SmallSettings
from fiatkit.models.cluster import RaySettings
from fiatkit.reasoning.policy import Policy
from fiatkit.reasoning.prices import Price
from fiatkit.tasks import DataSettings, Task
from fiatkit.tasks.task import Choice, ExemplarSettings, Reasoning, Tuning
from fiatkit.tuning import TuningSettings

INTRODUCTION = """# Settings

Made by `make docs` from the classes that read the files. Unknown keys are refused, with a \
suggestion. A default of `–` means that the key is not set. `fiat init` writes both files; \
[README.md](../README.md) has one of each.
"""
RUN_BLOCKS: dict[str, type[BaseModel]] = {
    "data": DataSettings,
    "small": SmallSettings,
    "large": LargeSettings,
    "tuning": TuningSettings,
    "setfit": SetFitSettings,
    "limits": Policy,
    "prices: {NAME: ...}": Price,
    "ray": RaySettings,
}
TASK_BLOCKS: dict[str, type[BaseModel]] = {
    "reasoning": Reasoning,
    "tuning": Tuning,
    "exemplars: [...]": ExemplarSettings,
    "choose: {COLUMN: ...}": Choice,
}
WORDS = {str: "text", int: "whole number", float: "number", bool: "true or false", Path: "path"}
BOUNDS = {"ge": "at least", "gt": "more than", "le": "at most", "lt": "less than"}
COUNTS = {"min_length": "at least", "max_length": "at most"}


def page() -> str:
    """The page's text."""
    parts = [INTRODUCTION, *_section("## Run file", RunConfig)]
    for name, block in RUN_BLOCKS.items():
        parts += _section(f"### Run file, `{name}`", block)
        if block is LargeSettings:
            parts += _providers()
    parts += _section("## Task file", Task)
    for name, block in TASK_BLOCKS.items():
        parts += _section(f"### Task file, `{name}`", block)
    return "\n".join(parts)


def _providers() -> list[str]:
    """A table for each provider of a large model."""
    parts: list[str] = []
    for name in registry.names("models.providers"):
        block = registry.get("models.providers", name).Settings
        parts += _section(f"### Run file, `large` with `provider: {name}`", block, ("provider",))
    return parts


def _section(title: str, block: type[BaseModel], without: tuple[str, ...] = ()) -> list[str]:
    """Title, what the class says of itself, and a row for each of its keys."""
    told, meanings = _docstring(block)
    if wrong := set(meanings) ^ set(block.model_fields) - set(without):
        where = f"{block.__module__}.{block.__name__}"
        sys.exit(f"{where}: no key, or no line under Attributes: {', '.join(sorted(wrong))}")
    rows = [
        f"| `{key}` | {_type(field)} | {_default(field)} | {_cell(meanings[key])} |"
        for key, field in block.model_fields.items()
        if key not in without
    ]
    table = ["| key | type | default | meaning |", "|---|---|---|---|", *rows]
    return [f"{title}\n", *(f"{paragraph}\n" for paragraph in told), *table, ""]


def _docstring(block: type[BaseModel]) -> tuple[list[str], dict[str, str]]:
    """The paragraphs of a class's docstring, and the meaning of each of its attributes."""
    text, _, attributes = inspect.cleandoc(block.__doc__ or "").partition("\nAttributes:\n")
    meanings: dict[str, str] = {}
    for names, meaning in re.findall(
        r"(?m)^    ([\w, ]+): ((?:.+\n?(?:     +.+\n?)*))", attributes
    ):
        meanings |= dict.fromkeys(names.split(", "), " ".join(meaning.split()))
    return [" ".join(paragraph.split()) for paragraph in text.strip().split("\n\n")], meanings


def _type(field: FieldInfo) -> str:
    """What may stand there, in words, with its bounds."""
    told = _words(field.annotation)
    limits = {
        key: getattr(bound, key)
        for bound in field.metadata
        for key in (*BOUNDS, *COUNTS)
        if getattr(bound, key, None) is not None
    }
    bounds = [f"{BOUNDS[key]} {value}" for key, value in limits.items() if key in BOUNDS]
    bounds += [f"{COUNTS[key]} {value} of them" for key, value in limits.items() if key in COUNTS]
    return ", ".join([told, *bounds])


def _words(annotation: Any) -> str:
    """A type in words."""
    kind, parts = get_origin(annotation), get_args(annotation)
    if kind is Annotated:
        above = any(getattr(part, "gt", None) == 0 for part in parts[1:])
        return f"{_words(parts[0])} above 0" if above else _words(parts[0])
    if kind is Literal:
        return ", ".join(f"`{value}`" for value in parts)
    if kind in (list, tuple):
        return f"list of {_words(parts[0])}"
    if kind is dict:
        return f"{{{_words(parts[0])}: {_words(parts[1])}}}"
    if parts:
        return " or ".join(_words(part) for part in parts if part is not NoneType)
    if issubclass(annotation, BaseModel):
        return "block"
    return WORDS.get(annotation, "number")


def _default(field: FieldInfo) -> str:
    """The value that stands there if the key does not."""
    value = field.default
    if field.is_required():
        return "needed"
    if isinstance(value, BaseModel) or value in (None, "", [], {}, ()):
        return "–"
    if isinstance(value, list):
        return f"`[{', '.join(map(str, value))}]`"
    return f"`{str(value).lower() if isinstance(value, bool) else value}`"


def _cell(text: str) -> str:
    return text.replace("|", "\\|")

"""Begin: from a user's file to a task YAML and a run YAML that run as they are."""

from __future__ import annotations

import os
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import yaml

from fiatkit.data import Row
from fiatkit.errors import DataError, UsageError
from fiatkit.files import write_whole
from fiatkit.models import catalogue, is_enough, provider_names
from fiatkit.settings import parse
from fiatkit.tasks import DataSettings, DataSplits, Task, load_data
from fiatkit.tasks.answers import as_text
from fiatkit.tasks.propose import Proposal
from fiatkit.tasks.written import scalar, task_yaml

LEAST_ROWS = 20
MOST = {"dev": 64, "test": 256, "train": 400}
SMALL = "smollm2-135m"
LARGE = "qwen2.5-coder-0.5b"
ROOM = 40  # training rows that exemplars and their groups may take
BAD_SHARE = 0.2  # of rows that may be left out without a question


@dataclass(frozen=True, slots=True)
class Started:
    """Two files' texts, not written yet, and what the run will be made of."""

    task: str
    run: str
    data: DataSplits


def start(
    file: Path,
    rows: Sequence[Row],
    proposal: Proposal,
    out: Path,
    large: Mapping[str, str],
    small: str = SMALL,
    encoding: str | None = None,
) -> Started:
    """Write the texts of task.yaml and run.yaml, and try them: the rows are read and split.

    Args:
        file: the user's file.
        rows: its rows.
        proposal: what they mean.
        out: the folder where the two files will be.
        large: the `large:` block.
        small: the small model.
        encoding: of the file, if it is text and not UTF-8.

    Raises:
        UsageError: too few rows, or no such small model.
        DataError: many rows do not fit the proposal, or two labels are nearly the same.
    """
    catalogue.check_name(small)
    if len(rows) < LEAST_ROWS:
        raise UsageError(
            f'"{file}" has {len(rows)} rows; at least {LEAST_ROWS} are needed to train on some and '
            "to test on others.",
            "Some hundred labelled rows are a good start.",
        )
    _refuse_alike(file, rows, proposal)
    dev, test = (min(MOST[n], len(rows) * share // 100) for n, share in (("dev", 15), ("test", 30)))
    text = task_yaml(proposal, _name(file), file.name)
    settings = DataSettings(file=file, dev_rows=dev, test_rows=test, encoding=encoding)
    task = parse(Task, yaml.safe_load(text), "task.yaml")
    skip = False
    try:
        data = load_data(task, settings)
    except DataError:
        skip = True
        data = load_data(task, settings.model_copy(update={"skip_bad": True}))
        if len(data.train) + len(data.dev) + len(data.test) < (1 - BAD_SHARE) * len(rows):
            raise
    where = os.path.relpath(file.resolve(), out.resolve())
    block = _data_block(where, dev, test, skip, encoding)
    return Started(text, _run_yaml(block, large, small, _sizes(data)), data)


def write(started: Started, out: Path, *, force: bool) -> tuple[Path, Path]:
    """Write task.yaml and run.yaml; returns their paths.

    Raises:
        UsageError: one of them is there already, and `force` is not set.
    """
    paths = out / "task.yaml", out / "run.yaml"
    there = [path for path in paths if path.exists()]
    if there and not force:
        raise UsageError(
            f'"{there[0]}" exists already and is left as it is.',
            "Choose another folder with --out, or replace it with --force.",
        )
    for path, text in zip(paths, (started.task, started.run), strict=True):
        write_whole(path, text.encode())
    return paths


def large_block(told: str, base_url: str = "") -> dict[str, str]:
    """The `large:` block for what the user typed: NAME of the catalogue, a GGUF file, or
    PROVIDER:MODEL.

    Raises:
        UsageError: it is none of these.
    """
    provider, _, model = told.partition(":")
    if provider in provider_names():
        if not model and not is_enough(provider):
            raise UsageError(f'"{told}" does not say which large model.', f"Give {provider}:MODEL.")
        block = {"provider": provider} | ({"model": model} if model else {})
        return block | ({"base_url": base_url} if base_url else {})
    if told in catalogue.names() or told.endswith(".gguf"):
        return {"provider": "llama_cpp", "model": told}
    raise UsageError(
        f'"{told}" is no large model.',
        f"Give a name of `fiat models list` ({', '.join(catalogue.names())}), the path of a GGUF "
        f"file, or PROVIDER:MODEL with one of {', '.join(provider_names())}.",
    )


def _name(file: Path) -> str:
    stem = file.name.split(".")[0]
    return re.sub(r"\W+", "_", stem).strip("_") or "my_task"


def _refuse_alike(file: Path, rows: Sequence[Row], proposal: Proposal) -> None:
    """Two labels that differ in nothing but case and space are a slip: name the rows of one."""
    seen: dict[str, str] = {}
    for label in proposal.labels:
        other = seen.setdefault(label.strip().casefold(), label)
        if other == label:
            continue
        texts = [as_text(row.values.get(proposal.target))[0] for row in rows]
        rarer = min(other, label, key=texts.count)
        lines = [str(row.line) for row, text in zip(rows, texts, strict=True) if text == rarer]
        where = f"{rows[0].counted} {', '.join(lines[:5])}{' ...' if len(lines) > 5 else ''}"
        raise DataError(
            f'"{file}", column {proposal.target}: "{other}" and "{label}" differ in nothing but '
            f'case and space. "{rarer}" stands in {where}.',
            "Write each label alike in all rows; nothing is trimmed or mapped for you.",
        )


def _sizes(data: DataSplits) -> tuple[int | str, ...]:
    """All training rows, also when exemplars have taken some, up to a bound that one evening
    allows; a smaller size too, if they are many."""
    train = len(data.train)
    most: int | str = MOST["train"] if train > MOST["train"] + ROOM else "all"
    part = min(train, MOST["train"]) // 4
    return (most,) if train < 80 else (part - part % 10, most)


def _data_block(file: str, dev: int, test: int, skip_bad: bool, encoding: str | None) -> str:
    parts = [f"file: {scalar(file)}", f"dev_rows: {dev}", f"test_rows: {test}"]
    parts += [f"encoding: {scalar(encoding)}"] if encoding else []
    parts += ["skip_bad: true"] if skip_bad else []
    comment = "# skip_bad leaves bad rows out, counted.\n" if skip_bad else ""
    return f"{comment}data: {{{', '.join(parts)}}}"


def _run_yaml(data: str, large: Mapping[str, str], small: str, sizes: Sequence[int | str]) -> str:
    told = "{" + ", ".join(f"{key}: {scalar(value)}" for key, value in large.items()) + "}"
    return f"""\
# What is compared. Check it without spending anything:  fiat doctor run.yaml --show 2
# Then:                                                   fiat compare run.yaml
version: 1
task: task.yaml
# Rows for choosing the best epoch (dev) and for the scores (test); the rest is trained on. Groups
# stay whole, and the choice is mixed over languages and labels. If rows are few, test on each of
# them in turn:  fiat compare run.yaml --folds 5
{data}
# The model that reasons. It is never tuned. Any OpenAI-compatible endpoint will do as well; its
# key comes from the environment variable that api_key_env names, never from a file:
# large: {{provider: openai_compatible, base_url: https://host/v1, model: NAME, api_key_env: KEY}}
large: {told}
# The model that is tuned: a name of `fiat models list`, a folder, or a hub id.
small: {{model: {scalar(small)}}}
# icl: the large model answers alone. lora, instruct: the small one, tuned without rationales; if
# instruct is level with fiat on your data, take instruct: it needs no large model.
recipes: [icl, lora, instruct, fiat]
# How many rows are trained on, or all; with several sizes the report draws a curve.
sizes: [{", ".join(map(str, sizes))}]
# More seeds tell luck from merit: [0, 1, 2]
seeds: [0]
tuning: {{epochs: 4}}
"""

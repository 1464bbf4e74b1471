"""From files to examples: every row checked, groups found over all files, exemplars held out."""

from __future__ import annotations

import codecs
import hashlib
import json
import os
import re
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Literal

from pydantic import Field, field_validator, model_validator

from fiatkit.data import Row, frame_rows, group_rows, read_rows
from fiatkit.data.splits import check_overlap, folds, nested_subset, normal, split
from fiatkit.errors import DataError, SettingsError, UnknownNameError
from fiatkit.records import Example, Query
from fiatkit.settings import Strict, load
from fiatkit.tasks.remarks import remarks
from fiatkit.tasks.rows import (
    check_columns,
    example_of,
    grouping,
    names_of,
    query_of,
    refuse_bad,
    refuse_duplicates,
    unknown_label,
    with_choices,
)
from fiatkit.tasks.task import Task, first_name

BUILT_IN = Path(__file__).with_name("builtin")
TEMPLATES = Path(__file__).with_name("templates")
PARTS = ("file", "train", "dev", "test")


class DataSettings(Strict):
    """Where the rows are: one `file` that is split, or train, dev and test files (or folders).

    `${NAME}` in a path is the environment variable NAME. Without any path, the rows must come as
    frames.

    Attributes:
        file: all rows; they are split, group by group.
        train: rows to learn from.
        dev: rows by which the best epoch is chosen; default: taken out of train, group by group.
        test: rows to judge by.
        dev_rows: how many dev rows, mixed over languages.
        test_rows: how many test rows, mixed over languages.
        seed: decides which rows the split puts where.
        skip_bad: leave bad rows out, counted, instead of stopping at them.
        encoding: of text files that are not UTF-8; it is never guessed.
        on_duplicate: whether rows of one file that share an id are an error, or the first is kept.
        folds: with one `file`: so many folds, of which each is tested on once, in place of
            `test_rows`.
    """

    file: Path | None = None
    train: Path | None = None
    dev: Path | None = None
    test: Path | None = None
    dev_rows: int | None = Field(default=None, ge=0)
    test_rows: int | None = Field(default=None, ge=1)
    seed: int = 0
    skip_bad: bool = False
    # Left out of fingerprints where they say nothing, so that older ones still hold.
    encoding: str | None = Field(default=None, exclude_if=lambda value: value is None)
    on_duplicate: Literal["error", "first"] = Field(
        default="error", exclude_if=lambda value: value == "error"
    )
    folds: int | None = Field(default=None, ge=2, le=100, exclude_if=lambda value: value is None)

    @field_validator("encoding")
    @classmethod
    def _known_encoding(cls, value: str | None) -> str | None:
        return None if value is None else known_encoding(value)

    @model_validator(mode="after")
    def _one_way(self) -> DataSettings:
        check_names([name for name in PARTS if getattr(self, name)])
        if self.folds and (self.train or self.test_rows):
            given = "train and test files" if self.train else "test_rows"
            raise ValueError(
                f"`folds` divides one `file`, and tests on all of it; leave {given} out"
            )
        return self


def known_encoding(name: str) -> str:
    """The name of an encoding of text as it was given, or ValueError."""
    try:
        codecs.lookup(name)
        "".encode(name)  # refuses what is no encoding of text, such as base64
    except LookupError:
        raise ValueError(
            f'there is no encoding "{name}"; usual ones are utf-8, utf-16, latin-1, cp1252, gb18030'
        ) from None
    return name


def check_names(names: Sequence[str]) -> None:
    """Raise ValueError unless the names are `file`, `train` and `test` (and `dev`), or none."""
    unknown = sorted(set(names) - set(PARTS))
    if unknown:
        raise ValueError(f"`{unknown[0]}` is not one of {', '.join(PARTS)}")
    if "file" in names and len(names) > 1:
        raise ValueError("give either `file`, or `train` and `test` (and perhaps `dev`)")
    if names and "file" not in names and not {"train", "test"} <= set(names):
        raise ValueError(f"`train` and `test` go together; given: {', '.join(names)}")


@dataclass(frozen=True, slots=True)
class DataSplits:
    """Examples by split, how many rows were held out with the exemplars, and what was noticed.

    With folds, `test` is every row, each fold has splits of its own, and `train` and `dev` are
    those of the first.
    """

    train: tuple[Example, ...]
    dev: tuple[Example, ...]
    test: tuple[Example, ...]
    held_out: int
    notes: tuple[str, ...]
    folds: tuple[DataSplits, ...] = ()

    @property
    def fingerprint(self) -> str:
        """sha256 over all rows of all splits, in order."""
        digest = hashlib.sha256()
        for rows in (self.train, self.dev, self.test):
            for row in rows:
                values = [row.id, dict(row.query.fields), row.target, row.group]
                digest.update(json.dumps(values).encode())
            digest.update(b"\n")
        return digest.hexdigest()


def task_names() -> list[str]:
    """Names of the built-in tasks."""
    return sorted(path.stem for path in BUILT_IN.glob("*.yaml"))


def template_names() -> list[str]:
    """Names of the templates: tasks to copy and to fill in."""
    return sorted(path.stem for path in TEMPLATES.glob("*.yaml"))


def load_task(name: str) -> Task:
    """Load a built-in task by name, or a task from a YAML file.

    A file may say `extends: NAME`, the name of a built-in task: what the file does not say is then
    taken from there.

    Raises:
        UnknownNameError: neither a built-in task nor a file.
        SettingsError: the YAML is wrong; names the key.
    """
    path = Path(name) if name.endswith((".yaml", ".yml")) else task_file(name)
    return load(Task, path, base=task_file)


def template_task(name: str) -> Task:
    """A template as a task."""
    return load(Task, task_file(name, templates=True))


def task_file(name: str, *, templates: bool = False) -> Path:
    """The YAML file of a built-in task, or of a template where these may be meant too.

    Raises:
        UnknownNameError: there is none; suggests the nearest name.
    """
    if templates and name in template_names():
        return TEMPLATES / f"{name}.yaml"
    if name not in task_names():
        known = sorted([*task_names(), *(template_names() if templates else [])])
        kind = "task" if templates else "task (nor YAML file)"
        raise UnknownNameError(kind, name, known)
    return BUILT_IN / f"{name}.yaml"


def load_data(
    task: Task, settings: DataSettings, frames: Mapping[str, object] | None = None
) -> DataSplits:
    """Read, check, group, hold out and split.

    Args:
        task: what the rows mean.
        settings: where the rows are, and how they are split.
        frames: tables of pandas, polars or Arrow in place of the settings' paths, by the same
            names: `file`, or `train`, `test` and perhaps `dev`.

    Raises:
        SettingsError: there is neither a path nor a frame, or frames of other names, or an exemplar
            does not fit the task.
        DataError: bad rows (the first few with file, line, field, value and what is allowed), or
            an overlap between splits.
    """
    files = _files(task, settings, frames or {})
    splits, groups, notes = _examples(task, files, settings)
    _check_exemplars(task)
    held = _held_out_groups(task, files, groups, splits)
    kept = {n: [e for e in rows if e.group not in held] for n, rows in splits.items()}
    held_out = sum(map(len, splits.values())) - sum(map(len, kept.values()))
    if held_out:
        notes.append(f"{held_out} rows are held out, since exemplars were adapted from their group")
    found = []
    for train, dev, test in _folds(kept, settings) if settings.folds else [_split(kept, settings)]:
        check_overlap({"train": train, "dev": dev, "test": test})
        told = (*notes, *remarks(task, train, dev, test))
        found.append(DataSplits(tuple(train), tuple(dev), tuple(test), held_out, told))
    return _pooled(found) if settings.folds else found[0]


def _folds(
    kept: Mapping[str, list[Example]], settings: DataSettings
) -> Iterator[tuple[list[Example], list[Example], list[Example]]]:
    """Train, dev and test of each fold; every row is in one fold's test."""
    if "file" not in kept:
        raise SettingsError("data.folds divides one file; a frame for it is called `file`.")
    parts = folds(kept["file"], settings.folds or 0, settings.seed)
    for number, test in enumerate(parts):
        rest = [row for other, part in enumerate(parts) if other != number for row in part]
        dev = len(rest) * 15 // 100 if settings.dev_rows is None else settings.dev_rows
        train, dev_rows, _ = split(rest, dev, 0, settings.seed)
        yield train, dev_rows, test


def _pooled(parts: Sequence[DataSplits]) -> DataSplits:
    """The folds as one: every row is tested; train and dev are those of the first fold."""
    least, most = min(len(p.train) for p in parts), max(len(p.train) for p in parts)
    sizes = str(least) if least == most else f"{least} to {most}"
    told = f"{len(parts)} folds: every row is tested once, by models tuned on other folds' rows; "
    told += f"{sizes} rows are there to train on in each"
    test = tuple(row for part in parts for row in part.test)
    notes = (*dict.fromkeys(note for part in parts for note in part.notes), told)
    return replace(parts[0], test=test, notes=notes, folds=tuple(parts))


def load_examples(task: Task, path: Path, encoding: str | None = None) -> list[Example]:
    """Read one file of rows with targets, for scoring; `encoding` if it is not UTF-8."""
    splits, _, _ = _examples(task, {"file": _read(task, path, encoding)}, DataSettings())
    return splits["file"]


@dataclass(frozen=True, slots=True)
class NewRows:
    """Rows to answer.

    Attributes:
        ids: of all rows, in their order.
        queries: the rows that can be read.
        bad: what is wrong with the others, a line each.
    """

    ids: list[str]
    queries: list[Query]
    bad: list[str]


def load_new_rows(
    task: Task, source: Path | object, encoding: str | None = None, *, skip_bad: bool = False
) -> NewRows:
    """Read a file or a frame of rows to answer; a target column, if any, is not looked at.

    Args:
        task: what a row means.
        source: the file or frame.
        encoding: of a text file that is not UTF-8.
        skip_bad: leave bad rows out, told, instead of stopping at them.

    Raises:
        DataError: a column is missing, rows are bad or have the id of another one.
    """
    rows = _rows_to_answer(task, source, encoding)
    check_columns(task, rows, targets=False)
    found = [(row, *query_of(task, row)) for row in rows]
    bad = [_told(row, wrong) for row, _, wrong in found if wrong]
    if not skip_bad:
        refuse_bad(bad, "Mend the rows, or leave them out with --skip-bad.", skippable=False)
    ids = [query.id or f"{row.source}:{row.line}" for row, query, _ in found]
    refuse_duplicates(zip(ids, rows, strict=True), skippable=False)
    return NewRows(ids, [query for _, query, wrong in found if not wrong], bad)


def load_groups(task: Task, source: Path | object, encoding: str | None = None) -> dict[str, str]:
    """The groups of the same rows by query id, as far as their columns are there; a row without
    one stands alone."""
    rows = _rows_to_answer(task, source, encoding)
    columns = [first_name(column) for column in task.group]
    links = group_rows([grouping(task, row) for row in rows], columns)
    return {query_of(task, row)[0].id: link for row, link in zip(rows, links, strict=True)}


def _rows_to_answer(task: Task, source: Path | object, encoding: str | None) -> list[Row]:
    if isinstance(source, Path):
        return _read(task, source, encoding)
    return [with_choices(task, row) for row in frame_rows("rows", source)]


def _files(
    task: Task, settings: DataSettings, frames: Mapping[str, object]
) -> dict[str, list[Row]]:
    """Rows by the name of their file or frame."""
    try:
        check_names(list(frames))
    except ValueError as error:
        raise SettingsError(f"frames: {error}.") from None
    if frames:
        return {
            name: [with_choices(task, row) for row in frame_rows(name, frame)]
            for name, frame in frames.items()
        }
    paths = {name: getattr(settings, name) for name in PARTS if getattr(settings, name)}
    if not paths:
        raise SettingsError(
            "The settings name no rows.",
            "Give data.file, or data.train and data.test; from Python, make_plan(config, frames).",
        )
    return {name: _read(task, path, settings.encoding) for name, path in paths.items()}


def _read(task: Task, path: Path, encoding: str | None = None) -> list[Row]:
    return [with_choices(task, row) for row in read_rows(expand(path), encoding)]


def expand(path: Path) -> Path:
    """Replace `${NAME}` by the environment variable, or say that it is not set."""

    def value(match: re.Match[str]) -> str:
        name = match.group(1)
        if name not in os.environ:
            raise DataError(
                f'The path "{path}" needs the environment variable {name}, which is not set.',
                f"Set it, for example: export {name}=/path/to/data",
            )
        return os.environ[name]

    return Path(re.sub(r"\$\{(\w+)\}", value, str(path)))


def _split(
    kept: Mapping[str, list[Example]], settings: DataSettings
) -> tuple[list[Example], list[Example], list[Example]]:
    """Train, dev and test: out of one file, or as the files say, dev perhaps out of train."""
    if "file" in kept:
        rows = kept["file"]
        dev = len(rows) * 15 // 100 if settings.dev_rows is None else settings.dev_rows
        test = len(rows) * 30 // 100 if settings.test_rows is None else settings.test_rows
        return split(rows, dev, test, settings.seed)
    train, test_rows = kept["train"], _choose(kept["test"], settings.test_rows, "test")
    if "dev" in kept:
        return train, _choose(kept["dev"], settings.dev_rows, "dev"), test_rows
    dev = len(train) // 10 if settings.dev_rows is None else settings.dev_rows
    train, dev_rows, _ = split(train, dev, 0, settings.seed)
    return train, dev_rows, test_rows


def _choose(rows: list[Example], count: int | None, name: str) -> list[Example]:
    if count is None:
        return rows
    if count > len(rows):
        raise DataError(
            f"{count} {name} rows were asked for; {len(rows)} are there.",
            f"Set data.{name}_rows to at most {len(rows)}.",
        )
    return nested_subset(rows, count, seed=0)


def _told(row: Row, wrong: Sequence[str]) -> str:
    return f"{row.place}: " + "; ".join(wrong)


def _examples(
    task: Task, files: Mapping[str, Sequence[Row]], settings: DataSettings
) -> tuple[dict[str, list[Example]], list[str], list[str]]:
    """Check every row of every file; groups are found over all of them together.

    Returns:
        Examples by file, the group of every row (bad ones too), and notes.
    """
    everything = [(name, row) for name, rows in files.items() for row in rows]
    for rows in files.values():
        check_columns(task, rows, targets=True)
    columns = [first_name(column) for column in task.group]
    links = group_rows([grouping(task, row) for _, row in everything], columns)
    found = [example_of(task, row, link) for (_, row), link in zip(everything, links, strict=True)]
    bad = [
        _told(row, wrong) for (_, row), (_, wrong) in zip(everything, found, strict=True) if wrong
    ]
    if bad and not settings.skip_bad:
        hint = unknown_label(task, [row for _, row in everything])
        refuse_bad(bad, hint or "Mend the rows.", skippable=True)
    notes = [f"{len(bad)} bad rows were skipped (skip_bad), such as {bad[0]}"] if bad else []
    splits: dict[str, list[Example]] = {name: [] for name in files}
    ids = []
    seen: set[tuple[str, str]] = set()
    repeated = 0
    for (name, row), (example, wrong) in zip(everything, found, strict=True):
        if wrong:
            continue
        if settings.on_duplicate == "first" and (name, example.id) in seen:
            repeated += 1
            continue
        seen.add((name, example.id))
        splits[name].append(example)
        ids.append((example.id, row))
    refuse_duplicates(ids, skippable=settings.on_duplicate == "error")
    if repeated:
        notes.append(f"{repeated} rows with the id of an earlier row were left out (on_duplicate)")
    return splits, [example.group for example, _ in found], notes


def _check_exemplars(task: Task) -> None:
    """Refuse exemplars that would teach something else than the task asks for."""
    found = [(number, task.problem_of(e)) for number, e in enumerate(task.exemplars, 1)]
    wrong = [f"exemplar {number}: {problem}" for number, problem in found if problem]
    if wrong:
        mistakes = "\n".join(f"{line}{'' if line[-1] in '.?' else '.'}" for line in wrong)
        raise SettingsError(f'The task "{task.name}", {mistakes}')


def _held_out_groups(
    task: Task,
    files: Mapping[str, Sequence[Row]],
    groups: Sequence[str],
    splits: Mapping[str, Sequence[Example]],
) -> set[str]:
    """Groups of the rows that exemplars were adapted from, or that an exemplar repeats."""
    wanted: dict[str, set[str]] = {}
    for exemplar in task.exemplars:
        for column, values in exemplar.held_out.items():
            wanted.setdefault(column, set()).update(values)
    rows = [row for rows in files.values() for row in rows]
    held = {
        group
        for row, group in zip(rows, groups, strict=True)
        if any(names_of(task, row, column) & values for column, values in wanted.items())
    }
    shown = {(tuple(e.fields), normal(e.fields.values())) for e in task.exemplars}
    shapes = {names for names, _ in shown}
    for example in (example for rows in splits.values() for example in rows):
        fields = example.query.fields
        if any((s, normal(fields.get(name, "") for name in s)) in shown for s in shapes):
            held.add(example.group)
    return held

"""From files to examples: every row checked, groups found over all files, exemplars held out."""

from __future__ import annotations

import difflib
import hashlib
import json
import os
import re
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from pydantic import Field, model_validator

from fiatkit.data import Row, group_rows, read_rows
from fiatkit.data.splits import check_overlap, nested_subset, split
from fiatkit.errors import DataError, UnknownNameError
from fiatkit.records import Example, Query
from fiatkit.settings import Strict, parse, read_yaml
from fiatkit.tasks.task import Task

BUILT_IN = Path(__file__).with_name("builtin")
SHOWN = 5


class DataSettings(Strict):
    """Where the rows are: one `file` that is split, or train, dev and test files.

    `dev_rows` and `test_rows` take that many rows, mixed over languages; a missing dev file is
    taken out of train, group by group. `skip_bad` leaves bad rows out, counted, instead of
    stopping at them. `${NAME}` in a path is the environment variable NAME.
    """

    file: Path | None = None
    train: Path | None = None
    dev: Path | None = None
    test: Path | None = None
    dev_rows: int | None = Field(default=None, ge=0)
    test_rows: int | None = Field(default=None, ge=1)
    seed: int = 0
    skip_bad: bool = False

    @model_validator(mode="after")
    def _one_way(self) -> DataSettings:
        many = [name for name in ("train", "dev", "test") if getattr(self, name)]
        if (self.file is None) == (not many):
            raise ValueError("give either `file`, or `train` and `test` (and perhaps `dev`)")
        if many and not {"train", "test"} <= set(many):
            raise ValueError(f"`train` and `test` go together; given: {', '.join(many)}")
        return self


@dataclass(frozen=True, slots=True)
class DataSplits:
    """Examples by split, how many rows were held out with the exemplars, and what was noticed."""

    train: tuple[Example, ...]
    dev: tuple[Example, ...]
    test: tuple[Example, ...]
    held_out: int
    notes: tuple[str, ...]

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


def load_task(name: str) -> Task:
    """Load a built-in task by name, or a task from a YAML file.

    Raises:
        UnknownNameError: neither a built-in task nor a file.
        SettingsError: the YAML is wrong; names the key.
    """
    if name in task_names():
        path = BUILT_IN / f"{name}.yaml"
    elif name.endswith((".yaml", ".yml")):
        path = Path(name)
    else:
        raise UnknownNameError("task", name, task_names())
    return parse(Task, read_yaml(path), str(path))


def load_data(task: Task, settings: DataSettings) -> DataSplits:
    """Read, check, group, hold out and split.

    Raises:
        DataError: bad rows (the first few with file, line, field, value and what is allowed), or
            an overlap between splits.
    """
    names = ("file",) if settings.file else ("train", "dev", "test")
    files = {n: read_rows(expand(getattr(settings, n))) for n in names if getattr(settings, n)}
    splits, notes = _examples(task, files, settings.skip_bad)
    held = _held_out_groups(task, files, splits)
    kept = {n: [e for e in rows if e.group not in held] for n, rows in splits.items()}
    held_out = sum(map(len, splits.values())) - sum(map(len, kept.values()))
    if held_out:
        notes.append(f"{held_out} rows are held out, since exemplars were adapted from their group")
    if settings.file:
        rows = kept["file"]
        dev = len(rows) * 15 // 100 if settings.dev_rows is None else settings.dev_rows
        test = len(rows) * 30 // 100 if settings.test_rows is None else settings.test_rows
        train, dev_rows, test_rows = split(rows, dev, test, settings.seed)
    else:
        train, test_rows = kept["train"], _choose(kept["test"], settings.test_rows, "test")
        dev_rows = _choose(kept.get("dev", []), settings.dev_rows, "dev")
        if "dev" not in kept:
            dev = len(train) // 10 if settings.dev_rows is None else settings.dev_rows
            train, dev_rows, _ = split(train, dev, 0, settings.seed)
    check_overlap({"train": train, "dev": dev_rows, "test": test_rows})
    return DataSplits(tuple(train), tuple(dev_rows), tuple(test_rows), held_out, tuple(notes))


def load_examples(task: Task, path: Path) -> list[Example]:
    """Read one file of rows with targets, for scoring."""
    splits, _ = _examples(task, {"file": read_rows(expand(path))}, skip_bad=False)
    return splits["file"]


def load_queries(task: Task, path: Path) -> list[Query]:
    """Read one file of rows to answer; a target column, if there is one, is not looked at."""
    found = [_query(task, row) for row in read_rows(expand(path))]
    problems = [problem for _, wrong in found for problem in wrong]
    queries = [query for query, _ in found]
    _refuse(problems + _duplicate_ids((query.id, "") for query in queries))
    return queries


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


def _choose(rows: list[Example], count: int | None, name: str) -> list[Example]:
    if count is None:
        return rows
    if count > len(rows):
        raise DataError(f"{count} {name} rows were asked for; {len(rows)} are there.")
    return nested_subset(rows, count, seed=0)


def _examples(
    task: Task, files: Mapping[str, Sequence[Row]], skip_bad: bool
) -> tuple[dict[str, list[Example]], list[str]]:
    """Check every row of every file; groups are found over all of them together."""
    everything = [row for rows in files.values() for row in rows]
    groups = iter(group_rows([_grouping(task, row) for row in everything], task.group))
    problems: list[str] = []
    splits: dict[str, list[Example]] = {}
    skipped = 0
    for name, rows in files.items():
        splits[name] = []
        for row in rows:
            group = next(groups)
            example, wrong = _example(task, row, group)
            if wrong and skip_bad:
                skipped += 1
            elif wrong:
                problems += wrong
            else:
                splits[name].append(example)
    ids = ((e.id, name) for name, rows in splits.items() for e in rows)
    _refuse(problems + _duplicate_ids(ids))
    return splits, [f"{skipped} bad rows were skipped (skip_bad)"] if skipped else []


def _grouping(task: Task, row: Row) -> Row:
    """The row with each group column's value reduced by the task's pattern."""
    if not task.group_pattern:
        return row
    values = dict(row.values)
    for column, pattern in task.group_pattern.items():
        match = re.search(pattern, str(values.get(column, "")))
        values[column] = match.group(1) if match else values.get(column)
    return replace(row, values=values)


def _query(task: Task, row: Row) -> tuple[Query, list[str]]:
    wrong: list[str] = []
    fields: dict[str, str] = {}
    for column, name in zip(task.fields, task.field_names, strict=True):
        columns = column.split("|")
        found = next((c for c in columns if row.values.get(c) not in (None, "")), None)
        if found is None and name in task.optional:
            continue
        found = found or next((c for c in columns if c in row.values), None)
        if found is None:
            wrong.append(_missing_column(row, column))
            continue
        text, problem = _text(row, found)
        wrong += [problem] if problem else []
        fields[name] = text
    language = ""
    if task.language:
        language, problem = _text(row, task.language)
        wrong += [problem] if problem else []
    identity = f"{Path(row.file).name}:{row.line}"
    if task.id:
        identity, problem = _text(row, task.id)
        wrong += [problem] if problem else []
    return Query(identity, fields, language), wrong


def _example(task: Task, row: Row, group: str) -> tuple[Example, list[str]]:
    query, wrong = _query(task, row)
    target, problem = _text(row, task.target)
    if problem:
        wrong.append(problem)
    elif task.labels and target not in task.labels:
        near = difflib.get_close_matches(target.strip().lower(), task.labels, n=1, cutoff=0.0)
        wrong.append(
            f'{row.place}: {task.target} "{target}" is not one of {", ".join(task.labels)}; '
            f'nearest: "{near[0]}"'
        )
    references = dict.fromkeys([target, *_references(task, row)])
    if group.startswith("row:"):
        group = f"id:{query.id}"
    return Example(query, target, tuple(references), group), wrong


def _references(task: Task, row: Row) -> list[str]:
    value = row.values.get(task.references) if task.references else None
    if value is None:
        return []
    if isinstance(value, str):
        return [value]
    items = value if isinstance(value, list) else [value]
    return [str(item["text"] if isinstance(item, dict) else item) for item in items]


def _text(row: Row, column: str) -> tuple[str, str]:
    """The value as text, and what is wrong with it."""
    if column not in row.values:
        return "", _missing_column(row, column)
    value: Any = row.values[column]
    if isinstance(value, bool):
        return ("true" if value else "false"), ""
    if isinstance(value, list | dict):
        kind = "list" if isinstance(value, list) else "object"
        return "", f"{row.place}: {column} holds a {kind}; text or a number is needed"
    if value is None or not str(value).strip():
        return "", f"{row.place}: {column} is empty; text is needed"
    try:
        text = str(value)
        text.encode()
    except UnicodeEncodeError:
        return "", f"{row.place}: {column} holds half of a surrogate pair, which is no character"
    except ValueError:
        return "", f"{row.place}: {column} holds a number of too many digits"
    return text, ""


def _missing_column(row: Row, column: str) -> str:
    known = [str(name) for name in row.values]
    near = difflib.get_close_matches(column.split("|")[0], known, n=1, cutoff=0.0)
    told = f"{row.place}: no column {column.replace('|', ' or ')}; there are {', '.join(known)}"
    return told + (f'; nearest: "{near[0]}"' if near else "")


def _duplicate_ids(ids: Iterable[tuple[str, str]]) -> list[str]:
    seen: dict[str, str] = {}
    wrong = []
    for identity, place in ids:
        if identity in seen:
            where = f" ({seen[identity]}, {place})" if place != seen[identity] else ""
            wrong.append(f'the id "{identity}" stands there twice{where}')
        seen[identity] = place
    return wrong


def _refuse(problems: Sequence[str]) -> None:
    if problems:
        more = f"\n... and {len(problems) - SHOWN} more" if len(problems) > SHOWN else ""
        raise DataError(
            f"{len(problems)} bad rows:\n" + "\n".join(problems[:SHOWN]) + more,
            "Mend the rows, or set data.skip_bad: true to leave them out, counted.",
        )


def _held_out_groups(
    task: Task, files: Mapping[str, Sequence[Row]], splits: Mapping[str, Sequence[Example]]
) -> set[str]:
    """Groups of the rows that exemplars were adapted from."""
    wanted = {
        (column, value)
        for exemplar in task.exemplars
        for column, values in exemplar.held_out.items()
        for value in values
    }
    if not wanted:
        return set()
    by_id = {e.id: e.group for rows in splits.values() for e in rows}
    held = set()
    for row in (row for rows in files.values() for row in rows):
        reduced = _grouping(task, row)
        if any(str(reduced.values.get(column)) == value for column, value in wanted):
            query, _ = _query(task, row)
            held |= {by_id[query.id]} if query.id in by_id else set()
    return held

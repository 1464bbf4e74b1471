"""From a row to a query or an example, with what is wrong in words. Nothing is guessed."""

from __future__ import annotations

import difflib
import re
from collections import Counter
from collections.abc import Iterable, Sequence
from dataclasses import replace
from typing import Any

from fiatkit.data import Row
from fiatkit.errors import DataError
from fiatkit.records import Example, Query
from fiatkit.tasks.answers import as_text, is_blank, read_target
from fiatkit.tasks.task import Task, first_name

SHOWN = 5
MANY = 5  # rows with one unknown label, which then is perhaps no mistake
FILE = "@file"


def with_choices(task: Task, row: Row) -> Row:
    """The row with the columns that the task chooses among others."""
    values = dict(row.values)
    for name, choice in task.choose.items():
        held = str(row.values.get(choice.column, "")).strip().lower()
        column = choice.when.get(held, choice.otherwise)
        if column in row.values:
            values[name] = row.values[column]
    return replace(row, values=values) if task.choose else row


def query_of(task: Task, row: Row) -> tuple[Query, list[str]]:
    """The row's query, carrying the fields that the task names, and what is wrong with the row."""
    wrong: list[str] = []
    fields: dict[str, str] = {}
    for column, name in zip(task.fields, task.field_names, strict=True):
        found = _find(row, column)
        if name in task.optional and (found is None or is_blank(_cell(row, found))):
            continue
        fields[name] = _take(row, column, wrong)
    language = ""
    if task.language and not _may_lack(task, row, task.language):
        language = _take(row, task.language, wrong)
    identity = f"{row.source}:{row.line}"
    if task.id and not _may_lack(task, row, task.id):
        identity = _take(row, task.id, wrong)
    return Query(identity, fields, language), wrong


def example_of(task: Task, row: Row, group: str) -> tuple[Example, list[str]]:
    """The row's example; `group` as `group_rows` names it. And what is wrong with the row."""
    query, wrong = query_of(task, row)
    target = _target(task, row, query, wrong)
    references = dict.fromkeys([target, *_references(task, row, wrong)])
    alone = group.startswith("row:")
    return Example(query, target, tuple(references), f"id:{query.id}" if alone else group), wrong


def grouping(task: Task, row: Row) -> Row:
    """The row as groups are found from it: alternatives chosen, patterns applied."""
    values: dict[str, object] = {}
    for column in task.group:
        found = _find(row, column)
        value = _cell(row, found) if found else None
        name = first_name(column)
        match = re.search(task.group_pattern.get(name, r"(?!)"), str(value))
        parts = [str(part) for part in (match.groups() if match else (value,))]
        if name in task.group_block and parts[-1].isdecimal():
            parts[-1] = str(int(parts[-1]) // task.group_block[name])
        values[name] = None if value is None else "-".join(parts)
    return replace(row, values=values)


def names_of(task: Task, row: Row, column: str) -> set[str]:
    """What `held_out` may call the row by a column: its value, and its group's."""
    found = _find(row, column)
    values = {_cell(row, found)} if found and not isinstance(_cell(row, found), list | dict) else ()
    grouped = grouping(task, row).values.get(column)
    return {str(value) for value in (*values, grouped) if value is not None}


def check_columns(task: Task, rows: Sequence[Row], *, targets: bool) -> None:
    """Refuse a file in which no row has a column that the task needs.

    Raises:
        DataError: names each such column, what it is for, and what is there.
    """
    needed = [("a field", column) for column in task.fields]
    needed += [("the id", task.id)] if task.id else []
    needed += [("the language", task.language)] if task.language else []
    if targets:
        needed += [("the target", task.target)]
        needed += [("the references", task.references)] if task.references else []
        needed += [("the group", column) for column in task.group]
    lacking = [
        (role, column)
        for role, column in needed
        if first_name(column) not in task.optional and not any(_find(r, column) for r in rows)
    ]
    if lacking:
        told = "; ".join(f"{_missing(rows[0], column)} ({role})" for role, column in lacking)
        raise DataError(
            f'"{rows[0].file}": {told}.',
            "Name the column in the task as it stands in the file, or rename it in the file."
            if targets
            else "Rename it in the file; the task reads columns by these names.",
        )


def refuse_bad(bad: Sequence[str], hint: str = "Mend the rows.", *, skippable: bool) -> None:
    """Raise DataError if there are bad rows: how many, and the first few."""
    if bad:
        hint += " To leave such rows out, counted, set data.skip_bad: true." if skippable else ""
        raise DataError(_listed(_count(len(bad), "bad row"), bad), hint)


def unknown_label(task: Task, rows: Sequence[Row]) -> str:
    """A hint if many rows hold one label that the task does not have, else an empty text."""
    if not task.choices:
        return ""
    columns = ((row, _find(row, task.target)) for row in rows)
    texts = (as_text(_cell(row, column))[0] for row, column in columns if column)
    unknown = Counter(text for text in texts if text not in {*task.choices, ""})
    label, count = max(unknown.items(), key=lambda item: item[1], default=("", 0))
    if count < MANY:
        return ""
    alike = next((x for x in task.choices if x.casefold() == label.strip().casefold()), "")
    if alike:
        return f'{count} rows write "{label}" where the task says "{alike}": let both say the same.'
    return f'{count} rows have the label "{label}": if it is one, add it to `labels` in the task.'


def refuse_duplicates(ids: Iterable[tuple[str, Row]], *, skippable: bool) -> None:
    """Raise DataError if two rows have one id: how many, and the places of the first few."""
    seen: dict[str, Row] = {}
    twice = []
    for identity, row in ids:
        other = seen.setdefault(identity, row)
        if other is not row:
            twice.append(f'{row.place}: the id "{identity}" is that of {other.place} too')
    if twice:
        hint = (
            "Give each row an id of its own, or leave `id` out of the task: ids are then made of "
            "file name and line."
        )
        if skippable:
            hint += " To keep the first row of each id in a file, set data.on_duplicate: first."
        head = f"{_count(len(twice), 'row')} with an id that another row has"
        raise DataError(_listed(head, twice), hint)


def _count(number: int, noun: str) -> str:
    return f"{number} {noun}{'' if number == 1 else 's'}"


def _listed(head: str, items: Sequence[str]) -> str:
    more = f"\n... and {len(items) - SHOWN} more" if len(items) > SHOWN else ""
    return f"{head}:\n" + "\n".join(items[:SHOWN]) + more


def _find(row: Row, column: str) -> str | None:
    """Which of the alternatives `a|b` the row has: the first with a value, else the first.

    `@file` among them is the file's name without its ending, in files of one language each.
    """
    names = [column] if column in row.values else column.split("|")
    present = [name for name in names if name in row.values or name == FILE]
    filled = (name for name in present if not is_blank(_cell(row, name)))
    return next(filled, present[0] if present else None)


def _cell(row: Row, name: str) -> Any:
    """The value of a column that `_find` found."""
    return row.stem if name == FILE else row.values[name]


def _may_lack(task: Task, row: Row, column: str) -> bool:
    return first_name(column) in task.optional and _find(row, column) is None


def _target(task: Task, row: Row, query: Query, wrong: list[str]) -> str:
    """The target as the small model is to write it; appends to `wrong` what is wrong with it."""
    found = _find(row, task.target)
    if found is None:
        wrong.append(_missing(row, task.target))
        return ""
    text = next(iter(query.fields.values()), "")
    target, problem = read_target(task.answer, _cell(row, found), task.labels, text)
    wrong += [f"{found} {problem}"] if problem else []
    return target


def _take(row: Row, column: str, wrong: list[str]) -> str:
    """The value as text; appends to `wrong` what is wrong with it."""
    found = _find(row, column)
    if found is None:
        wrong.append(_missing(row, column))
        return ""
    text, problem = as_text(_cell(row, found))
    wrong += [f"{found} {problem}"] if problem else []
    return text


def _references(task: Task, row: Row, wrong: list[str]) -> list[str]:
    column = _find(row, task.references) if task.references else None
    value = _cell(row, column) if column else None
    if is_blank(value):
        return []
    texts = []
    for item in value if isinstance(value, list) else [value]:
        text, problem = as_text(item.get("text") if isinstance(item, dict) else item)
        wrong += [f"{column}: an answer {problem}"] if problem else []
        texts.append(text)
    return texts


def _missing(row: Row, column: str) -> str:
    known = [str(name) for name in row.values]
    near = difflib.get_close_matches(first_name(column), known, n=1, cutoff=0.5)
    told = f"no column {column.replace('|', ' or ')}; there are {', '.join(known)}"
    return told + (f'; nearest: "{near[0]}"' if near else "")

"""Exemplars as text: a draft to edit, and the edited draft put into a task YAML.

The task's own text is only added to: its comments and its layout stay as they are.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from pathlib import Path
from typing import Any, Literal

import yaml
from pydantic import Field

from fiatkit.errors import UsageError
from fiatkit.settings import Strict, load, parse, read_yaml
from fiatkit.tasks.load import load_task
from fiatkit.tasks.task import ExemplarSettings, Task
from fiatkit.tasks.written import scalar

TODO = re.compile(r"\bTODO\b")


class Draft(Strict):
    """The file that `fiat exemplars draft` writes."""

    version: Literal[1] = 1
    exemplars: list[ExemplarSettings] = Field(min_length=1)


def draft_yaml(header: str, exemplars: Sequence[ExemplarSettings]) -> str:
    """A draft's text; each line of `header` becomes a comment."""
    comment = "".join(f"# {line}\n" for line in header.splitlines())
    return f"{comment}version: 1\nexemplars:\n{_items(exemplars, 2)}"


def read_draft(path: Path, task: Task) -> list[ExemplarSettings]:
    """Read an edited draft and check that each of its exemplars can teach.

    Raises:
        SettingsError: the file is no such draft.
        UsageError: an exemplar still says TODO, or does not fit the task; tells which and why.
    """
    exemplars = list(load(Draft, path).exemplars)
    wrong = []
    for number, exemplar in enumerate(exemplars, 1):
        if TODO.search("\n".join([*exemplar.fields.values(), exemplar.rationale])):
            wrong.append(f"exemplar {number} still says TODO")
            continue
        problem = task.problem_of(exemplar)
        wrong += [f"exemplar {number}: {problem}"] if problem else []
    if wrong:
        raise UsageError(
            f'"{path}": ' + "; ".join(wrong) + ".",
            "Edit the file, or take the exemplar out, and run the same command again.",
        )
    return exemplars


def merged(path: Path, added: Sequence[ExemplarSettings]) -> str:
    """The text of a task YAML with exemplars added at the end of those that it has.

    Raises:
        UsageError: the YAML is written in a way that cannot be added to without rewriting it.
    """
    text = path.read_bytes().decode("utf-8-sig")
    before = load_task(str(path)).exemplars
    own = [ExemplarSettings.model_validate(value) for value in _own(path)]
    node = _value_node(text)
    if node is None:  # the exemplars of a task that this one extends must be repeated
        text = _ended(text) + "exemplars:\n" + _items([*before, *added], 2)
    elif isinstance(node, yaml.SequenceNode) and node.value and not node.flow_style:
        line = _last_line(node)
        lines = text.splitlines(keepends=True)
        head = _ended("".join(lines[:line]))
        text = head + _items(added, node.start_mark.column) + "".join(lines[line:])
    else:
        begin, end = node.start_mark.index, node.end_mark.index
        text = text[:begin].rstrip(" ") + "\n" + _items([*own, *added], 2) + text[end:].lstrip("\n")
    _check(path, text, [*before, *added])
    return text


def _own(path: Path) -> list[Any]:
    """The exemplars that the file itself has."""
    values = read_yaml(path).get("exemplars")
    return list(values or [])


def _value_node(text: str) -> yaml.Node | None:
    root = yaml.compose(text, Loader=yaml.SafeLoader)
    pairs = root.value if isinstance(root, yaml.MappingNode) else []
    return next((value for key, value in pairs if key.value == "exemplars"), None)


def _last_line(node: yaml.Node) -> int:
    """The number of the line after a block's last value; comments that follow are not in it."""
    while isinstance(node, yaml.CollectionNode) and node.value and not node.flow_style:
        last = node.value[-1]
        node = last[1] if isinstance(last, tuple) else last
    end = node.end_mark
    return int(end.line + (end.column > 0))


def _check(path: Path, text: str, wanted: Sequence[ExemplarSettings]) -> None:
    """Refuse a text that is not the same task with the wanted exemplars."""
    before = read_yaml(path)
    try:
        after = yaml.safe_load(text)
        found = parse(Draft, {"exemplars": after["exemplars"]}, str(path)).exemplars
        same = {k: v for k, v in before.items() if k != "exemplars"} == {
            k: v for k, v in after.items() if k != "exemplars"
        }
    except (yaml.YAMLError, KeyError, TypeError, UsageError):
        same, found = False, []
    if not same or list(map(_plain, found)) != list(map(_plain, wanted)):
        raise UsageError(
            f'"{path}" is written in a way that exemplars cannot be added to.',
            "Copy them by hand from the draft to the end of the file, under `exemplars:`.",
        )


def _plain(exemplar: ExemplarSettings) -> ExemplarSettings:
    """The exemplar but for blanks round its rationale, which no model ever sees."""
    return exemplar.model_copy(update={"rationale": exemplar.rationale.strip()})


def _ended(text: str) -> str:
    return text if text.endswith("\n") or not text else text + "\n"


def _items(exemplars: Sequence[ExemplarSettings], indent: int) -> str:
    lines = [line for exemplar in exemplars for line in _item(exemplar)]
    return "".join(f"{' ' * indent}{line}\n" if line else "\n" for line in lines)


def _item(exemplar: ExemplarSettings) -> list[str]:
    lines = ["- fields:"]
    for name, value in exemplar.fields.items():
        lines += _value(f"    {scalar(name)}", value, 6)
    lines += [f"  language: {scalar(exemplar.language)}"] if exemplar.language else []
    lines += _value("  target", exemplar.target, 4)
    if exemplar.held_out:
        held = (
            f"{scalar(column)}: [{', '.join(map(scalar, values))}]"
            for column, values in exemplar.held_out.items()
        )
        lines.append(f"  held_out: {{{', '.join(held)}}}")
    return lines + _value("  rationale", exemplar.rationale, 4)


def _value(key: str, text: str, indent: int) -> list[str]:
    """`key: value`, as a block of lines where it has several and is read back as it is."""
    if "\n" in text:
        style = "|" if text.endswith("\n") else "|-"
        block = [
            " " * indent + line if line else "" for line in text.removesuffix("\n").split("\n")
        ]
        whole = "\n".join([f"x: {style}", *(line[indent - 1 :] for line in block)]) + "\n"
        try:
            if yaml.safe_load(whole) == {"x": text}:
                return [f"{key}: {style}", *block]
        except yaml.YAMLError:
            pass
    return [f"{key}: {scalar(text)}"]

"""Strict YAML to pydantic models. Knows no room; every message names the file and the key."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any, TypeVar

import yaml
from pydantic import BaseModel, ConfigDict, ValidationError

from fiatkit.errors import SettingsError, did_you_mean, nearest
from fiatkit.files import similar_file

MAX_BYTES = 4 * 1024 * 1024
MAX_ALIASES = 100
MAX_VALUES = 100_000
PLAIN = {
    **dict.fromkeys(("int_type", "int_parsing", "int_from_float"), "should be a whole number"),
    **dict.fromkeys(("float_type", "float_parsing"), "should be a number"),
    **dict.fromkeys(("bool_type", "bool_parsing"), "should be true or false"),
    **dict.fromkeys(("dict_type", "model_type"), "should be keys and values: {key: value}"),
    "finite_number": "should be a finite number",
    "list_type": "should be a list in brackets: [a, b]",
    "string_type": "should be text; put it into quotes",
    "path_type": "should be a path",
}


class Strict(BaseModel):
    """A settings block: unknown keys are errors, numbers finite, values frozen."""

    model_config = ConfigDict(
        extra="forbid", frozen=True, str_strip_whitespace=False, allow_inf_nan=False
    )


S = TypeVar("S", bound=BaseModel)


class _Loader(yaml.SafeLoader):
    """SafeLoader that refuses duplicate keys and alias bombs."""

    aliases = 0

    def compose_node(self, parent: Any, index: Any) -> Any:
        if self.check_event(yaml.AliasEvent):
            self.aliases += 1
            if self.aliases > MAX_ALIASES:
                raise yaml.YAMLError(f"more than {MAX_ALIASES} aliases")
        return super().compose_node(parent, index)

    def construct_mapping(self, node: Any, deep: bool = False) -> Any:
        seen = set()
        for key_node, _ in node.value:
            key = str(key_node.value)
            if key in seen:
                line = key_node.start_mark.line + 1
                raise yaml.YAMLError(f'line {line}: the key "{key}" stands there twice')
            seen.add(key)
        return super().construct_mapping(node, deep=deep)


def read_yaml(path: Path) -> Any:
    """Read one YAML document. Raises SettingsError naming the file and, where known, the line."""
    return _read(path)[0]


def _read(path: Path) -> tuple[Any, yaml.Node | None]:
    """The document, and its nodes, which know their lines."""
    try:
        raw = path.read_bytes()
    except OSError as error:
        raise SettingsError(
            f'Cannot read "{path}": {error.strerror or error}.', similar_file(path)
        ) from None
    if len(raw) > MAX_BYTES:
        raise SettingsError(f'"{path}" has {len(raw)} bytes; settings files hold at most 4 MiB.')
    try:
        loader = _Loader(raw.decode("utf-8-sig"))
        node = loader.get_single_node()
        if node is not None and _values(node, {}) > MAX_VALUES:
            raise yaml.YAMLError(f"more than {MAX_VALUES:,} values, aliases written out")
        return (None if node is None else loader.construct_document(node)), node
    except (yaml.YAMLError, UnicodeDecodeError, RecursionError) as error:
        raise SettingsError(f'"{path}" is not valid YAML{_yaml_problem(error)}.') from None
    except (ValueError, KeyError, AttributeError, TypeError) as error:
        # What looks like a number or a date and is none, such as 2020-13-45.
        raise SettingsError(
            f'"{path}" holds a value that YAML cannot read: {error}.', "Put it into quotes."
        ) from None


def _values(node: yaml.Node, known: dict[int, int]) -> int:
    """How many values a node holds with its aliases written out, which may be far more than are
    in memory; a node that holds itself holds more than can be told."""
    if id(node) not in known:
        known[id(node)] = MAX_VALUES + 1  # what it is if it is met again before its end
        inner = node.value if isinstance(node, yaml.CollectionNode) else []
        parts = [part for item in inner for part in (item if isinstance(item, tuple) else (item,))]
        known[id(node)] = 1 + sum(_values(part, known) for part in parts)
    return known[id(node)]


def _yaml_problem(error: Exception) -> str:
    """What is wrong, and in which line, without the parser's own words for its place."""
    if not isinstance(error, yaml.MarkedYAMLError):
        return ": " + " ".join(str(error).split())
    mark, begin = error.problem_mark, error.context_mark
    line = f", line {mark.line + 1}" if mark else ""
    context = f" ({error.context}, begun in line {begin.line + 1})" if begin else ""
    return f"{line}: {error.problem}{context}"


def parse(model: type[S], values: Any, source: str, node: yaml.Node | None = None) -> S:
    """Validate `values` as `model`. Raises SettingsError; unknown keys get a suggestion.

    Args:
        model: what the values must fit.
        values: keys and values.
        source: the file or whatever else the values come from, for messages.
        node: the YAML node of `values`, where there is one, so that messages name lines.
    """
    if not isinstance(values, dict):
        held = {str: "text", list: "a list", type(None): "nothing"}.get(type(values), "a value")
        raise SettingsError(
            f'"{source}" should be YAML with keys and values, but holds {held}.',
            "The README has a task file and a run file to start from.",
        )
    try:
        return model.model_validate(values)
    except ValidationError as error:
        raise SettingsError(*_explain(model, error, source, node)) from None


def load(model: type[S], path: Path, *, base: Callable[[str], Path] | None = None) -> S:
    """Read a YAML file as `model`.

    Args:
        model: what the values must fit.
        path: the file.
        base: where given, a file may say `extends: NAME`: the file that `base` finds by this name
            gives every key that the file itself does not.
    """
    values, node = _read(path)
    return parse(model, _extended(values, base) if base else values, str(path), node)


def _extended(values: Any, base: Callable[[str], Path]) -> Any:
    """The values on top of those of the file that they extend, if they do."""
    if not isinstance(values, dict) or not isinstance(values.get("extends"), str):
        return values
    below = _extended(read_yaml(base(values["extends"])), base)
    return {**below, **{key: value for key, value in values.items() if key != "extends"}}


def _explain(
    model: type[BaseModel], error: ValidationError, source: str, node: yaml.Node | None
) -> tuple[str, str]:
    """All that is wrong, one problem a line, and the first suggestion there is."""
    problems, hints = [], []
    found = error.errors()
    misspelt = {
        (*item["loc"][:-1], near)
        for item in found
        if item["type"] == "extra_forbidden"
        and (near := nearest(str(item["loc"][-1]), _known_keys(model, item["loc"][:-1])))
    }
    for item in found:
        if item["type"] == "missing" and item["loc"] in misspelt:
            continue  # its name stands there, misspelt
        problem = _problem(item)
        if item["type"] == "extra_forbidden":
            known = _known_keys(model, item["loc"][:-1])
            problem += f"; allowed here: {', '.join(known)}"
            hints.append(did_you_mean(str(item["loc"][-1]), known))
        problems.append(_line(node, item["loc"]) + problem + ("" if problem[-1] in ".?" else "."))
    hint = next(filter(None, hints), "")
    if len(problems) > 1:
        return f'"{source}" has {len(problems)} mistakes:\n' + "\n".join(problems), hint
    return f'"{source}", {problems[0]}', hint


def _problem(item: Any) -> str:
    """One of pydantic's problems in plain words: where, what is allowed, what was given."""
    if text := _problem_of_key(item):
        return text
    kind, where = item["type"], _where(item["loc"])
    if kind == "missing":
        return f'the key "{where}" is missing'
    if kind == "extra_forbidden":
        return f'unknown key "{where}"'
    given = item.get("input")
    shown = "" if isinstance(given, dict | list) or not where else f" (given: {given!r})"
    if kind == "value_error":
        message = item["msg"].removeprefix("Value error, ")
        return f"{where}: {message}" if where else message
    usual = item["msg"].replace("Input should be", "should be")
    return f"{where or 'the file'} {PLAIN.get(kind, usual)}{shown}"


def _problem_of_key(item: Any) -> str:
    """What is said of a key that is no text, as 1 and yes are none to YAML; empty for values."""
    path = item["loc"]
    if path[-1:] == ("[key]",):
        path = path[:-1]
    elif item["type"] != "invalid_key":
        return ""
    where = _where(path[:-1])
    told = f"the key {item['input']!r} should be text; put it into quotes"
    return f"{where}: {told}" if where else told


def _where(path: tuple[Any, ...]) -> str:
    """("a", "b", 0) as "a.b, item 1"."""
    told = ""
    for part in path:
        told += f", item {part + 1}" if isinstance(part, int) else f".{part}"
    return told.lstrip(".,").strip()


def _line(node: yaml.Node | None, path: tuple[Any, ...]) -> str:
    """Where the value at `path` stands, as "line 3: "; as far as the path leads."""
    line = 0
    for part in path:
        if isinstance(node, yaml.MappingNode):
            found = next(((k, v) for k, v in node.value if k.value == str(part)), None)
        elif isinstance(node, yaml.SequenceNode) and isinstance(part, int):
            found = (node.value[part], node.value[part]) if part < len(node.value) else None
        else:
            found = None
        if found is None:
            break
        line, node = found[0].start_mark.line + 1, found[1]
    return f"line {line}: " if line else ""


def _known_keys(model: type[BaseModel], path: tuple[Any, ...]) -> list[str]:
    current: Any = model
    for part in path:
        info = getattr(current, "model_fields", {}).get(str(part))
        if info is None:
            continue
        current = _model_in(info.annotation) or current
    return sorted(getattr(current, "model_fields", {}))


def _model_in(annotation: Any) -> type[BaseModel] | None:
    if isinstance(annotation, type) and issubclass(annotation, BaseModel):
        return annotation
    for part in getattr(annotation, "__args__", ()):
        found = _model_in(part)
        if found:
            return found
    return None

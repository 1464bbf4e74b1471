"""Strict YAML to pydantic models. Knows no room; every message names the file and the key."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any, TypeVar

import yaml
from pydantic import BaseModel, ConfigDict, ValidationError

from fiatkit.errors import SettingsError, did_you_mean

MAX_BYTES = 4 * 1024 * 1024
MAX_ALIASES = 100


class Strict(BaseModel):
    """A settings block: unknown keys are errors, values are frozen."""

    model_config = ConfigDict(extra="forbid", frozen=True, str_strip_whitespace=False)


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
        raise SettingsError(f'Cannot read "{path}": {error.strerror or error}.') from None
    if len(raw) > MAX_BYTES:
        raise SettingsError(f'"{path}" has {len(raw)} bytes; settings files hold at most 4 MiB.')
    try:
        loader = _Loader(raw.decode("utf-8-sig"))
        node = loader.get_single_node()
        return (None if node is None else loader.construct_document(node)), node
    except (yaml.YAMLError, UnicodeDecodeError, RecursionError) as error:
        problem = " ".join(str(error).split())
        raise SettingsError(f'"{path}" is not valid YAML: {problem}.') from None


def parse(model: type[S], values: Any, source: str, node: yaml.Node | None = None) -> S:
    """Validate `values` as `model`. Raises SettingsError; unknown keys get a suggestion.

    Args:
        model: what the values must fit.
        values: keys and values.
        source: the file or whatever else the values come from, for messages.
        node: the YAML node of `values`, where there is one, so that messages name lines.
    """
    if not isinstance(values, dict):
        raise SettingsError(
            f'"{source}" should hold keys and values, but holds {type(values).__name__}.'
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
    lines, hint = [], ""
    for item in error.errors():
        where = ".".join(str(part) for part in item["loc"])
        line = _line(node, item["loc"])
        if item["type"] == "extra_forbidden":
            known = _known_keys(model, item["loc"][:-1])
            lines.append(f'{line}unknown key "{where}"; allowed here: {", ".join(known)}')
            hint = hint or did_you_mean(str(item["loc"][-1]), known)
        else:
            given = item.get("input")
            shown = "" if isinstance(given, dict | list) else f" (given: {given!r})"
            message = item["msg"].removeprefix("Value error, ")
            lines.append(f"{line}{where or 'the file'}: {message}{shown}")
    return f'"{source}": ' + "; ".join(lines) + ".", hint


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

"""Plug-ins by file name: a module in a plug-in room is a plug-in; helpers start with `_`.

Packages outside fiatkit add plug-ins through the entry-point group `fiatkit.<room>`.
"""

from __future__ import annotations

import importlib
import pkgutil
from importlib.metadata import entry_points
from types import ModuleType

from fiatkit.errors import UnknownNameError


def names(room: str) -> list[str]:
    """Names of all plug-ins of a room such as "metrics" or "models", sorted."""
    package = importlib.import_module(f"fiatkit.{room}")
    own = {m.name for m in pkgutil.iter_modules(package.__path__) if not m.name.startswith("_")}
    outside = {e.name for e in entry_points(group=f"fiatkit.{room}")}
    return sorted(own | outside)


def get(room: str, name: str) -> ModuleType:
    """Import the plug-in `name` of `room`. Raises UnknownNameError with a suggestion."""
    if name not in names(room):
        raise UnknownNameError(room.split(".")[-1].rstrip("s"), name, names(room))
    for entry in entry_points(group=f"fiatkit.{room}"):
        if entry.name == name:
            module = entry.load()
            assert isinstance(module, ModuleType)
            return module
    return importlib.import_module(f"fiatkit.{room}.{name}")

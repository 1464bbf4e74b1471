"""Where a comparison can be followed beside its run folder: MLflow, trackio, Weights & Biases.

A tracker is a file of this room with a `PACKAGE` and a function `open_tracker`. It works in a
process of its own (`Followed`), so that neither its errors nor its network can stop or slow a run.
"""

from __future__ import annotations

import importlib.util
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Protocol

from fiatkit import registry
from fiatkit.errors import MissingExtraError

ROOM = "experiment.trackers"
Parameter = str | int | float


@dataclass(frozen=True, slots=True)
class Comparison:
    """The comparison that is followed: an id of its own, the run folder's name, its title."""

    id: str
    name: str
    title: str


class Tracker(Protocol):
    """Writes what happens in one comparison to one tracking library. Its errors may be any."""

    def begin(self, cell: str, parameters: Mapping[str, Parameter]) -> None:
        """A cell begins, or goes on after a stop."""
        ...

    def log(self, step: int, values: Mapping[str, float]) -> None:
        """Numbers of the cell under way, such as the loss of a step."""
        ...

    def end(self, values: Mapping[str, float]) -> None:
        """The cell is finished: its scores with intervals, calls, tokens and seconds."""
        ...

    def keep(self, files: Sequence[Path]) -> None:
        """The comparison's report."""
        ...

    def close(self) -> None:
        """Nothing more will come."""
        ...


def check(names: Sequence[str]) -> None:
    """Look whether there are such trackers and whether their packages are installed.

    Raises:
        UnknownNameError: there is no such tracker.
        MissingExtraError: its package is not installed.
    """
    for name in names:
        package = registry.get(ROOM, name).PACKAGE
        if importlib.util.find_spec(package) is None:
            raise MissingExtraError(package, "track", f"track: {name}")

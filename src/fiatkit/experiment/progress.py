"""How an experiment tells its progress; the command line draws it, tests ignore it."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, Protocol

if TYPE_CHECKING:
    from fiatkit.experiment.plan import Cell, Plan


class Progress(Protocol):
    """Receives what is going on. One stage is under way at a time."""

    def stage(self, name: str, total: int) -> None:
        """A stage of `total` steps begins."""
        ...

    def advance(self, done: int, note: str = "") -> None:
        """`done` steps of the stage are finished."""
        ...

    def say(self, message: str) -> None:
        """A line worth keeping on the screen."""
        ...

    def begins(self, plan: Plan, cell: Cell) -> None:
        """A cell begins, or goes on after a stop."""
        ...

    def measured(self, step: int, values: Mapping[str, float]) -> None:
        """Numbers of the tuning under way after so many steps: `loss`, `dev/<metric>`."""
        ...

    def finished(self, plan: Plan, cell: Cell) -> None:
        """A cell was written."""
        ...


class Silent:
    """Tells nobody."""

    def stage(self, name: str, total: int) -> None:
        """Ignore."""

    def advance(self, done: int, note: str = "") -> None:
        """Ignore."""

    def say(self, message: str) -> None:
        """Ignore."""

    def begins(self, plan: Plan, cell: Cell) -> None:
        """Ignore."""

    def measured(self, step: int, values: Mapping[str, float]) -> None:
        """Ignore."""

    def finished(self, plan: Plan, cell: Cell) -> None:
        """Ignore."""

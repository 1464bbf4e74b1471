"""A run's progress, told on and handed to trackers besides."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from fiatkit.experiment.progress import Progress
from fiatkit.experiment.trackers import Comparison, Parameter, check
from fiatkit.experiment.trackers._followed import LAST_WAIT, Followed

if TYPE_CHECKING:
    from fiatkit.experiment.plan import Cell, Plan

STOPPED_WAIT = 2.0  # seconds for trackers, where a run was stopped


class Tracked:
    """Tells a run's progress on to `progress`, and its cells to trackers.

    Use it as a context manager round a comparison. Trackers get the settings, losses, scores and
    counts of cells; no key, no address and no row.

    Raises:
        UnknownNameError: there is no such tracker as the run names.
        MissingExtraError: its package is not installed.
    """

    def __init__(self, plan: Plan, progress: Progress) -> None:
        check(plan.config.track)
        self._plan, self._progress = plan, progress
        self._followed: list[Followed] = []

    def __enter__(self) -> Tracked:
        return self

    def __exit__(self, kind: type[BaseException] | None, *exception: object) -> None:
        for followed in self._followed:
            followed.close(LAST_WAIT if kind is None else STOPPED_WAIT)

    def stage(self, name: str, total: int) -> None:
        """A stage of `total` steps begins."""
        self._progress.stage(name, total)

    def advance(self, done: int, note: str = "") -> None:
        """`done` steps of the stage are finished."""
        self._progress.advance(done, note)

    def say(self, message: str) -> None:
        """A line worth keeping on the screen."""
        self._progress.say(message)

    def begins(self, plan: Plan, cell: Cell) -> None:
        """A cell begins, or goes on after a stop."""
        self._progress.begins(plan, cell)
        self._start()
        self._send("begin", cell=self._name(plan, cell), parameters=parameters(plan, cell))

    def measured(self, step: int, values: Mapping[str, float]) -> None:
        """Numbers of the cell under way."""
        self._progress.measured(step, values)
        self._send("log", step=step, values=dict(values))

    def finished(self, plan: Plan, cell: Cell) -> None:
        """A cell was written."""
        self._progress.finished(plan, cell)
        self._send("end", values=results(plan.out / "cells" / cell.folder / "cell.json"))

    def report(self, files: Sequence[Path]) -> None:
        """The comparison is over and its report is drawn."""
        self._start()
        self._send("keep", files=[str(file.absolute()) for file in files])

    def _send(self, do: str, **values: Any) -> None:
        for followed in self._followed:
            followed.send(do, **values)

    def _name(self, plan: Plan, cell: Cell) -> str:
        """The cell's name, with its fold's before it."""
        folder = plan.out / "cells" / cell.folder
        return "/".join(p for p in folder.relative_to(self._plan.out).parts if p != "cells")

    def _start(self) -> None:
        """Start the trackers, once there is a run folder, and catch up with finished cells."""
        plan = self._plan
        if self._followed or not plan.config.track:
            return
        run = json.loads((plan.out / "run.json").read_text(encoding="utf-8"))
        key = hashlib.sha256(f"{plan.out.resolve()}|{run['started']}".encode()).hexdigest()[:8]
        comparison = Comparison(key, plan.out.name, run["title"])
        self._followed = [
            Followed(name, comparison, plan.out / f".tracked-{name}", self._progress.say)
            for name in plan.config.track
        ]
        for part in plan.parts:
            for cell in filter(part.finished, part.cells):
                self._send("begin", cell=self._name(part, cell), parameters=parameters(part, cell))
                file = part.out / "cells" / cell.folder / "cell.json"
                self._send("end", values=results(file))


def parameters(plan: Plan, cell: Cell) -> dict[str, Parameter]:
    """A cell's settings, as names and plain values. No key, address or row is among them."""
    config = plan.config
    large = config.large.values_for_provider()
    found: dict[str, Any] = {
        "task": plan.task.name,
        "recipe": cell.recipe,
        "size": cell.size,
        "seed": cell.seed,
        "small": Path(config.small.model).name,
        "large": f"{large['provider']} {Path(str(large.get('model', ''))).name}".strip(),
        "test_rows": len(plan.data.test),
        "dev_rows": len(plan.data.dev),
    }
    found |= {f"tuning.{k}": v for k, v in config.tuning.model_dump(mode="json").items()}
    return {
        k: v if isinstance(v, str | int | float) else str(v)
        for k, v in found.items()
        if v is not None
    }


def results(file: Path) -> dict[str, float]:
    """A finished cell's numbers by name: each metric with its interval and languages, rows by
    status, and what it took."""
    record = json.loads(file.read_text(encoding="utf-8"))
    found: dict[str, Any] = {}
    for name, score in record["scores"].items():
        found |= {name: score["value"], f"{name}.low": score["low"], f"{name}.high": score["high"]}
        found |= {f"{name}/{language}": v for language, v in score["languages"].items()}
    for block in ("counts", "usage", "seconds"):
        found |= {f"{block}/{name}": value for name, value in record.get(block, {}).items()}
    return {k: float(v) for k, v in found.items() if isinstance(v, int | float)}

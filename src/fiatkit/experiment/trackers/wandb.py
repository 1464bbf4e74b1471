"""Weights & Biases: a project a title, a run for each cell, grouped by the run folder's name.

Offline, in the folder wandb, unless WANDB_MODE says online; `wandb sync` uploads it later.
"""

from __future__ import annotations

import os
import re
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from fiatkit.experiment.trackers import Comparison, Parameter

PACKAGE = "wandb"
_NO_NAME = re.compile(r"[^\w\-.]+")


def open_tracker(comparison: Comparison) -> WandbTracker:
    """Load the library, which then tells nobody of its errors or of this machine."""
    os.environ["WANDB_ERROR_REPORTING"] = "false"
    import wandb

    return WandbTracker(wandb, comparison)


class WandbTracker:
    """A run's id is the comparison's and the cell's, so that a resumed cell goes on in it."""

    def __init__(self, library: Any, comparison: Comparison) -> None:
        self._library, self._comparison = library, comparison
        self._settings = library.Settings(
            mode=os.environ.get("WANDB_MODE", "offline"),
            silent=True,
            console="off",
            disable_code=True,
            disable_git=True,
            save_code=False,
            x_disable_machine_info=True,
            x_disable_meta=True,
            x_disable_stats=True,
            x_save_requirements=False,
        )
        self._run: Any = None

    def begin(self, cell: str, parameters: Mapping[str, Parameter]) -> None:
        """Start the cell's run or take it up."""
        self.close()
        self._run = self._library.init(
            project=_NO_NAME.sub("-", self._comparison.title)[:128] or "fiatkit",
            id=f"{self._comparison.id}-{_NO_NAME.sub('-', cell)}",
            name=cell,
            group=self._comparison.name,
            job_type=str(parameters.get("recipe", "report")),
            config=dict(parameters),
            resume="allow",
            settings=self._settings,
        )

    def log(self, step: int, values: Mapping[str, float]) -> None:
        """Numbers at a step."""
        self._run.log(dict(values), step=step)

    def end(self, values: Mapping[str, float]) -> None:
        """The last numbers are the run's summary; it is over."""
        self._run.summary.update(dict(values))
        self.close()

    def keep(self, files: Sequence[Path]) -> None:
        """An artifact of a run of its own."""
        self.begin("report", {"files": len(files)})
        artifact = self._library.Artifact(f"report-{self._comparison.id}", type="report")
        for file in files:
            artifact.add_file(str(file))
        self._run.log_artifact(artifact)
        self.close()

    def close(self) -> None:
        """Finish what is under way."""
        if self._run is not None:
            self._run.finish()
            self._run = None

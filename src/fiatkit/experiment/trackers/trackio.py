"""trackio: a project a title, a run for each cell, grouped by the run folder's name.

Goes to a SQLite file in TRACKIO_DIR, by default in the cache of Hugging Face; to a Space or server
only where TRACKIO_SPACE_ID or TRACKIO_SERVER_URL says so.
"""

from __future__ import annotations

import os
import re
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from fiatkit.experiment.trackers import Comparison, Parameter

PACKAGE = "trackio"
REMOTE = ("TRACKIO_SPACE_ID", "TRACKIO_SERVER_URL")


def open_tracker(comparison: Comparison) -> TrackioTracker:
    """Load the library; without a Space or server it asks no network for a user name."""
    local = not any(os.environ.get(name) for name in REMOTE)
    if local:
        os.environ["HF_HUB_OFFLINE"] = "1"
    import trackio

    return TrackioTracker(trackio, comparison, local=local)


class TrackioTracker:
    """A run's name holds the comparison's id, so that a resumed cell goes on in the same run."""

    def __init__(self, library: Any, comparison: Comparison, *, local: bool) -> None:
        self._library, self._local = library, local
        self._project = re.sub(r"[^\w\-]+", "-", comparison.title).strip("-") or "fiatkit"
        self._group, self._id = comparison.name, comparison.id
        self._run: Any = None

    def begin(self, cell: str, parameters: Mapping[str, Parameter]) -> None:
        """Start the cell's run or take it up."""
        self._finish()
        self._run = self._library.init(
            self._project,
            name=f"{cell} {self._id}",
            group=self._group,
            config=dict(parameters),
            resume="allow",
            embed=False,
            auto_log_gpu=False,
            auto_log_cpu=False,
        )

    def log(self, step: int, values: Mapping[str, float]) -> None:
        """Numbers at a step."""
        self._run.log(dict(values), step=step)

    def end(self, values: Mapping[str, float]) -> None:
        """The last numbers; the run is over."""
        self._run.log(dict(values))
        self._finish()

    def keep(self, files: Sequence[Path]) -> None:
        """An artifact of a run of its own."""
        self.begin("report", {"files": len(files)})
        artifact = self._library.Artifact(f"report-{self._id}", type="report")
        for file in files:
            artifact.add_file(str(file))
        self._run.log_artifact(artifact)
        self.end({"files": len(files)})

    def close(self) -> None:
        """Finish what is under way."""
        self._finish()

    def _finish(self) -> None:
        """Write what is waiting. trackio only warns where it cannot write, so look.

        Raises:
            OSError: nothing of the run was written.
        """
        if self._run is None:
            return
        run, self._run = self._run, None
        self._library.finish()
        if self._local:
            try:
                written = {found.name for found in self._library.Api().runs(self._project)}
            except ValueError:  # there is no such project
                written = set()
            if run.name not in written:
                raise OSError(f"it did not write the run {run.name}")

"""MLflow: an experiment a title, a run for the comparison, and a nested run for each cell.

Goes where MLFLOW_TRACKING_URI says; by default to mlflow.db in the current folder.
"""

from __future__ import annotations

import os
import re
import time
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from fiatkit.experiment.trackers import Comparison, Parameter

PACKAGE = "mlflow"
CELL, WHOLE = "fiatkit.cell", "comparison"
_NO_NAME = re.compile(r"[^\w\-./ ]")


def open_tracker(comparison: Comparison) -> MLflowTracker:
    """Connect to the tracking store."""
    os.environ["MLFLOW_DISABLE_TELEMETRY"] = "true"
    from mlflow import MlflowClient

    return MLflowTracker(MlflowClient(), comparison)


class MLflowTracker:
    """Finds its runs again by their tag, so that a resumed cell goes on in the same run."""

    def __init__(self, client: Any, comparison: Comparison) -> None:
        self._client, self._id = client, comparison.id
        found = client.get_experiment_by_name(comparison.title)
        made = found.experiment_id if found else client.create_experiment(comparison.title)
        self._experiment = str(made)
        self._whole = self._run(WHOLE, comparison.name, {}, {})
        self._cell = self._whole

    def begin(self, cell: str, parameters: Mapping[str, Parameter]) -> None:
        """Start the cell's run or take it up."""
        self._cell = self._run(cell, cell, {"mlflow.parentRunId": self._whole}, parameters)

    def log(self, step: int, values: Mapping[str, float]) -> None:
        """Numbers at a step."""
        from mlflow.entities import Metric

        now = int(time.time() * 1000)
        found = [Metric(_NO_NAME.sub(".", n), value, now, step) for n, value in values.items()]
        self._client.log_batch(self._cell, metrics=found)

    def end(self, values: Mapping[str, float]) -> None:
        """The last numbers; the run is over."""
        self.log(0, values)
        self._client.set_terminated(self._cell)

    def keep(self, files: Sequence[Path]) -> None:
        """Files of the comparison's own run."""
        for file in files:
            self._client.log_artifact(self._whole, str(file))

    def close(self) -> None:
        """The comparison's run is over."""
        self._client.set_terminated(self._whole)

    def _run(
        self,
        key: str,
        name: str,
        tags: Mapping[str, str],
        parameters: Mapping[str, Parameter],
    ) -> str:
        """The id of the run of this tag: an old one, which goes on, or a new one."""
        tag = f"{self._id}/{key}"
        found = self._client.search_runs([self._experiment], f"tags.`{CELL}` = '{tag}'")
        if found:
            self._client.update_run(found[0].info.run_id, status="RUNNING")
            return str(found[0].info.run_id)
        made = self._client.create_run(self._experiment, tags={CELL: tag, **tags}, run_name=name)
        for parameter, value in parameters.items():
            self._client.log_param(made.info.run_id, _NO_NAME.sub("_", parameter), value)
        return str(made.info.run_id)

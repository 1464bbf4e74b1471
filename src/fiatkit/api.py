"""The same work from Python: compare, fit, load, predict. Files or frames go in.

`config` is a run file's path, or its keys and values as a dict. `frames` are tables of pandas,
polars or Arrow in place of the files under `data`: `{"file": frame}`, or `{"train": ..., "test":
...}` and perhaps `"dev"`. All work resumes where it stopped, as the commands' does.
"""

from __future__ import annotations

from collections.abc import Mapping
from contextlib import AbstractContextManager, nullcontext
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from fiatkit.cli._console import Bars
from fiatkit.cli._whole import compare_and_report
from fiatkit.config import RunConfig, read_config
from fiatkit.experiment import make_plan
from fiatkit.experiment.progress import Progress, Silent
from fiatkit.experiment.single import Fitted, load_fitted, tune_one
from fiatkit.reasoning.policy import Policy
from fiatkit.records import Prediction
from fiatkit.report import Line, Summary, summarise, verdict
from fiatkit.settings import parse
from fiatkit.tasks import Task

Config = RunConfig | Path | str | Mapping[str, Any]
Frames = Mapping[str, object]


@dataclass(frozen=True, slots=True)
class Comparison:
    """A finished comparison: its lines, where the report lies, and the verdict: who wins, by how
    much, whether that is sure."""

    summary: Summary
    report: Path
    verdict: str

    @property
    def lines(self) -> list[Line]:
        """One line a recipe and size: score, interval, paired differences, calls, seconds."""
        return self.summary.lines


class Model:
    """A tuned model and what it was tuned with. `fit` makes one, `load` opens one."""

    def __init__(self, folder: Path, fitted: Fitted, store: Path) -> None:
        self.folder = folder
        self._fitted = fitted
        self._store = store

    def __repr__(self) -> str:
        fitted = self._fitted
        base = fitted.predictor.small.identity["name"]
        return f"Model({str(self.folder)!r}, task={fitted.task.name!r}, base={base!r})"

    @property
    def task(self) -> Task:
        """The task that it was tuned on."""
        return self._fitted.task

    def predict(
        self,
        rows: Path | str | object,
        *,
        limits: Mapping[str, Any] | None = None,
        encoding: str | None = None,
        skip_bad: bool = False,
        progress: bool = True,
    ) -> list[Prediction]:
        """Answer new rows, in their order; they need no target.

        Args:
            rows: a file, or a table of pandas, polars or Arrow.
            limits: what may be spent, as `limits:` in a run file: `{"max_cost": 5}`.
            encoding: of a text file that is not UTF-8.
            skip_bad: give rows that cannot be read the status "skipped:bad_row", instead of
                stopping at them.
            progress: show progress bars.

        Returns:
            One prediction a row, failed ones too: see `Prediction.status`.

        Raises:
            DataError: a row lacks what the task reads, or has another row's id.
            ProviderError: the large model cannot be reached; what was paid for is in the store.
        """
        with _bars(progress) as bars:
            source = Path(rows) if isinstance(rows, str) else rows
            policy = parse(Policy, dict(limits or {}), "limits")
            return self._fitted.predict(
                source, self._store, bars, policy, encoding, skip_bad=skip_bad
            )


def compare(config: Config, *, frames: Frames | None = None, progress: bool = True) -> Comparison:
    """Run recipes x sizes x seeds on the same rows, as `fiat compare` does.

    Args:
        config: a run file, or its keys and values.
        frames: tables in place of the files under `data`.
        progress: show progress bars.

    Raises:
        UsageError: settings or rows are wrong.
        ProviderError: the large model cannot be used; what was paid for is in the store.
        BudgetError: all is done, but more rationales failed than `max_failed` allows.
    """
    plan = make_plan(_config(config), frames)
    with _bars(progress) as bars:
        run, problem = compare_and_report(plan, bars)
    if problem is not None:
        raise problem
    return Comparison(summarise(run), plan.out / "report.html", verdict(run))


def fit(
    config: Config,
    *,
    out: Path | str,
    recipe: str = "fiat",
    size: int | None = None,
    seed: int = 0,
    frames: Frames | None = None,
    progress: bool = True,
    force_resume: bool = False,
) -> Model:
    """Tune the small model by one recipe and keep it in the folder `out`, as `fiat tune` does.

    Args:
        config: a run file, or its keys and values.
        out: folder of the artefact; if it is there, it must be what the same call has made.
        recipe: one of `fiat compare --list-recipes` that tunes a model.
        size: training rows; all there are by default.
        seed: of the subset and of the tuning.
        frames: tables in place of the files under `data`.
        progress: show progress bars.
        force_resume: go on from the checkpoints of an interrupted call although something else
            than these settings, rows or packages was used then; the artefact will tell.

    Raises:
        UsageError: settings or rows are wrong, or something else is at `out`.
        CheckpointError: checkpoints of another tuning are there; says what differs.
        ProviderError: the large model cannot be used; what was paid for is in the store.
    """
    settings = _config(config)
    assert settings.store is not None
    with _bars(progress) as bars:
        tune_one(settings, recipe, size, seed, Path(out), bars, frames, force_resume=force_resume)
    return load(out, store=settings.store)


def load(
    folder: Path | str,
    *,
    store: Path | str = Path("runs/rationales.sqlite"),
    base: str | None = None,
) -> Model:
    """Open an artefact that `fit` or `fiat tune` made.

    Args:
        folder: the artefact.
        store: where rationales are kept.
        base: where its base model lies now, if it was moved.

    Raises:
        ArtefactError: it is damaged, newer, or does not fit the base model that is here.
    """
    return Model(Path(folder), load_fitted(Path(folder), base), Path(store))


def _config(given: Config) -> RunConfig:
    return given if isinstance(given, RunConfig) else read_config(given)


def _bars(shown: bool) -> AbstractContextManager[Progress]:
    return Bars() if shown else nullcontext(Silent())

"""A run's scores beside the same in resamples of its test groups: what all analysis starts from.

Each cell is scored once on the rows and once on every resample; intervals, differences, curves and
languages are all read from this one table, so that they agree and cost nothing more.
"""

from __future__ import annotations

import functools
from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import numpy as np

from fiatkit import metrics
from fiatkit.errors import DataError
from fiatkit.metrics import Estimate, Resampled
from fiatkit.records import ScoredRow
from fiatkit.report.run import CellResult, Run

UNKNOWN = Estimate(None)
Key = tuple[str, int | None]
REFERENCES = ("fiat", "instruct")
LARGEST = 100.0  # points between two scores
LEAST_DIFFERING = 5  # groups; the spread of fewer says nothing


@dataclass(frozen=True, slots=True, eq=False)
class Pair:
    """Two recipes as they can be compared: cells of the same seeds in the same order, or a single
    cell on one side, of a recipe that has no seeds."""

    a: list[CellResult]
    b: list[CellResult]


@dataclass(frozen=True, eq=False)
class Evidence:
    """The cells of a run by recipe and size, each list by seed, and their resampled scores.

    `problems` names the cells that cannot be scored, and why; these have no place in the table.
    """

    run: Run
    lines: dict[Key, list[CellResult]]
    problems: dict[str, str]
    _columns: dict[int, int]
    _table: Resampled | None

    def score(self, key: Key) -> Estimate:
        """A recipe's mean over seeds at a size."""
        found = self._places(self.lines.get(key, []))
        return UNKNOWN if found is None else found[0].score(found[1])

    def languages(self, key: Key) -> dict[str, Estimate]:
        """The same in each language; empty where the rows have none."""
        found = self._places(self.lines.get(key, []))
        if found is None or found[0].languages == [""]:
            return {}
        table, columns = found
        return {name: table.language(columns, i) for i, name in enumerate(table.languages)}

    def pair(self, a: Key, b: Key) -> Pair | None:
        """The cells of two lines that can be compared: those of the seeds that both have."""
        ours, theirs = self.lines.get(a, []), self.lines.get(b, [])
        if not ours or not theirs:
            return None
        if _unseeded(ours) or _unseeded(theirs):
            return Pair(ours, theirs)
        common = {c.record.seed for c in ours} & {c.record.seed for c in theirs}
        if not common:
            return None
        return Pair(
            [c for c in ours if c.record.seed in common],
            [c for c in theirs if c.record.seed in common],
        )

    def difference(self, pair: Pair) -> Estimate:
        """A's score less B's."""
        found = self._both(pair)
        return UNKNOWN if found is None else found[0].difference(*found[1:])

    def tellable(self, pair: Pair, comparisons: int) -> float | None:
        """The smallest difference of the two that the test rows can tell, corrected for so many
        comparisons; None where too few groups differ to judge by, or where none is so large."""
        found = self._both(pair)
        if found is None or self.differing(pair) < LEAST_DIFFERING:
            return None
        least = found[0].tellable(*found[1:], comparisons)
        return None if least is None or least > LARGEST else least

    def differing(self, pair: Pair) -> int:
        """How many test groups add to the difference of the two; where the metric is no mean of
        row values, how many have other answers."""
        added = self.added(pair)
        if added is not None:
            return int((np.abs(added) > 1e-12).sum())
        most = max(len(pair.a), len(pair.b))
        ours, theirs = (side * (most // len(side)) for side in (pair.a, pair.b))
        return len(
            {
                row.group
                for one, other in zip(ours, theirs, strict=True)
                for row in self.run.rows
                if _given(one, row.id) != _given(other, row.id)
            }
        )

    def resampled(self, pair: Pair) -> tuple[Resampled, list[int], list[int]] | None:
        """The table and the two sides' columns; None where a cell could not be scored."""
        return self._both(pair)

    def added(self, pair: Pair) -> np.ndarray | None:
        """What each test group adds to the difference of the two [groups]; None where the metric
        is no mean of row values, or undefined."""
        found = self._both(pair)
        if found is None:
            return None
        table, ours, theirs = found
        each = table.added[:, ours].mean(axis=1) - table.added[:, theirs].mean(axis=1)
        return None if np.isnan(each).any() else np.asarray(each)

    def rows(self, cells: Sequence[CellResult]) -> list[list[ScoredRow]]:
        """The scored rows of some cells."""
        return [self.run.scored(cell) for cell in cells]

    def _places(self, cells: Sequence[CellResult]) -> tuple[Resampled, list[int]] | None:
        columns = [self._columns[id(cell)] for cell in cells if id(cell) in self._columns]
        if self._table is None or not columns or len(columns) < len(cells):
            return None
        return self._table, columns

    def _both(self, pair: Pair) -> tuple[Resampled, list[int], list[int]] | None:
        ours, theirs = self._places(pair.a), self._places(pair.b)
        return None if ours is None or theirs is None else (*ours, theirs[1])


@functools.lru_cache(maxsize=2)
def evidence(run: Run) -> Evidence:
    """Score every cell of a run on its rows and on the same resamples; once a run."""
    lines: dict[Key, list[CellResult]] = {}
    for cell in run.cells:
        lines.setdefault((cell.recipe, cell.record.size), []).append(cell)
    for cells in lines.values():
        cells.sort(key=lambda cell: cell.record.seed or 0)
    table: Resampled | None = None
    sound, problems = list(run.cells), dict[str, str]()
    try:
        table = _resample(run, sound)
    except DataError:
        problems = dict(_problems(run))
        sound = [cell for cell in run.cells if cell.name not in problems]
        table = _resample(run, sound) if sound else None
    columns = {id(cell): index for index, cell in enumerate(sound)}
    return Evidence(run, lines, problems, columns, table)


def _resample(run: Run, cells: Sequence[CellResult]) -> Resampled:
    return metrics.resample(
        run.primary,
        [run.scored(cell) for cell in cells],
        run.labels,
        averaged=run.info.task.averaged,
    )


def _problems(run: Run) -> Iterator[tuple[str, str]]:
    """Cells whose predictions cannot be scored at all, such as a probability that is no number."""
    for cell in run.cells:
        try:
            metrics.corpus(run.primary, run.scored(cell), run.labels)
        except DataError as error:
            yield cell.name, str(error)


def _given(cell: CellResult, row: str) -> tuple[object, ...]:
    given = cell.predictions[row]
    return given.status, given.answer, given.probabilities


def _unseeded(cells: Sequence[CellResult]) -> bool:
    return len(cells) == 1 and cells[0].record.seed is None


def reference(found: Evidence) -> str | None:
    """The recipe that others are compared with: FIAT, else `instruct`, else the first one."""
    records = [cells[0].record for cells in found.lines.values()]
    names = [r.recipe for r in records if not r.is_floor and not r.is_outside]
    chosen = next((name for name in REFERENCES if name in names), None)
    return chosen or (names[0] if names else None)


def name_of(key: Key) -> str:
    """A recipe and its training rows in words."""
    recipe, size = key
    return recipe if size is None else f"{recipe} on {size} rows"

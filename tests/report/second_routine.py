"""A report's numbers counted again from the files of a run folder, by other means: plain loops over
JSON, resamples row by row, scipy's tests. Shares no code with the package."""

import json
import math
import random
from collections import defaultdict
from pathlib import Path
from typing import Any

Marks = dict[str, float]  # 100 for a right row, 0 for a wrong one, by row id


class Folder:
    """A run folder of a label task, read anew."""

    def __init__(self, path: Path) -> None:
        self.rows = {r["id"]: r for r in _lines(path / "test.jsonl")}
        self.marks: dict[tuple[str, int | None], dict[int | None, Marks]] = defaultdict(dict)
        self.records: dict[str, Any] = {}
        for place in sorted((path / "cells").iterdir()):
            record = json.loads((place / "cell.json").read_text("utf-8"))
            self.records[place.name] = record
            found = {p["id"]: p for p in _lines(place / "predictions.jsonl")}
            self.marks[record["recipe"], record["size"]][record["seed"]] = {
                i: 100.0 * (found[i]["status"] == "ok" and found[i]["answer"] == row["target"])
                for i, row in self.rows.items()
            }

    def mean(self, marks: Marks, ids: list[str] | None = None) -> float:
        """Unweighted mean over languages; `ids` may name a row several times."""
        by_language = defaultdict(list)
        for i in self.rows if ids is None else ids:
            by_language[self.rows[i]["language"]].append(marks[i])
        return _mean([_mean(values) for values in by_language.values()])

    def score(self, key: tuple[str, int | None]) -> float:
        """Mean over seeds."""
        return _mean([self.mean(marks) for marks in self.marks[key].values()])

    def difference(self, a: tuple[str, int | None], b: tuple[str, int | None]) -> float:
        """Mean over the seeds that both have of A's score less B's."""
        return _mean([self.mean(ours) - self.mean(theirs) for ours, theirs in self.pairs(a, b)])

    def pairs(self, a: tuple[str, int | None], b: tuple[str, int | None]) -> list[tuple[Any, Any]]:
        """The marks of both for each seed."""
        ours, theirs = self.marks[a], self.marks[b]
        if list(theirs) == [None]:
            return [(marks, theirs[None]) for marks in ours.values()]
        return [(ours[seed], theirs[seed]) for seed in sorted(set(ours) & set(theirs))]

    def members(self) -> dict[str, list[str]]:
        """Row ids by group."""
        found = defaultdict(list)
        for i, row in self.rows.items():
            found[row["group"]].append(i)
        return found

    def percentiles(
        self, a: tuple[str, int | None], b: tuple[str, int | None], times: int
    ) -> tuple[float, float, float]:
        """Plain 2.5 and 97.5 % percentiles of the difference on resampled groups, and its standard
        deviation."""
        rng, members = random.Random(5), self.members()
        names = list(members)
        drawn = []
        for _ in range(times):
            ids = [i for _ in names for i in members[rng.choice(names)]]
            drawn.append(
                _mean([self.mean(x, ids) - self.mean(y, ids) for x, y in self.pairs(a, b)])
            )
        drawn.sort()
        middle = _mean(drawn)
        spread = math.sqrt(_mean([(value - middle) ** 2 for value in drawn]))
        return drawn[int(0.025 * times)], drawn[int(0.975 * times)], spread

    def permuted(self, a: tuple[str, int | None], b: tuple[str, int | None], times: int) -> float:
        """p of the difference when whole groups are swapped at random, row by row."""
        rng, members = random.Random(6), self.members()
        observed = abs(self.difference(a, b))
        beyond = 0
        for _ in range(times):
            swapped = {i for ids in members.values() if rng.random() < 0.5 for i in ids}
            values = []
            for ours, theirs in self.pairs(a, b):
                one = {i: (theirs if i in swapped else ours)[i] for i in self.rows}
                other = {i: (ours if i in swapped else theirs)[i] for i in self.rows}
                values.append(self.mean(one) - self.mean(other))
            beyond += abs(_mean(values)) >= observed - 1e-9
        return (beyond + 1) / (times + 1)


def _mean(values: list[float]) -> float:
    return sum(values) / len(values)


def _lines(path: Path) -> list[Any]:
    return [json.loads(line) for line in path.read_text("utf-8").splitlines()]

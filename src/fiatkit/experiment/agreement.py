"""How the answers in rationales stand to the targets: counted and told, and no filter.

The large model never sees a target, and a rationale that goes another way is what the small model
has to learn to live with, so all of them are kept.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable

from fiatkit.experiment.plan import Plan
from fiatkit.records import Rationale


class Agreement:
    """Counts rationales as they come.

    Args:
        plan: the run; its rows have the targets.
        writer: the name of the model that writes them.
    """

    def __init__(self, plan: Plan, writer: str) -> None:
        rows = (*plan.data.train, *plan.data.dev, *plan.data.test)
        self._wanted = {row.id: row.references for row in rows}
        self._labels = bool(plan.task.choices)
        self._writer = writer
        self._counts: Counter[str] = Counter()
        self._failed: Counter[str] = Counter()

    def count(self, rationale: Rationale) -> None:
        """Take note of one; of those that failed, why."""
        if rationale.status != "ok":
            self._failed[rationale.status.removeprefix("failed:")] += 1
            return
        wanted = self._wanted.get(rationale.query_id, ())
        if rationale.answer is None:
            self._counts["none"] += 1
        else:
            self._counts["same" if rationale.answer in wanted else "other"] += 1

    def count_all(self, rationales: Iterable[Rationale]) -> Agreement:
        """Take note of many."""
        for rationale in rationales:
            self.count(rationale)
        return self

    def __str__(self) -> str:
        same, other, none = (self._counts[name] for name in ("same", "other", "none"))
        total = same + other + none
        if self._labels:
            told = f"{same:,} as the target, {other:,} another, {none:,} none"
        else:
            told = f"{none:,} have none"
        used = f"Answers in {total:,} rationales by {self._writer}: {told}. All of them are used."
        failed = self._failed.total()
        if not failed:
            return used
        why = ", ".join(f"{count:,} {reason}" for reason, count in self._failed.most_common())
        unused = f"{failed:,} of {failed + total:,} rationales by {self._writer} failed: {why}."
        return f"{used} {unused}" if total else unused

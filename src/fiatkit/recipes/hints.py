"""Which text a row is given as its rationale: its own or, as a control, another row's; the whole of
it or a part.

Rows are known by id and group here. No target is in sight, and no text of the row's own group
comes back to it as another's.
"""

from __future__ import annotations

import random
from collections import Counter
from collections.abc import Iterable, Mapping
from dataclasses import replace
from typing import TYPE_CHECKING

from fiatkit.prompts import answer_line
from fiatkit.recipes.recipe import Recipe
from fiatkit.records import Rationale

if TYPE_CHECKING:
    from fiatkit.tasks import Task

ALONE = "failed:no_other_group"  # there is no row of another group whose rationale it could read


def hint_text(task: Task, recipe: Recipe, rationale: Rationale) -> str:
    """What of a rationale the small model reads. Empty where that part of it does not exist."""
    if recipe.hint == "answer":
        return "" if rationale.answer is None else answer_line(task, rationale.answer)
    if recipe.hint == "reasoning":
        return task.without_answer(rationale.text)
    return rationale.text


def given(
    recipe: Recipe,
    rationales: Mapping[str, Rationale],
    splits: Iterable[Mapping[str, str]],
    seed: int,
) -> Mapping[str, Rationale]:
    """The rationale that each row is given: its own, unless the recipe shuffles them.

    Args:
        recipe: the recipe.
        rationales: by query id.
        splits: for each split, the group of each query id; nothing crosses splits.
        seed: of the shuffling.
    """
    if recipe.hint != "shuffled":
        return rationales
    found = dict(rationales)
    for groups in splits:
        good = {i: g for i, g in groups.items() if i in found and rationales[i].status == "ok"}
        donors = derangement(good, seed)
        for row in good:
            donor = donors.get(row)
            other = rationales[row] if donor is None else rationales[donor]
            status = ALONE if donor is None else other.status
            found[row] = replace(other, query_id=row, status=status)
    return found


def derangement(groups: Mapping[str, str], seed: int) -> dict[str, str]:
    """For each row another one, of another group; it depends on ids, groups and the seed alone.

    Where no group holds more than half of the rows, each row is another one's exactly once: rows
    stand in a random order, group after group, and each looks ahead by the size of the largest.

    Args:
        groups: the group of each row.
        seed: decides who is whose.

    Returns:
        The other row by row. Rows for which there is none are left out.
    """
    shuffled = random.Random(f"shuffled hints|{seed}")
    names = sorted(set(groups.values()))
    shuffled.shuffle(names)
    place = {name: index for index, name in enumerate(names)}
    rows = sorted(groups)
    shuffled.shuffle(rows)
    rows.sort(key=lambda row: place[groups[row]])
    ahead = max(Counter(groups.values()).values(), default=0)
    found = {}
    for index, row in enumerate(rows):
        other = rows[(index + ahead) % len(rows)]
        if groups[other] == groups[row]:  # of a group that holds more than half of the rows
            others = [one for one in rows if groups[one] != groups[row]]
            if not others:
                continue
            other = others[index % len(others)]
        found[row] = other
    return found

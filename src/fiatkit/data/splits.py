"""Train, dev and test: groups kept whole, nested subsets, and no overlap."""

from __future__ import annotations

import hashlib
from collections import defaultdict
from collections.abc import Iterable, Sequence

from fiatkit.data.groups import group_rows
from fiatkit.data.rows import Row
from fiatkit.errors import DataError, UsageError
from fiatkit.records import Example

MANY_TARGETS = 50


def nested_subset(examples: Sequence[Example], size: int, seed: int) -> list[Example]:
    """Choose `size` rows so that, for one seed, every smaller choice is a prefix of a larger one.

    The order is pseudo-random by (seed, id) and spreads languages and targets evenly, each at its
    own rate, so that a small subset is mixed. It depends on ids, languages and targets only.

    Raises:
        UsageError: there are fewer than `size` rows.
    """
    if size > len(examples):
        raise UsageError(f"{size} rows were asked for, but there are only {len(examples)}.")
    return _mixed(examples, seed)[:size]


def split(
    examples: Sequence[Example], dev: int, test: int, seed: int
) -> tuple[list[Example], list[Example], list[Example]]:
    """Split rows into train, dev and test. Whole groups, mixed over languages and labels.

    Rows with the same text go to the same side, even if no group says that they belong together.

    Args:
        examples: all rows.
        dev: rows wanted for dev; groups stay whole, so a few more may come.
        test: rows wanted for test; likewise.
        seed: decides which.

    Raises:
        UsageError: no training rows would be left.
    """
    groups = _together(examples, seed)
    parts: dict[str, list[Example]] = {"test": [], "dev": [], "train": []}
    for together in groups:
        wanted = (("test", test), ("dev", dev))
        name = next((n for n, size in wanted if len(parts[n]) < size), "train")
        parts[name] += together
    if not parts["train"]:
        raise UsageError(
            f"{len(examples)} rows in {len(groups)} groups are too few for {dev} dev and {test} "
            "test rows: nothing is left to train on.",
            "Set data.dev_rows and data.test_rows to smaller numbers.",
        )
    return parts["train"], parts["dev"], parts["test"]


def folds(examples: Sequence[Example], count: int, seed: int) -> list[list[Example]]:
    """Deal rows into `count` folds of about the same size: whole groups, mixed as in `split`.

    Raises:
        UsageError: there are fewer groups than folds.
    """
    groups = _together(examples, seed)
    if len(groups) < count:
        raise UsageError(
            f"{count} folds were asked for, but the {len(examples)} rows form only {len(groups)} "
            "groups, which are never split.",
            f"Ask for at most {len(groups)} folds.",
        )
    found: list[list[Example]] = [[] for _ in range(count)]
    for together in groups:
        min(found, key=len).extend(together)
    return found


def _together(examples: Sequence[Example], seed: int) -> list[list[Example]]:
    """Rows that must not be parted: of one group, or of the same text; in a mixed order."""
    rows = _mixed(examples, seed)
    texts = [normal(example.query.fields.values()) for example in rows]
    values = [{"group": e.group, "text": text} for e, text in zip(rows, texts, strict=True)]
    links = group_rows([Row("", i, value) for i, value in enumerate(values)], ["group", "text"])
    groups: dict[str, list[Example]] = defaultdict(list)
    for example, link in zip(rows, links, strict=True):
        groups[link].append(example)
    return list(groups.values())


def check_overlap(splits: dict[str, Sequence[Example]]) -> None:
    """Refuse rows that stand in two splits: by id, by text, or through a shared group.

    Raises:
        DataError: names the two splits and the rows.
    """
    looks = (
        ("the same id", lambda e: e.id),
        ("the same text", lambda e: normal(e.query.fields.values())),
        ("the same group", lambda e: e.group),
    )
    for what, key in looks:
        seen: dict[str, tuple[str, str]] = {}
        for name, rows in splits.items():
            for example in rows:
                other, row = seen.setdefault(key(example), (name, example.id))
                if other != name:
                    raise DataError(
                        f'Row "{example.id}" of {name} and row "{row}" of {other} have {what}.',
                        "A row in two splits makes every score too good. Remove one of them.",
                    )


def _mixed(examples: Sequence[Example], seed: int) -> list[Example]:
    """Pseudo-random order in which every prefix has each (language, target) at its own rate.

    The rows of one stratum are spread evenly over the order, from an offset of the stratum's own.
    """
    by_target = len({example.target for example in examples}) <= MANY_TARGETS
    strata: dict[tuple[str, str], list[Example]] = defaultdict(list)
    for example in sorted(examples, key=lambda e: _rank(seed, e.id)):
        target = example.target if by_target else ""
        strata[example.query.language, target].append(example)
    placed = []
    for name, rows in strata.items():
        offset = int(_rank(seed, "|".join(name))[:8], 16) / 2**32
        placed += [((i + offset) / len(rows), row.id, row) for i, row in enumerate(rows)]
    return [row for _, _, row in sorted(placed, key=lambda item: item[:2])]


def _rank(seed: int, text: str) -> str:
    return hashlib.sha256(f"{seed}|{text}".encode()).hexdigest()


def normal(texts: Iterable[str]) -> str:
    """Texts as one, without what does not make them another text: case and white space."""
    return "\x1f".join(" ".join(text.split()).casefold() for text in texts)

"""Which rows belong together: translations of one another, questions on one passage."""

from __future__ import annotations

import hashlib
from collections.abc import Sequence

from fiatkit.data.rows import Row


def group_rows(rows: Sequence[Row], columns: Sequence[str]) -> list[str]:
    """Give each row a group: rows that share a value of ANY of the columns, directly or in a chain.

    Args:
        rows: rows of all splits together, so that a link across files is found.
        columns: columns whose equal values link rows; empty or missing values link nothing.

    Returns:
        One group name a row. Names depend on the linked values only, not on the rows' order.
    """
    parent = list(range(len(rows)))

    def find(index: int) -> int:
        while parent[index] != index:
            parent[index] = parent[parent[index]]
            index = parent[index]
        return index

    first: dict[tuple[str, str], int] = {}
    for index, row in enumerate(rows):
        for key in _keys(row, columns):
            other = first.setdefault(key, index)
            parent[find(index)] = find(other)
    names: dict[int, str] = {}
    for index, row in enumerate(rows):
        for column, value in _keys(row, columns):
            name = _name(column, value)
            root = find(index)
            names[root] = min(names.get(root, name), name)
    return [names.get(find(index), f"row:{index}") for index in range(len(rows))]


def _keys(row: Row, columns: Sequence[str]) -> list[tuple[str, str]]:
    found = []
    for column in columns:
        value = row.values.get(column)
        if value is not None and str(value).strip():
            found.append((column, str(value)))
    return found


def _name(column: str, value: str) -> str:
    if len(value) <= 40:
        return f"{column}:{value}"
    return f"{column}:{hashlib.sha256(value.encode()).hexdigest()[:16]}"

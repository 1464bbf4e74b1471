"""Names of columns: how many there may be, and whether one stands there twice."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable

MAX_COLUMNS = 2000


def repeated(names: Iterable[str]) -> str | None:
    """The first name that stands there more than once, or None."""
    return next((name for name, count in Counter(names).items() if count > 1), None)

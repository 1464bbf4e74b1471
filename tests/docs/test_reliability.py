"""Each of the 119 fault rows has a test named by it, or stands in the list of those that have none."""

import re
from pathlib import Path

from tests.faults.rows import rows_of

ROOT = Path(__file__).parents[2]
SIZES = {"G": 29, "D": 14, "I": 21, "T": 14, "A": 15, "S": 18, "R": 8}
ALL = {f"{group}{n:02d}" for group, size in SIZES.items() for n in range(1, size + 1)}


def rows_with_a_test() -> set[str]:
    found: set[str] = set()
    for file in (ROOT / "tests").rglob("test_*.py"):
        for name in re.findall(r"def (test_\w+)", file.read_text(encoding="utf-8")):
            found |= rows_of(name)
    return found


def test_tests_and_list_account_for_every_row() -> None:
    page = (ROOT / "docs" / "reliability.md").read_text(encoding="utf-8")
    table = page[page.index("## Rows not covered yet") :]
    listed = set(
        re.findall(r"\b[GDITASR]\d\d\b", "\n".join(re.findall(r"^\|[^|]+\|", table, re.M)))
    )
    assert len(ALL) == 119
    assert rows_with_a_test() | listed == ALL, sorted(ALL - rows_with_a_test() - listed)
    assert not rows_with_a_test() & listed, sorted(rows_with_a_test() & listed)

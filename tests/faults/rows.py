"""One line a fault row: `python -m pytest -p tests.faults.rows` runs the tests that rows name.

A row passes if every test named by it passes. A skip is not a pass; the run fails if a row is
skipped that needs only root, strace or a tmpfs.
"""

from __future__ import annotations

import re
from collections import defaultdict

import pytest

GROUPS = "GDITASR"
ORDER = {"failed": 0, "skipped": 1, "passed": 2}
_results: dict[str, list[tuple[str, str]]] = defaultdict(list)
_refused: list[str] = []


def rows_of(name: str) -> set[str]:
    """The rows that a test is named by: test_G07_..., test_G16_G18_..., test_I01_to_I03_..."""
    if not re.match(rf"test_[{GROUPS}]\d\d_", name):
        return set()
    span = re.match(rf"test_([{GROUPS}])(\d\d)_to_[{GROUPS}](\d\d)", name)
    found = set(re.findall(rf"(?:^|_)([{GROUPS}]\d\d)(?=_)", name))
    if span:
        group, first, last = span.groups()
        found |= {f"{group}{n:02d}" for n in range(int(first), int(last) + 1)}
    return found


def pytest_collection_modifyitems(config: pytest.Config, items: list[pytest.Item]) -> None:
    others = [item for item in items if not rows_of(_function(item.name))]
    if others:
        config.hook.pytest_deselected(items=others)
        items[:] = [item for item in items if rows_of(_function(item.name))]


def pytest_runtest_logreport(report: pytest.TestReport) -> None:
    if report.when != "call" and report.outcome == "passed":
        return
    name = report.nodeid.rsplit("::", 1)[1]
    reason = ""
    if report.outcome == "skipped" and isinstance(report.longrepr, tuple):
        reason = str(report.longrepr[2]).removeprefix("Skipped: ")
        if "faults" in report.keywords:
            _refused.append(name)
    if report.outcome == "failed":
        reason = name
    for row in rows_of(_function(name)):
        _results[row].append((report.outcome, reason))


def pytest_sessionfinish(session: pytest.Session) -> None:
    if _refused and session.exitstatus == pytest.ExitCode.OK:
        session.exitstatus = pytest.ExitCode.TESTS_FAILED


def pytest_terminal_summary(terminalreporter: pytest.TerminalReporter) -> None:
    write = terminalreporter.write_line
    for row in sorted(_results, key=lambda row: (GROUPS.index(row[0]), row)):
        outcome, reason = min(_results[row], key=lambda result: ORDER[result[0]])
        told = {"passed": "pass", "skipped": f"skip: {reason}", "failed": f"FAIL: {reason}"}
        write(f"{row} {told[outcome]}")
    if _refused:
        write(f"skipped, though only root, strace or tmpfs is needed: {', '.join(_refused)}")


def _function(name: str) -> str:
    return name.split("[", 1)[0]

"""The table that a comparison ends with."""

from __future__ import annotations

from rich.console import Group
from rich.table import Table
from rich.text import Text

from fiatkit.metrics import Difference
from fiatkit.report.summary import Line, Summary
from fiatkit.report.words import verdict


def terminal_table(summary: Summary) -> Group:
    """The summary as a table, the verdict in words under it."""
    table = Table(title=Text(_title(summary)), caption=Text(_caption(summary)))
    table.add_column("recipe", overflow="fold")
    table.add_column("rows", justify="right")
    table.add_column(f"{summary.metric_label} [95 %]", justify="right")
    for label in summary.other_labels.values():
        table.add_column(label, justify="right")
    for name in ("vs instruct", "vs icl", "calls", "tokens in/out", "time", "failed"):
        table.add_column(name, justify="right")
    floors = [line for line in summary.lines if line.is_floor]
    for index, line in enumerate(summary.lines):
        table.add_row(
            *(Text(text) for text in _cells(summary, line)),
            style="dim" if line.is_floor else "",
            end_section=bool(floors) and index == len(floors) - 1,
        )
    return Group(table, Text(verdict(summary)))


def _cells(summary: Summary, line: Line) -> list[str]:
    rows = "-" if line.size is None else f"{line.size}"
    if line.train_groups is not None and line.train_groups != line.size:
        rows += f" ({line.train_groups} groups)"
    return [
        f"({line.recipe})" if line.is_floor else line.recipe,
        rows,
        scored(line),
        *(number(line.others[name]) for name in summary.other_labels),
        signed(line.differences.get("instruct")),
        signed(line.differences.get("icl")),
        f"{line.calls:,}",
        f"{tokens(line.prompt_tokens)}/{tokens(line.completion_tokens)}",
        clock(line.seconds),
        str(sum(line.failed.values()) or "-"),
    ]


def scored(line: Line) -> str:
    """Score and interval of a line."""
    if line.score is None:
        return "undefined"
    if line.low is None or line.high is None:
        return number(line.score)
    return f"{number(line.score)} [{number(line.low)}, {number(line.high)}]"


def number(value: float | None) -> str:
    """A score with one decimal, or a dash."""
    return "-" if value is None else f"{value:.1f}"


def signed(found: Difference | None) -> str:
    """A difference with its interval; a star where zero lies outside."""
    if found is None:
        return "-"
    star = "*" if found.distinguishable else ""
    return f"{found.value:+.1f}{star} [{found.low:+.1f}, {found.high:+.1f}]"


def tokens(count: int | None) -> str:
    """A token count in thousands."""
    if count is None:
        return "?"
    return f"{count / 1000:.0f}k" if count >= 1000 else str(count)


def clock(seconds: float) -> str:
    """Minutes and seconds."""
    minutes, rest = divmod(round(seconds), 60)
    return f"{minutes}:{rest:02d}"


def _title(summary: Summary) -> str:
    return f"{summary.title}: {summary.test_rows} test rows in {summary.test_groups} groups"


def _caption(summary: Summary) -> str:
    told = "Intervals and differences resample whole groups; * zero lies outside the interval."
    if len(summary.languages) > 1:
        told = f"Scores are unweighted means over {len(summary.languages)} languages. " + told
    if summary.finished < summary.planned:
        told = f"Unfinished: {summary.finished} of {summary.planned} cells. " + told
    return told + " Calls, tokens and time as if nothing had come from the store."

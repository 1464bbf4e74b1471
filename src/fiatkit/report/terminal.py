"""The table that a comparison ends with; it takes the shape that the terminal's width allows."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass

from rich import box
from rich.console import Console, ConsoleOptions, Group, RenderResult
from rich.measure import Measurement
from rich.table import Table
from rich.text import Text

from fiatkit.report.family import Family, family
from fiatkit.report.run import Run
from fiatkit.report.summary import Line, Summary, summarise
from fiatkit.report.text import clock, count, number, one_line, signed, tokens
from fiatkit.report.words import below_table, definition, verdict

NAME = 16  # columns that a recipe's name has at least, where it may be broken


@dataclass(frozen=True, slots=True)
class _Column:
    """A column: its title, a line's text in it, and whether it may be left out."""

    title: str
    text: Callable[[Line], str]
    spare: bool = False


def terminal_table(run: Run) -> Group:
    """The summary as a table, under it what it leaves out, and the verdict in words."""
    below = [Text(sentence) for sentence in below_table(run)]
    return Group(_Fitting(summarise(run), family(run)), *below, Text(verdict(run)))


class _Fitting:
    """One table where it fits, else two or three narrower ones; then with broken names and without
    columns that can be spared; else a block of lines a recipe."""

    def __init__(self, summary: Summary, found: Family) -> None:
        self._summary, self._found = summary, found
        self._scores, self._versus, self._price = _columns(summary, found)

    def __rich_console__(self, console: Console, options: ConsoleOptions) -> RenderResult:
        tables, left_out = self._tables(lambda table: options.max_width - _wide(console, table))
        yield Text(_title(self._summary))
        for table in tables:
            yield Text()
            yield table
        if tables:
            yield Text()
        else:
            yield from self._blocks()
        caption = _caption(self._summary, self._found)
        if left_out:
            caption += f" Left out for want of width: {', '.join(left_out)}."
        yield Text(caption, style="dim")

    def _tables(self, room: Callable[[Table], int]) -> tuple[list[Table], list[str]]:
        """The tables, and the titles of columns that had no room; no tables where none fits."""
        shapes = [
            [[*self._scores, *self._versus, *self._price]],
            [[*self._scores, *self._versus], self._price],
            [self._scores, self._versus, self._price],
        ]
        for shape in shapes:
            tables = [_table(self._summary, columns) for columns in shape]
            if all(room(table) >= 0 for table in tables):
                return tables, []
        tables, left_out = [], []
        for columns in shapes[-1]:
            kept = list(columns)
            while (rest := room(_table(self._summary, kept, NAME))) < 0:
                spare = [column for column in kept if column.spare]
                if not spare:
                    return [], []
                kept.remove(spare[-1])
                left_out.append(spare[-1].title)
            longest = max(len(_name(line)) for line in self._summary.lines)
            tables.append(_table(self._summary, kept, min(NAME + rest, max(longest, NAME))))
        return tables, left_out

    def _blocks(self) -> RenderResult:
        for line in self._summary.lines:
            size = "" if line.size is None else f" on {line.size} rows"
            yield Text(_name(line) + size, style="bold")
            for column in [*self._scores, *self._versus, *self._price]:
                text = column.text(line)
                if text != "-":
                    yield Text(f"  {column.title}: {text}")


def _columns(summary: Summary, found: Family) -> tuple[list[_Column], list[_Column], list[_Column]]:
    scores = [_Column(f"{summary.metric_label} [95 %]", scored)]
    scores += [_other(name, label) for name, label in summary.other_labels.items()]
    versus = [_versus(rival, found) for rival in ("instruct", "icl")]
    price = [
        _Column("calls", lambda line: count(line.calls)),
        _Column(
            "tokens in/out",
            lambda line: f"{tokens(line.prompt_tokens)}/{tokens(line.completion_tokens)}",
            spare=True,
        ),
        _Column("time", lambda line: clock(line.seconds), spare=True),
        _Column("failed", lambda line: str(sum(line.failed.values()) or "-")),
    ]
    return scores, versus, price


def _other(name: str, label: str) -> _Column:
    return _Column(label, lambda line: number(line.others[name]), spare=True)


def _versus(rival: str, found: Family) -> _Column:
    """The difference to a rival; a star where the family of tests finds one of the two better."""

    def told(line: Line) -> str:
        pair = {line.recipe, rival} - {found.reference}
        one = found.of(pair.pop(), line.size) if len(pair) == 1 else None
        return signed(line.differences.get(rival), one is not None and one.distinguishable)

    return _Column(f"vs {rival}", told)


def _table(summary: Summary, columns: Sequence[_Column], name: int | None = None) -> Table:
    """A table of some columns; with `name`, the names are broken to so many columns."""
    table = Table(box=box.SIMPLE_HEAVY, padding=(0, 1), pad_edge=False, show_edge=False)
    table.add_column("recipe", no_wrap=name is None, width=name, overflow="fold")
    grouped = any(_rows(line).endswith(")") for line in summary.lines)
    rows = "rows (groups)" if name is None else "rows\n(groups)"
    table.add_column(rows if grouped else "rows", justify="right", no_wrap=True)
    for column in columns:
        table.add_column(Text(column.title), justify="right", no_wrap=True)
    floors = [line for line in summary.lines if line.is_floor]
    best = summary.lead.best if summary.lead else None
    for index, line in enumerate(summary.lines):
        texts = [_name(line), _rows(line), *(column.text(line) for column in columns)]
        table.add_row(
            *(Text(text) for text in texts),
            style="dim" if line.is_floor else "bold" if line is best else "",
            end_section=bool(floors) and index == len(floors) - 1,
        )
    return table


def _wide(console: Console, table: Table) -> int:
    """How wide a table is where it has all the room."""
    wide = console.options.update(width=10_000, max_width=10_000)
    return Measurement.get(console, wide, table).maximum


def _name(line: Line) -> str:
    name = one_line(line.recipe)
    if line.is_outside:
        return f"{name} [outside]"
    seeds = f" x{line.seeds}" if line.seeds > 1 else ""
    return f"({name}){seeds}" if line.is_floor else name + seeds


def _rows(line: Line) -> str:
    if line.size is None:
        return "-"
    if line.train_groups is not None and line.train_groups != line.size:
        return f"{line.size} ({line.train_groups})"
    return str(line.size)


def scored(line: Line) -> str:
    """Score and interval of a line."""
    if line.score is None:
        return "undefined"
    if line.low is None or line.high is None:
        return number(line.score)
    return f"{number(line.score)} [{number(line.low)}, {number(line.high)}]"


def _title(summary: Summary) -> str:
    rows = f"{summary.test_rows} test rows in {summary.test_groups} groups"
    return f"{one_line(summary.title)}: {rows}"


def _caption(summary: Summary, found: Family) -> str:
    told = [f"Unfinished: {summary.finished} of {summary.planned} cells."]
    if summary.finished == summary.planned:
        told.clear()
    told += definition(summary)
    told.append("Intervals and differences resample whole groups.")
    if found.comparisons:
        told.append(
            f"* better by the test of {found.reference} against every other recipe: p, corrected "
            "for the number of comparisons, is at most 0.05, and the interval excludes zero."
        )
    if any(line.is_floor for line in summary.lines):
        told.append("(In brackets): floors, which cost nothing.")
    if any(line.seeds > 1 for line in summary.lines):
        told.append("xN: the mean of N seeds.")
    if any(line.is_outside for line in summary.lines):
        told.append("[outside]: predictions that another system made; what they cost is unknown.")
    told.append("Calls, tokens and time as if nothing had come from the store.")
    return " ".join(told)

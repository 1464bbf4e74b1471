"""The table of recipes, and all test rows, as CSV for a spreadsheet: no cell is a formula."""

from __future__ import annotations

import csv
import io
from collections.abc import Iterable, Iterator, Sequence
from pathlib import Path

from fiatkit.files import writing_whole
from fiatkit.report.family import Family, family
from fiatkit.report.price import PriceLine, prices
from fiatkit.report.readings import values_of
from fiatkit.report.run import Run
from fiatkit.report.sample import last_cells
from fiatkit.report.summary import Line, Summary, summarise
from fiatkit.report.text import plain

GUARD_TOLD = (
    "Cells that a spreadsheet would take for a formula begin with an apostrophe; control "
    "characters are written out."
)
_STARTS = frozenset("=+-@\t\r\n＝＋－＠")
Cell = str | int | float | None
COMPARED = ("ahead_by", "ahead_low", "ahead_high", "p", "p_corrected", "could_tell", "verdict")
UNITS = ("seconds", "dollars")
PAID = tuple(f"{what}_{x}" for what in ("fitting", "per_1000") for x in ("calls", *UNITS))


def guarded(value: Cell) -> Cell:
    """Text that no spreadsheet takes for a formula; numbers as they are.

    What starts a formula in Excel, LibreOffice or Google Sheets, also after spaces, is kept behind
    an apostrophe (https://owasp.org/www-community/attacks/CSV_Injection).
    """
    if not isinstance(value, str):
        return value
    text = plain(value)
    starts = text[:1] in _STARTS or text.lstrip()[:1] in _STARTS
    return f"'{text}" if starts and not _is_number(text) else text


def _is_number(text: str) -> bool:
    try:
        float(text)
    except ValueError:
        return False
    return text.isascii() and text == text.strip()


def write_csv(run: Run, path: Path) -> None:
    """Write the table of recipes: one line for each recipe and size, numbers unrounded; a recipe
    that was not run has a line with the reason alone."""
    summary, found = summarise(run), family(run)
    paid = {(line.recipe, line.size): line for line in prices(run).lines}
    head = [*_head(summary), *(f"{found.reference}_{name}" for name in COMPARED), *PAID, "not_run"]
    lines: list[list[Cell]] = [
        [
            *_line(summary, line),
            *_compared(found, line),
            *_paid(paid.get((line.recipe, line.size))),
            None,
        ]
        for line in summary.lines
    ]
    lines += [
        [one.recipe, one.label, *[None] * (len(head) - 3), one.reason] for one in run.info.not_run
    ]
    _write(path, [head, *lines])


def write_rows(run: Run, path: Path) -> None:
    """Write every test row: its fields, target, rationale, and each recipe's answer and value
    (0 to 100) at the largest size and first seed."""
    _write(path, _rows(run))


def _write(path: Path, lines: Iterable[Sequence[Cell]]) -> None:
    """A whole file in UTF-8 with a mark, without which Excel misreads it."""
    with writing_whole(path) as file:
        text = io.TextIOWrapper(file, encoding="utf-8-sig", errors="replace", newline="")
        csv.writer(text).writerows([guarded(cell) for cell in line] for line in lines)
        text.detach()


def _head(summary: Summary) -> list[str]:
    return [
        *("recipe", "what_it_does", "floor", "training_rows", "training_groups", "seeds"),
        *(summary.metric, f"{summary.metric}_low", f"{summary.metric}_high"),
        *summary.other_labels,
        *(f"vs_{rival}{end}" for rival in summary.rivals for end in ("", "_low", "_high")),
        *("calls", "prompt_tokens", "completion_tokens", "seconds", "failed", "fallbacks"),
    ]


def _line(summary: Summary, line: Line) -> list[Cell]:
    versus: list[Cell] = []
    for rival in summary.rivals:
        found = line.differences.get(rival)
        versus += [None] * 3 if found is None else [found.value, found.low, found.high]
    return [
        *(line.recipe, line.label, int(line.is_floor), line.size, line.train_groups, line.seeds),
        *(line.score, line.low, line.high),
        *(line.others[name] for name in summary.other_labels),
        *versus,
        *(line.calls, line.prompt_tokens, line.completion_tokens, line.seconds),
        *(sum(line.failed.values()), line.fallbacks),
    ]


def _compared(found: Family, line: Line) -> list[Cell]:
    one = None if line.is_floor else found.of(line.recipe, line.size)
    if one is None:
        return [None] * len(COMPARED)
    difference = one.difference
    tested = one.test.p if one.test else None
    return [
        *(difference.value, difference.low, difference.high),
        *(tested, one.p_holm, one.tellable, one.verdict),
    ]


def _paid(line: PriceLine | None) -> list[Cell]:
    if line is None:
        return [None] * len(PAID)
    return [
        getattr(spent, name) for spent in (line.fitting, line.serving) for name in ("calls", *UNITS)
    ]


def _rows(run: Run) -> Iterator[list[Cell]]:
    cells = last_cells(run)
    fields = list(dict.fromkeys(name for row in run.rows for name in row.fields))
    yield [
        *("id", "language", "group", *(f"field.{name}" for name in fields), "target"),
        *("rationale", "rationale_answer", "rationale_status"),
        *(f"{cell.recipe}.{part}" for cell in cells for part in ("answer", "status", "value")),
    ]
    values = [values_of(run, cell) for cell in cells]
    for index, row in enumerate(run.rows):
        rationale = row.rationale
        told: list[Cell] = [None] * 3
        if rationale is not None:
            told = [rationale.text, rationale.answer, rationale.status]
        answers: list[Cell] = []
        for cell, found in zip(cells, values, strict=True):
            given = cell.predictions[row.id]
            answers += [given.answer, given.status, found[index]]
        texts = [row.fields.get(name) for name in fields]
        yield [row.id, row.language, row.group, *texts, row.target, *told, *answers]

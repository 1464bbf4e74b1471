"""Everything for other programs (JSON), and the tables for an issue or a README (Markdown)."""

from __future__ import annotations

import re
from collections.abc import Iterable, Sequence
from dataclasses import asdict
from pathlib import Path

from fiatkit.files import write_json as write_json_file
from fiatkit.files import write_whole
from fiatkit.report.analysis import analysis
from fiatkit.report.curves import curves
from fiatkit.report.family import Family, family
from fiatkit.report.languages import languages
from fiatkit.report.price import prices
from fiatkit.report.run import Run
from fiatkit.report.summary import Line, Summary, summarise
from fiatkit.report.terminal import scored
from fiatkit.report.text import (
    clock,
    count,
    dollars,
    estimated,
    number,
    one_line,
    probability,
    tokens,
)
from fiatkit.report.words import below_table, cheaper, price, sentences

_ACTIVE = re.compile(r"([\\`*_{}\[\]<>()#+!|~&$-])")


def write_json(run: Run, path: Path) -> None:
    """Write every number of the report as JSON: lines, comparisons, curves, languages, price,
    rationales; what is undefined is null."""
    summary = summarise(run)
    told = {"version": 1, "verdict": sentences(run), **asdict(summary)}
    write_json_file(path, told | {"analysis": analysis(run)})


def write_markdown(run: Run, path: Path) -> None:
    """Write the verdict and the tables as Markdown; data is escaped."""
    write_whole(path, markdown(run).encode("utf-8", "replace"))


def markdown(run: Run) -> str:
    """The verdict and the tables as Markdown."""
    summary = summarise(run)
    finished = f"{summary.finished} of {summary.planned} cells"
    parts = [
        f"# {_inert(summary.title)}",
        f"{summary.test_rows} test rows in {summary.test_groups} groups; {finished} finished.",
        _inert(" ".join(filter(None, [*sentences(run), price(run), cheaper(run)]))),
        _recipes(summary, family(run)),
        "Intervals resample whole groups; p is that of a paired permutation test by groups, "
        "corrected (Holm) for all comparisons. A recipe is better where this p is at most 0.05 and "
        "the interval of the difference, which has the spread of the seeds, excludes zero; what is "
        "not tuned is compared at the largest size. Calls, tokens and time as if nothing had come "
        "from the store.",
        *_below(run),
        *_crossings(run),
        *_languages(run),
        _prices(run),
    ]
    return "\n\n".join(parts) + "\n"


def _recipes(summary: Summary, found: Family) -> str:
    head = ["recipe", "rows", f"{summary.metric_label} [95 %]", *summary.other_labels.values()]
    if found.comparisons:
        head += [f"{found.reference} is ahead by", "p, corrected", "finding"]
    head += ["calls", "tokens in / out", "time", "failed"]
    return _table(head, (_row(summary, found, line) for line in summary.lines))


def _row(summary: Summary, found: Family, line: Line) -> list[str]:
    spent = f"{tokens(line.prompt_tokens)} / {tokens(line.completion_tokens)}"
    name = f"({line.recipe})" if line.is_floor else line.recipe
    if line.is_outside:
        name += " [outside]"
    cells = [name, "-" if line.size is None else str(line.size), scored(line)]
    cells += [number(line.others[other]) for other in summary.other_labels]
    if found.comparisons:
        one = found.of(line.recipe, line.size)
        cells += ["-", "-", "-"]
        if one is not None and not line.is_floor:
            ahead = estimated(one.difference, signed=True)
            cells[-3:] = [ahead, probability(one.p_holm), one.finding]
    return [*cells, count(line.calls), spent, clock(line.seconds), str(sum(line.failed.values()))]


def _below(run: Run) -> list[str]:
    told = [f"- {_inert(sentence)}" for sentence in below_table(run)]
    return ["\n".join(told)] if told else []


def _crossings(run: Run) -> list[str]:
    told = [f"- {_inert(found.words)}." for found in curves(run).crossovers]
    return ["## Where curves cross", "\n".join(told)] if told else []


def _languages(run: Run) -> list[str]:
    found = languages(run)
    if len(found.languages) < 2:
        return []
    largest = max((line.size or 0 for line in found.lines), default=0)
    lines = [line for line in found.lines if line.size in (None, largest)]
    rows = (
        [line.recipe, estimated(line.macro)]
        + [number(s.value) if (s := line.scores.get(x.code)) else "-" for x in found.languages]
        for line in lines
    )
    told = [_inert(found.gain.words)] if found.gain is not None else []
    head = ["recipe", "mean [95 %]", *(one.code for one in found.languages)]
    return ["## Languages", _table(head, rows), *told]


def _prices(run: Run) -> str:
    found = prices(run)
    head = ["recipe", "rows", "fitting: calls", "time", "dollars"]
    head += ["1,000 predictions: calls", "time", "dollars"]
    rows = (
        [line.recipe, "-" if line.size is None else str(line.size)]
        + [
            cell
            for spent in (line.fitting, line.serving)
            for cell in (
                f"{spent.calls:,.0f}",
                "?" if spent.seconds is None else clock(spent.seconds),
                dollars(spent.dollars),
            )
        ]
        for line in found.lines
    )
    unit = "dollars" if found.unit == "dollars" else "time"
    told = [
        f"- {_inert(f'{one.a} and {one.b}, in {unit}: {one.words}')}."
        for one in found.break_even
        if one.unit == found.unit
    ]
    if told and unit == "time":
        told.append("\nSeconds were measured once, on this machine.")
    return "\n\n".join(["## What it costs", _table(head, rows), "\n".join(told)]).rstrip()


def _table(head: Sequence[str], rows: Iterable[Sequence[str]]) -> str:
    return "\n".join([_joined(head), _joined(["---"] * len(head)), *map(_joined, rows)])


def _joined(cells: Sequence[str]) -> str:
    return "| " + " | ".join(cell if cell == "---" else _inert(cell) for cell in cells) + " |"


def _inert(text: str) -> str:
    """Text in which nothing is Markdown or HTML."""
    return _ACTIVE.sub(r"\\\1", one_line(text))

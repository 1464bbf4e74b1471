"""The summary for other programs (JSON) and for an issue or a README (Markdown)."""

from __future__ import annotations

import re
from dataclasses import asdict
from pathlib import Path

from fiatkit.files import write_json as write_json_file
from fiatkit.files import write_whole
from fiatkit.report.run import Run
from fiatkit.report.summary import Line, Summary, summarise
from fiatkit.report.terminal import scored
from fiatkit.report.text import clock, count, number, one_line, signed, tokens
from fiatkit.report.words import price, sentences

_ACTIVE = re.compile(r"([\\`*_{}\[\]<>()#+!|~&$-])")


def write_json(run: Run, path: Path) -> None:
    """Write the summary as JSON: every line with its scores, differences and price."""
    summary = summarise(run)
    write_json_file(path, {"version": 1, "verdict": sentences(summary), **asdict(summary)})


def write_markdown(run: Run, path: Path) -> None:
    """Write the verdict and the table as Markdown; data is escaped."""
    write_whole(path, markdown(summarise(run)).encode("utf-8", "replace"))


def markdown(summary: Summary) -> str:
    """The verdict and the table as Markdown."""
    head = ["recipe", "rows", f"{summary.metric_label} [95 %]", *summary.other_labels.values()]
    head += [f"vs {rival}" for rival in summary.rivals]
    head += ["calls", "tokens in / out", "time", "failed"]
    rows = [_row(summary, line) for line in summary.lines]
    finished = f"{summary.finished} of {summary.planned} cells"
    parts = [
        f"# {_inert(summary.title)}",
        f"{summary.test_rows} test rows in {summary.test_groups} groups; {finished} finished.",
        _inert(" ".join([*sentences(summary), price(summary)])),
        "\n".join([_joined(head), _joined(["---"] * len(head)), *map(_joined, rows)]),
        "Intervals and differences resample whole groups; \\* zero lies outside. "
        "Calls, tokens and time as if nothing had come from the store.",
    ]
    return "\n\n".join(parts) + "\n"


def _row(summary: Summary, line: Line) -> list[str]:
    spent = f"{tokens(line.prompt_tokens)} / {tokens(line.completion_tokens)}"
    name = f"({line.recipe})" if line.is_floor else line.recipe
    if line.is_outside:
        name += " [outside]"
    cells = [name, "-" if line.size is None else str(line.size), scored(line)]
    cells += [number(line.others[other]) for other in summary.other_labels]
    cells += [signed(line.differences.get(rival)) for rival in summary.rivals]
    return [*cells, count(line.calls), spent, clock(line.seconds), str(sum(line.failed.values()))]


def _joined(cells: list[str]) -> str:
    return "| " + " | ".join(cell if cell == "---" else _inert(cell) for cell in cells) + " |"


def _inert(text: str) -> str:
    """Text in which nothing is Markdown or HTML."""
    return _ACTIVE.sub(r"\\\1", one_line(text))

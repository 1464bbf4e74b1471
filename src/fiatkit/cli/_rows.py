"""Rows as both models see them, drawn so that they read without colour too."""

from __future__ import annotations

from collections.abc import Iterator
from typing import TYPE_CHECKING

from rich.text import Text

if TYPE_CHECKING:
    from fiatkit.experiment.rows import Segment, ShownRow

STYLES = {
    "scaffold": "dim",
    "instruction": "cyan",
    "rationale": "yellow",
    "target": "bold green",
    "stop": "bold magenta",
}
LEGEND = (
    "Tokens stand between │ bars; · is a blank, \\n and the like are characters that cannot be "
    "seen. Tokens marked * are in the loss: the small model learns to write them, and no other."
)


def drawn(row: ShownRow, recipe: str) -> Iterator[Text]:
    """The row as lines."""
    from fiatkit.experiment.rows import visible

    language = f", {visible(row.language)}" if row.language else ""
    yield Text(f"\nRow {visible(row.id)}{language}", style="bold")
    if row.messages:
        yield Text("  The large model reads:")
        for message in row.messages:
            yield from _said(message.role, message.content)
    if row.rationale is not None:
        yield Text("  It wrote (in the store):")
        yield from _said("rationale", row.rationale.text)
    if row.segments:
        reads = sum(part.tokens for part in row.segments if not part.in_loss)
        learns = sum(part.tokens for part in row.segments if part.in_loss)
        yield Text(
            f"  The small model ({recipe}) reads {reads} tokens and learns to write {learns}:"
        )
        for part in row.segments:
            yield _tokens(part)
    for note in row.notes:
        yield Text(f"  ! {visible_line(note)}", style="yellow")


def _said(who: str, text: str) -> Iterator[Text]:
    lines = text.split("\n")
    for index, line in enumerate(lines):
        name = who if index == 0 else ""
        yield Text(f"      {name:<11} ", style="dim").append(visible_line(line), style="default")


def _tokens(part: Segment) -> Text:
    mark = "*" if part.in_loss else " "
    line = Text(f"    {mark} {part.kind:<11} {part.tokens:>4}  ", style="dim")
    for index, text in enumerate(part.texts):
        line.append("│" if index else "", style="dim")
        line.append(text, style=f"not dim {STYLES.get(part.kind, 'default')}")
    return line


def visible_line(line: str) -> str:
    """A line of running text: blanks stay blanks, what cannot be seen is escaped."""
    from fiatkit.experiment.rows import visible

    return " ".join(visible(piece) for piece in line.split(" "))

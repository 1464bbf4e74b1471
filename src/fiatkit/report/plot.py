"""Score against training size as a static SVG drawing."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, replace

from fiatkit.report.summary import Line, Summary

WIDTH, HEIGHT = 720, 340
LEFT, RIGHT, TOP, BOTTOM = 52, 150, 16, 44


@dataclass(frozen=True, slots=True)
class Mark:
    """One point with its interval, in drawing units, and where its label goes."""

    x: float
    y: float
    low: float
    high: float
    title: str


@dataclass(frozen=True, slots=True)
class Series:
    """One recipe: points joined by a line, or a horizontal line if it is not tuned."""

    name: str
    colour: int
    is_floor: bool
    level: bool
    marks: list[Mark]
    path: str
    label_y: float


@dataclass(frozen=True, slots=True)
class Plot:
    """Everything the template draws."""

    series: list[Series]
    ticks: list[tuple[float, str]]
    sizes: list[tuple[float, str]]
    text: str


def draw(summary: Summary) -> Plot | None:
    """Lay out the plot, or None if there is nothing to draw."""
    lines = [line for line in summary.lines if line.score is not None]
    if not lines:
        return None
    sizes = sorted({line.size for line in lines if line.size is not None}) or [0]
    values = [v for line in lines for v in (line.low, line.high, line.score) if v is not None]
    low = max(0.0, (min(values) // 10) * 10)
    high = min(100.0, (max(values) // 10 + 1) * 10)

    def x(size: int) -> float:
        inner = WIDTH - LEFT - RIGHT
        return LEFT + inner * (sizes.index(size) + 0.5) / len(sizes)

    def y(value: float) -> float:
        return TOP + (HEIGHT - TOP - BOTTOM) * (1 - (value - low) / max(high - low, 1e-9))

    by_recipe: dict[str, list[Line]] = {}
    for line in lines:
        by_recipe.setdefault(line.recipe, []).append(line)
    series = [_series(i, name, found, x, y) for i, (name, found) in enumerate(by_recipe.items())]
    step = 5 if high - low <= 40 else 10
    ticks = [(y(v), f"{v:.0f}") for v in range(int(low), int(high) + 1, step)]
    said = "; ".join(f"{line.recipe} on {line.size or 0} rows {line.score:.1f}" for line in lines)
    return Plot(_apart(series), ticks, [(x(s), f"{s} rows") for s in sizes], said)


def _series(
    index: int,
    name: str,
    lines: list[Line],
    x: Callable[[int], float],
    y: Callable[[float], float],
) -> Series:
    level = lines[0].size is None
    marks = []
    for line in sorted(lines, key=lambda item: item.size or 0):
        score = line.score or 0.0
        shift = (index % 5 - 2) * 7.0
        place = LEFT if level else x(line.size or 0) + shift
        low, high = line.low or score, line.high or score
        title = f"{name}: {score:.1f} ({low:.1f} to {high:.1f})"
        marks.append(Mark(place, y(score), y(low), y(high), title))
    if level:
        path = f"M{LEFT},{marks[0].y:.1f} H{WIDTH - RIGHT}"
    else:
        path = "M" + " L".join(f"{mark.x:.1f},{mark.y:.1f}" for mark in marks)
    return Series(name, index % 8, lines[0].is_floor, level, marks, path, marks[-1].y)


def _apart(series: list[Series]) -> list[Series]:
    """Move labels down until none covers another."""
    placed: list[Series] = []
    last = float("-inf")
    for item in sorted(series, key=lambda s: s.label_y):
        last = max(item.label_y, last + 15)
        placed.append(replace(item, label_y=last))
    return placed

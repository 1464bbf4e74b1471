"""Score against training size, and a strip of intervals, as static SVG drawings."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace

from fiatkit.report.summary import Line, Summary

WIDTH, HEIGHT = 760, 380
LEFT, RIGHT, TOP, BOTTOM = 48, 150, 18, 56
GAP = 16.0
STRIP = 128
COLOURS = ("fiat", "instruct", "icl", "icl_constrained", "lora", "finetune")
SHAPES = (
    "M-4.5,0a4.5,4.5 0 1,0 9,0a4.5,4.5 0 1,0 -9,0Z",
    "M-4,-4H4V4H-4Z",
    "M0,-5.5L5.5,0L0,5.5L-5.5,0Z",
    "M0,-5L5,4H-5Z",
    "M0,5L5,-4H-5Z",
    "M-5,-1.6H-1.6V-5H1.6V-1.6H5V1.6H1.6V5H-1.6V1.6H-5Z",
)


@dataclass(frozen=True, slots=True)
class Mark:
    """One point with its interval, in drawing units, and its text."""

    x: float
    y: float
    low: float
    high: float
    title: str


@dataclass(frozen=True, slots=True)
class Series:
    """One recipe: points joined by a line, or a horizontal line if it is not tuned."""

    name: str
    colour: str
    shape: str
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
    sizes: list[tuple[float, str, str]]
    text: str
    width: int = WIDTH
    height: int = HEIGHT
    left: int = LEFT
    right: int = WIDTH - RIGHT
    bottom: int = HEIGHT - BOTTOM


def colour_of(recipe: str, is_floor: bool) -> str:
    """The class of a recipe's colour: the same in every drawing."""
    if is_floor:
        return "floor"
    if recipe in COLOURS:
        return f"s{COLOURS.index(recipe)}"
    return f"s{6 + sum(recipe.encode()) % 2}"


def shape_of(recipe: str) -> str:
    """The mark of a recipe, so that no reading depends on colour alone."""
    place = COLOURS.index(recipe) if recipe in COLOURS else sum(recipe.encode())
    return SHAPES[place % len(SHAPES)]


def bounds(lines: Sequence[Line]) -> tuple[float, float]:
    """The scale that holds every score and interval, ending on tens."""
    values = [v for line in lines for v in (line.low, line.high, line.score) if v is not None]
    if not values:
        return 0.0, 100.0
    low, high = max(0.0, min(values) // 10 * 10), min(100.0, -(-max(values) // 10) * 10)
    if high - low < 20:
        low, high = max(0.0, high - 20), min(100.0, max(high, low + 20))
    return low, high


def strip(summary: Summary, line: Line) -> Mark | None:
    """A line's score and interval on the scale that all lines share, `STRIP` wide."""
    if line.score is None:
        return None
    low, high = bounds(summary.lines)

    def x(value: float | None) -> float:
        place = line.score if value is None else value
        return 6 + (STRIP - 12) * ((place or 0.0) - low) / (high - low)

    return Mark(x(line.score), 10, x(line.low), x(line.high), _said(line))


def draw(summary: Summary) -> Plot | None:
    """Lay out the plot, or None if there is nothing to draw."""
    lines = [line for line in summary.lines if line.score is not None]
    if not lines:
        return None
    sizes = sorted({line.size for line in lines if line.size is not None})
    low, high = bounds(lines)
    recipes: dict[str, list[Line]] = {}
    for line in lines:
        recipes.setdefault(line.recipe, []).append(line)
    tuned = [
        n for n, found in recipes.items() if found[0].size is not None and not found[0].is_floor
    ]

    def x(size: int) -> float:
        return LEFT + (WIDTH - LEFT - RIGHT) * (sizes.index(size) + 0.5) / len(sizes)

    def y(value: float) -> float:
        return TOP + (HEIGHT - TOP - BOTTOM) * (1 - (value - low) / (high - low))

    room = min(14.0, 0.6 * (WIDTH - LEFT - RIGHT) / max(len(sizes) * len(tuned), 1))
    series = []
    for name, found in recipes.items():
        shift = (tuned.index(name) - (len(tuned) - 1) / 2) * room if name in tuned else 0.0
        series.append(_series(name, found, shift, x, y))
    step = 5 if high - low <= 40 else 10
    ticks = [(y(v), f"{v}") for v in range(int(low), int(high) + 1, step)]
    said = "; ".join(_said(line) for line in lines)
    return Plot(_apart(series), ticks, [(x(s), *_size(lines, s)) for s in sizes], said)


def _said(line: Line) -> str:
    text = f"{line.name}: {line.score:.1f}"
    if line.low is not None and line.high is not None:
        text += f" ({line.low:.1f} to {line.high:.1f})"
    return text


def _size(lines: Sequence[Line], size: int) -> tuple[str, str]:
    """Rows, and the distinct groups that they form where these are fewer."""
    groups = next((x.train_groups for x in lines if x.size == size and x.train_groups), None)
    return f"{size:,} rows", "" if groups in (None, size) else f"{groups:,} groups"


def _series(
    name: str,
    lines: Sequence[Line],
    shift: float,
    x: Callable[[int], float],
    y: Callable[[float], float],
) -> Series:
    level = lines[0].size is None
    marks = []
    for line in sorted(lines, key=lambda item: item.size or 0):
        score = line.score or 0.0
        low = score if line.low is None else line.low
        high = score if line.high is None else line.high
        place = LEFT if line.size is None else x(line.size) + shift
        marks.append(Mark(place, y(score), y(low), y(high), _said(line)))
    if level:
        path = f"M{LEFT},{marks[0].y:.1f}H{WIDTH - RIGHT}"
    else:
        path = "M" + "L".join(f"{mark.x:.1f},{mark.y:.1f}" for mark in marks)
        if len(marks) == 1 and lines[0].is_floor:
            path = f"M{marks[0].x - 60:.1f},{marks[0].y:.1f}h120"
    floor = lines[0].is_floor
    return Series(
        name, colour_of(name, floor), shape_of(name), floor, level, marks, path, marks[-1].y
    )


def _apart(series: Sequence[Series]) -> list[Series]:
    """Move labels so that none covers another and all stay inside."""
    ordered = sorted(series, key=lambda s: s.label_y)
    places: list[float] = []
    for item in ordered:
        places.append(max(item.label_y, places[-1] + GAP) if places else item.label_y)
    limit = float(HEIGHT - BOTTOM + 4)
    for index in range(len(places) - 1, -1, -1):
        places[index] = min(places[index], limit)
        limit = places[index] - GAP
    return [replace(item, label_y=place) for item, place in zip(ordered, places, strict=True)]

"""Drawings as plain numbers for the templates: a strip of intervals, and score against rows.

Colour tells the family of a recipe, shape the recipe within it, a label names it: no reading
depends on colour alone. Knows no SVG; one unit is one pixel of the page at its full width.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass, field, replace

from fiatkit.metrics import Estimate
from fiatkit.report.summary import Line, Summary
from fiatkit.report.text import number

WIDTH, HEIGHT = 1060, 440
LEFT, RIGHT, TOP, BOTTOM = 44, 170, 16, 58
PANEL = (250, 150)
MANY = 7
GAP = 17.0
STRIP = 150
HUES = {
    "fiat": ("fiat",),
    "instruct": ("instruct",),
    "large": ("icl", "icl_constrained"),
    "plain": ("lora", "finetune"),
    "control": ("distil", "answer_hint", "rationale_only", "shuffled_hint", "own_rationale"),
    "rival": ("stack", "setfit", "tfidf", "small_icl"),
}
HUE_NAMES = {
    "fiat": "FIAT",
    "instruct": "instruction and tuning, no rationale",
    "large": "the large model alone",
    "plain": "tuning alone",
    "control": "FIAT with a part removed or replaced",
    "rival": "other ways",
    "other": "from outside",
    "floor": "floors: what costs nothing",
}
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
    """One point with its interval, and its text."""

    x: float
    y: float
    low: float
    high: float
    title: str


@dataclass(frozen=True, slots=True)
class Series:
    """One recipe: points joined by a line in a band, or level if it is not tuned."""

    name: str
    colour: str
    shape: str
    is_floor: bool
    level: bool
    marks: list[Mark]
    path: str
    band: str
    label_y: float


@dataclass(frozen=True, slots=True)
class Plot:
    """Everything the template draws; `ghosts` are the lines of the recipes that are not named."""

    series: list[Series]
    ticks: list[tuple[float, str]]
    sizes: list[tuple[float, str, str]]
    text: str
    width: int
    height: int
    left: int
    right: int
    top: int
    bottom: int
    ghosts: list[str] = field(default_factory=list)


@dataclass(frozen=True, slots=True)
class Drawn:
    """One plot of the recipes that matter most, and a small one of each where there are many."""

    main: Plot
    panels: list[Plot]


def hue_of(recipe: str, is_floor: bool) -> str:
    """The class of a recipe's colour: the same in every drawing and table."""
    if is_floor:
        return "floor"
    found = next((name for name, recipes in HUES.items() if recipe in recipes), "other")
    return "control" if found == "other" and recipe.startswith("fiat") else found


def shape_of(recipe: str) -> str:
    """The mark of a recipe."""
    for recipes in HUES.values():
        if recipe in recipes:
            return SHAPES[recipes.index(recipe)]
    return SHAPES[sum(recipe.encode("utf-8", "replace")) % len(SHAPES)]


def bounds(lines: Sequence[Line]) -> tuple[float, float]:
    """The scale that holds every score and interval, ending on tens."""
    return bounds_of([Estimate(line.score, line.low, line.high) for line in lines])


def bounds_of(scores: Sequence[Estimate]) -> tuple[float, float]:
    """The same for any scores."""
    values = [v for found in scores for v in (found.low, found.high, found.value) if v is not None]
    if not values:
        return 0.0, 100.0
    low, high = max(0.0, min(values) // 10 * 10), min(100.0, -(-max(values) // 10) * 10)
    if high - low < 20:
        low, high = max(0.0, high - 20), min(100.0, max(high, low + 20))
    return low, high


def strip(lines: Sequence[Line], line: Line) -> Mark | None:
    """A line's score and interval on the scale that all lines share, `STRIP` wide."""
    if line.score is None:
        return None
    low, high = bounds(lines)

    def x(value: float | None) -> float:
        place = line.score if value is None else value
        return 6 + (STRIP - 12) * ((place or 0.0) - low) / (high - low)

    return Mark(x(line.score), 10, x(line.low), x(line.high), said(line))


def said(line: Line) -> str:
    """A line's name, score and interval in words."""
    text = f"{line.name}: {number(line.score)}"
    if line.low is not None and line.high is not None:
        text += f" [{number(line.low)}, {number(line.high)}]"
    return text


def draw_curves(summary: Summary) -> Drawn | None:
    """Score against training rows, or None where fewer than two sizes have a score."""
    lines = [line for line in summary.lines if line.score is not None]
    sizes = sorted({line.size for line in lines if line.size is not None and not line.is_floor})
    if len(sizes) < 2:
        return None
    recipes: dict[str, list[Line]] = {}
    for line in lines:
        recipes.setdefault(line.recipe, []).append(line)
    scale = bounds(lines)
    frame = _Frame(sizes, scale, WIDTH, HEIGHT, LEFT, RIGHT, TOP, BOTTOM)
    chosen = _chosen(summary, recipes)
    main = _plot(frame, {name: recipes[name] for name in chosen}, recipes)
    if len(recipes) <= MANY:
        return Drawn(main, [])
    small = _Frame(sizes, scale, *PANEL, 30, 12, 8, 22)
    named = [name for name, found in recipes.items() if not found[0].is_floor]
    return Drawn(main, [_plot(small, {name: recipes[name]}, recipes) for name in named])


def _chosen(summary: Summary, recipes: dict[str, list[Line]]) -> list[str]:
    """All recipes, or where there are many: the best ones, those FIAT is held against, a floor."""
    if len(recipes) <= MANY:
        return list(recipes)
    ranked = sorted(summary.largest, key=lambda line: -(line.score or 0.0))
    floors = sorted(
        (line for line in summary.lines if line.is_floor), key=lambda line: -(line.score or 0.0)
    )
    wanted = [ranked[0].recipe, "fiat", "instruct", "icl", *(x.recipe for x in floors[:1])]
    wanted += [line.recipe for line in ranked]
    return [name for name in dict.fromkeys(wanted) if name in recipes][: MANY - 1]


@dataclass(frozen=True, slots=True)
class _Frame:
    """Where the axes are, and how rows and scores become places."""

    sizes: Sequence[int]
    scale: tuple[float, float]
    width: int
    height: int
    left: int
    right: int
    top: int
    bottom: int

    @property
    def small(self) -> bool:
        return self.width < WIDTH

    def x(self, size: int) -> float:
        """Rows on a logarithmic axis, so that doubling is a step of the same width."""
        first, last = math.log(self.sizes[0]), math.log(self.sizes[-1])
        inner = self.width - self.left - self.right
        edge = 0.08 * inner
        return self.left + edge + (inner - 2 * edge) * (math.log(size) - first) / (last - first)

    def y(self, value: float) -> float:
        low, high = self.scale
        inner = self.height - self.top - self.bottom
        return self.top + inner * (1 - (value - low) / (high - low))


def _plot(frame: _Frame, named: dict[str, list[Line]], everything: dict[str, list[Line]]) -> Plot:
    tuned = [name for name, lines in named.items() if not _level(lines)]
    step = 0.0 if frame.small else min(7.0, 90 / max(len(tuned), 1))
    series = []
    for name, lines in named.items():
        shift = (tuned.index(name) - (len(tuned) - 1) / 2) * step if name in tuned else 0.0
        series.append(_series(name, lines, shift, frame))
    low, high = frame.scale
    every = (10 if high - low > 40 else 5) * (2 if frame.small else 1)
    ticks = [(frame.y(v), f"{v}") for v in range(int(low), int(high) + 1, every)]
    lines = [line for found in named.values() for line in found]
    ghosts = [
        _path([(frame.x(x.size), frame.y(x.score)) for x in _by_size(found) if x.size and x.score])
        for name, found in everything.items()
        if name not in named and not _level(found)
    ]
    return Plot(
        series if frame.small else _apart(series, frame.height - frame.bottom + 4),
        ticks,
        [(frame.x(size), *_size(lines, size)) for size in frame.sizes],
        "; ".join(said(line) for line in lines),
        frame.width,
        frame.height,
        frame.left,
        frame.width - frame.right,
        frame.top,
        frame.height - frame.bottom,
        [path for path in ghosts if path],
    )


def _level(lines: Sequence[Line]) -> bool:
    return lines[0].size is None


def _by_size(lines: Sequence[Line]) -> list[Line]:
    return sorted(lines, key=lambda line: line.size or 0)


def _size(lines: Sequence[Line], size: int) -> tuple[str, str]:
    """Rows, and the distinct groups that they form where these are fewer."""
    groups = next((x.train_groups for x in lines if x.size == size and x.train_groups), None)
    return f"{size:,} rows", "" if groups in (None, size) else f"{groups:,} groups"


def _series(name: str, lines: Sequence[Line], shift: float, frame: _Frame) -> Series:
    marks = []
    for line in _by_size(lines):
        score = line.score or 0.0
        low = score if line.low is None else line.low
        high = score if line.high is None else line.high
        place = frame.left if line.size is None else frame.x(line.size) + shift
        marks.append(Mark(place, frame.y(score), frame.y(low), frame.y(high), said(line)))
    right = frame.width - frame.right
    if _level(lines):
        one = marks[0]
        path = f"M{frame.left},{one.y:.1f}H{right}"
        band = f"M{frame.left},{one.high:.1f}H{right}V{one.low:.1f}H{frame.left}Z"
    else:
        path = _path([(mark.x, mark.y) for mark in marks])
        edge = [(m.x, m.high) for m in marks] + [(m.x, m.low) for m in reversed(marks)]
        band = _path(edge) + "Z" if len(marks) > 1 else ""
    floor = lines[0].is_floor
    return Series(
        name,
        hue_of(name, floor),
        shape_of(name),
        floor,
        _level(lines),
        marks,
        path,
        band,
        marks[-1].y,
    )


def _path(points: Sequence[tuple[float, float]]) -> str:
    return "M" + "L".join(f"{x:.1f},{y:.1f}" for x, y in points) if points else ""


def _apart(series: Sequence[Series], limit: float) -> list[Series]:
    """Move labels so that none covers another and all stay inside."""
    ordered = sorted(series, key=lambda s: s.label_y)
    places = apart([one.label_y for one in ordered], GAP, limit)
    return [replace(item, label_y=place) for item, place in zip(ordered, places, strict=True)]


def apart(wanted: Sequence[float], gap: float, limit: float) -> list[float]:
    """Ascending places at least `gap` apart and at most `limit`, near those wanted."""
    places: list[float] = []
    for place in wanted:
        places.append(max(place, places[-1] + gap) if places else place)
    for index in range(len(places) - 1, -1, -1):
        places[index] = min(places[index], limit)
        limit = places[index] - gap
    return places


def hues(lines: Sequence[Line]) -> list[tuple[str, str]]:
    """The colours that these lines have, with what they stand for, for the key of a drawing."""
    there = {hue_of(line.recipe, line.is_floor) for line in lines}
    return [(name, said) for name, said in HUE_NAMES.items() if name in there]

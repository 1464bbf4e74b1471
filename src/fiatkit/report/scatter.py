"""Two drawings of points with intervals: score against price, and gain against baseline.

Plain numbers for the templates, as in `plot`; each point is labelled where there is room.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field, replace

from fiatkit.metrics import Estimate
from fiatkit.report.gain import Gain, GainPoint
from fiatkit.report.plot import apart, bounds_of, hue_of, shape_of
from fiatkit.report.price import PER, PriceLine, Prices
from fiatkit.report.text import dollars, duration, estimated

WIDTH, HEIGHT = 1060, 430
LEFT, RIGHT, TOP, BOTTOM = 60, 40, 34, 62
LETTER, LINE = 7.4, 17.0
TIMES = (0.01, 0.1, 1, 2, 5, 10, 20, 30, 60, 120, 300, 600, 1200, 1800, 3600, 7200, 18000, 36000)
DAYS = (86400, 172800, 432000, 864000, 8640000)
APART = 58.0  # between two ticks
NOTHING = 0.07  # the share of the width that stands for a price of nothing
ASIDE = (4.5, -6, 15, -14, 23, -23, 32, -32, 41, -41, 50, -50, 59, -59, 68, -68)
OFFSETS = tuple((dx, dy) for dy in ASIDE for dx in (10, -10))
Scale = Callable[[float], float]


@dataclass(frozen=True, slots=True)
class Point:
    """A point, its interval upwards, and its label with the side it stands on."""

    name: str
    hue: str
    shape: str
    x: float
    y: float
    low: float
    high: float
    title: str
    label_x: float = 0.0
    label_y: float = 0.0
    anchor: str = "start"


@dataclass(frozen=True, slots=True)
class Rule:
    """A straight line with a class and what it is called."""

    kind: str
    path: str
    name: str
    x: float
    y: float


@dataclass(frozen=True, slots=True)
class Scatter:
    """Everything the template draws."""

    points: list[Point]
    x_ticks: list[tuple[float, str]]
    y_ticks: list[tuple[float, str]]
    text: str
    rules: list[Rule] = field(default_factory=list)
    width: int = WIDTH
    height: int = HEIGHT
    left: int = LEFT
    right: int = WIDTH - RIGHT
    top: int = TOP
    bottom: int = HEIGHT - BOTTOM


def draw_price(found: Prices, lines: Sequence[PriceLine]) -> Scatter | None:
    """Score against what 1,000 predictions cost; None where fewer than two prices are known.

    The axis is logarithmic; what costs nothing stands in a place of its own at its left end.
    """
    known = [
        (line, float(value))
        for line in lines
        if (value := getattr(line.serving, found.unit)) is not None and line.score.value is not None
    ]
    if len(known) < 2:
        return None
    low, high = bounds_of([line.score for line, _ in known])
    y = _linear(low, high, HEIGHT - BOTTOM, TOP)
    x, x_ticks = _price_axis([value for _, value in known], found.unit)
    say = dollars if found.unit == "dollars" else duration
    points = []
    for line, value in known:
        title = f"{line.name}: {estimated(line.score)} at {say(value)} for {PER:,} predictions"
        points.append(
            Point(
                line.recipe,
                hue_of(line.recipe, line.is_floor),
                shape_of(line.recipe),
                x(value),
                y(line.score.value or 0.0),
                *_ends(line.score, y),
                title,
            )
        )
    return Scatter(
        _labelled(points), x_ticks, _even_ticks(low, high, y), "; ".join(p.title for p in points)
    )


def _price_axis(values: Sequence[float], unit: str) -> tuple[Scale, list[tuple[float, str]]]:
    paid = [value for value in values if value > 0]
    begin, end = float(LEFT), float(WIDTH - RIGHT)
    nothing = len(paid) < len(values)
    if nothing:
        begin += NOTHING * (end - begin)
    if not paid:
        return (lambda value: LEFT + 20.0), [(LEFT + 20.0, "nothing")]
    low, high = math.log10(min(paid)) - 0.15, math.log10(max(paid)) + 0.25

    def x(value: float) -> float:
        if value <= 0:
            return LEFT + 20.0
        return begin + (end - begin) * (math.log10(value) - low) / (high - low)

    if unit == "seconds":
        told = [(float(v), duration(v)) for v in (*TIMES, *DAYS)]
    else:
        told = [(m * 10.0**e, dollars(m * 10.0**e)) for e in range(-5, 6) for m in (1, 2, 5)]
    ticks = [(LEFT + 20.0, "nothing")] if nothing else []
    for value, name in told:
        if low <= math.log10(value) <= high and (not ticks or x(value) - ticks[-1][0] >= APART):
            ticks.append((x(value), name))
    return x, ticks


def draw_gain(gain: Gain) -> Scatter:
    """Gain of each language against its score without the rationale, with both trends."""
    low, high = bounds_of([Estimate(point.baseline.value) for point in gain.points])
    ends = [
        v for p in gain.points for v in (p.gain.low, p.gain.high, p.gain.value) if v is not None
    ]
    least, most = 5 * math.floor(min([*ends, 0.0]) / 5), 5 * math.ceil(max([*ends, 0.0]) / 5)
    x = _linear(low, high, LEFT, WIDTH - RIGHT)
    y = _linear(least, max(most, least + 5), HEIGHT - BOTTOM, TOP)
    points = [_gain_point(point, x, y) for point in gain.points]
    middle = (
        sum(p.baseline.value or 0.0 for p in gain.points) / len(points),
        sum(p.gain.value or 0.0 for p in gain.points) / len(points),
    )
    span = (
        min(p.baseline.value or 0.0 for p in gain.points),
        max(p.baseline.value or 0.0 for p in gain.points),
    )
    rules = [
        _rule(kind, name, trend.slope.value, middle, span, x, y)
        for kind, name, trend in (
            ("naive", "as the paper draws it", gain.naive),
            ("controlled", "with the control", gain.controlled),
        )
        if trend.slope.value is not None
    ]
    drawn = _rules_apart([r for r in rules if r is not None])
    return Scatter(
        _labelled(points, drawn),
        _even_ticks(low, high, x),
        _even_ticks(least, most, y),
        "; ".join(p.title for p in points),
        drawn,
    )


def _rules_apart(rules: Sequence[Rule]) -> list[Rule]:
    """The lines with the places of their names moved, upwards or downwards, off one another."""
    ordered = sorted(rules, key=lambda rule: rule.y)
    places = apart([rule.y for rule in ordered], LINE, HEIGHT - BOTTOM)
    return [replace(rule, y=place) for rule, place in zip(ordered, places, strict=True)]


def _gain_point(point: GainPoint, x: Scale, y: Scale) -> Point:
    title = (
        f"{point.language}: {estimated(point.baseline)} without, "
        f"{estimated(point.gain, signed=True)} with the rationale"
    )
    place = x(point.baseline.value or 0.0), y(point.gain.value or 0.0)
    ends = _ends(point.gain, y)
    return Point(point.language, "fiat", shape_of("fiat"), *place, *ends, title)


def _rule(
    kind: str,
    name: str,
    slope: float,
    middle: tuple[float, float],
    span: tuple[float, float],
    x: Scale,
    y: Scale,
) -> Rule | None:
    """A line of this slope through the mean of all points, as far as it stays inside."""
    inside = []
    for step in range(101):
        at = span[0] + (span[1] - span[0]) * step / 100
        value = y(middle[1] + slope * (at - middle[0]))
        if TOP <= value <= HEIGHT - BOTTOM:
            inside.append((x(at), value))
    if len(inside) < 2:
        return None
    (x1, y1), (x2, y2) = inside[0], inside[-1]
    return Rule(kind, f"M{x1:.1f},{y1:.1f}L{x2:.1f},{y2:.1f}", name, x2, y2)


def _linear(low: float, high: float, begin: float, end: float) -> Scale:
    return lambda value: begin + (end - begin) * (value - low) / (high - low)


def _even_ticks(low: float, high: float, place: Scale) -> list[tuple[float, str]]:
    step = 10 if high - low > 40 else 5
    first = -(-int(low) // step) * step
    return [(place(float(v)), f"{v}") for v in range(first, int(high) + 1, step)]


def _ends(found: Estimate, place: Scale) -> tuple[float, float]:
    middle = found.value or 0.0
    low = middle if found.low is None else found.low
    high = middle if found.high is None else found.high
    return place(low), place(high)


def _labelled(points: Sequence[Point], rules: Sequence[Rule] = ()) -> list[Point]:
    """Each label at the first place round its point where it covers no other, no name of a line
    and no point."""
    taken = [(p.x - 6, p.y - 6, p.x + 6, p.y + 6) for p in points]
    taken += [(r.x - 6 - LETTER * len(r.name), r.y - LINE - 3, r.x - 6, r.y - 3) for r in rules]
    found = []
    for point in sorted(points, key=lambda p: (p.y, p.x)):
        choices = [_label(point, dx, dy) for dx, dy in OFFSETS]
        best = min(choices, key=lambda choice: _covered(_box(choice), taken))
        taken.append(_box(best))
        found.append(best)
    return found


def _label(point: Point, dx: float, dy: float) -> Point:
    anchor = "start" if dx > 0 else "end" if dx < 0 else "middle"
    return replace(point, label_x=point.x + dx, label_y=point.y + dy, anchor=anchor)


def _box(point: Point) -> tuple[float, float, float, float]:
    width = LETTER * len(point.name)
    shift = {"start": 0.0, "middle": width / 2, "end": width}[point.anchor]
    left = point.label_x - shift
    return left, point.label_y - LINE + 4, left + width, point.label_y + 4


def _covered(
    box: tuple[float, float, float, float], others: Sequence[tuple[float, float, float, float]]
) -> float:
    """How much of other boxes a box covers, and how far it stands outside."""
    area = 0.0
    for left, top, right, bottom in others:
        wide = min(box[2], right) - max(box[0], left)
        high = min(box[3], bottom) - max(box[1], top)
        area += max(wide, 0.0) * max(high, 0.0)
    outside = max(LEFT - box[0], 0.0) + max(box[2] - WIDTH, 0.0) + max(TOP - box[1], 0.0)
    outside += max(box[3] - (HEIGHT - BOTTOM), 0.0)
    return area + 50 * outside

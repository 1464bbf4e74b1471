"""Price as an axis: what fitting a recipe cost once, what 1,000 predictions cost, and from how many
predictions on one recipe is cheaper than another.

All as if nothing had come from the store. Money is what the large model's provider bills; a model
in this process bills nothing, and its price is the time. What is not known stays unknown.
"""

from __future__ import annotations

import functools
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from decimal import Decimal
from typing import Any, Literal

from pydantic import ValidationError

from fiatkit.metrics import Estimate
from fiatkit.reasoning.prices import Price, Pricing, pricing
from fiatkit.records import ModelIdentity, Usage
from fiatkit.report.evidence import Evidence, Key, evidence, name_of, reference
from fiatkit.report.run import CellRecord, CellUsage, Run

PER = 1000
Unit = Literal["dollars", "seconds"]
Outcome = Literal["always", "never", "from", "the same", "unknown"]


@dataclass(frozen=True, slots=True)
class Spent:
    """Calls of the large model, their tokens, seconds of all kinds, and US dollars; None: unknown.

    `by_stage` splits the seconds: rationales, tuning, prediction.
    """

    calls: float
    prompt_tokens: float | None
    completion_tokens: float | None
    seconds: float | None
    by_stage: dict[str, float]
    dollars: float | None


@dataclass(frozen=True, slots=True)
class PriceLine:
    """A recipe at a size: its score, what fitting it cost once (the rationales of its training and
    dev rows, tuning), and what 1,000 predictions cost. Means over seeds.

    `uncounted`: it asked follow-up calls whose tokens are not recorded, so that its dollars are
    not known unless calls are free.
    """

    recipe: str
    size: int | None
    is_floor: bool
    score: Estimate
    fitting: Spent
    serving: Spent
    uncounted: bool = False

    @property
    def name(self) -> str:
        """The recipe and its training rows."""
        return name_of((self.recipe, self.size))


@dataclass(frozen=True, slots=True)
class BreakEven:
    """When recipe A is cheaper than recipe B in all: fitting once and every prediction.

    Attributes:
        a: A with its rows; `b` likewise.
        unit: what is counted.
        outcome: "always", "never", "from" a number of predictions on, "the same", or "unknown".
        cheaper: who is cheaper in the long run; None where that is not known or the same.
        predictions: how many predictions it takes, where the outcome is "from": `cheaper` is
            cheaper from there on, the other one before.
    """

    a: str
    b: str
    unit: Unit
    outcome: Outcome
    cheaper: str | None
    predictions: float | None

    @property
    def words(self) -> str:
        """The outcome in words."""
        if self.outcome == "from":
            return f"{self.cheaper} is cheaper from {self.predictions:,.0f} predictions on"
        if self.outcome == "the same":
            return f"{self.a} and {self.b} cost the same"
        if self.outcome == "unknown":
            return f"which of {self.a} and {self.b} is cheaper is not known"
        return f"{self.a} is {self.outcome} cheaper than {self.b}"


@dataclass(frozen=True, slots=True)
class Prices:
    """All lines, cheapest serving first, and the reference against each at the largest size. What
    outside systems cost nobody knows; they have no line.

    `unit` is what the axis should show: dollars where some recipe costs any and none is unknown
    but those of recipes with uncounted follow-up calls, else seconds. `source` says where the
    prices come from.
    """

    unit: Unit
    source: str
    lines: list[PriceLine]
    break_even: list[BreakEven]

    @property
    def left_off(self) -> list[str]:
        """The recipes that an axis in dollars leaves off: they have uncounted follow-up calls."""
        if self.unit != "dollars":
            return []
        return list(dict.fromkeys(x.recipe for x in self.lines if x.serving.dollars is None))

    @property
    def reason(self) -> str:
        """Why the axis shows seconds."""
        unknown = [line.recipe for line in self.lines if line.serving.dollars is None]
        if not unknown:
            return "since no call here costs money"
        return f"since the dollars of {', '.join(dict.fromkeys(unknown))} are not known"


@functools.lru_cache(maxsize=2)
def prices(run: Run) -> Prices:
    """What every recipe costs."""
    found = evidence(run)
    known, source = _pricing(run)
    ours = [key for key, cells in found.lines.items() if not cells[0].record.is_outside]
    lines = [_line(found, key, known) for key in ours]
    dollars = [line.serving.dollars for line in lines if not line.uncounted]
    unit: Unit = "dollars" if None not in dollars and any(dollars) else "seconds"
    lines.sort(key=lambda line: (_or_last(line.serving, unit), line.size or 0))
    return Prices(unit, source, lines, list(_break_even(lines, reference(found))))


def break_even(a: PriceLine, b: PriceLine, unit: Unit) -> BreakEven:
    """When A is cheaper than B."""
    values = [getattr(spent, unit) for line in (a, b) for spent in (line.fitting, line.serving)]
    if None in values:
        return BreakEven(a.name, b.name, unit, "unknown", None, None)
    fixed, each, other_fixed, other_each = values
    more, less = fixed - other_fixed, (other_each - each) / PER
    if more == 0 and less == 0:
        return BreakEven(a.name, b.name, unit, "the same", None, None)
    if more <= 0 and less >= 0:
        return BreakEven(a.name, b.name, unit, "always", a.name, None)
    if more >= 0 and less <= 0:
        return BreakEven(a.name, b.name, unit, "never", b.name, None)
    return BreakEven(a.name, b.name, unit, "from", a.name if less > 0 else b.name, more / less)


def _break_even(lines: Sequence[PriceLine], chosen: str | None) -> Iterator[BreakEven]:
    recipes = [line for line in lines if not line.is_floor]
    largest = max((line.size or 0 for line in recipes), default=0)
    shown = [line for line in recipes if line.size in (None, largest)]
    ours = next((line for line in shown if line.recipe == chosen), None)
    units: tuple[Unit, ...] = ("dollars", "seconds")
    for other in shown:
        if ours is not None and other is not ours:
            yield from (break_even(ours, other, unit) for unit in units)


def _pricing(run: Run) -> tuple[Pricing | None, str]:
    """How the large model's calls are priced, and by what."""
    values = run.info.models.get("large")
    if values is None:
        return None, "no large model"
    model = str(values.get("model") or values.get("name") or "")
    place = str(values.get("base_url") or values.get("endpoint") or "")
    identity = ModelIdentity(str(values.get("provider", "")), place, model, "")
    own = _own_prices(run.info.config.get("prices"))
    found = pricing(identity, own)
    if model in own:
        return found, "prices of the run file"
    if found is None:
        return None, f'the price of "{model}" is not known'
    return found, "genai-prices" if found(Usage(1, 1)) else "a model in this process bills nothing"


def _own_prices(given: Any) -> dict[str, Price]:
    try:
        return {str(k): Price.model_validate(v) for k, v in (given or {}).items()}
    except (ValidationError, AttributeError):
        return {}


def _line(found: Evidence, key: Key, known: Pricing | None) -> PriceLine:
    cells = found.lines[key]
    records = [cell.record for cell in cells]
    rows = max(len(found.run.rows), 1)
    whole = [_serving(record, rows) for record in records]
    fitting = [_less(r.usage, test) for r, test in zip(records, whole, strict=True)]
    return PriceLine(
        records[0].recipe,
        records[0].size,
        records[0].is_floor,
        found.score(key),
        _mean(
            [
                _spent(usage, _stages(record, usage, "tuning"), 1.0, known)
                for record, usage in zip(records, fitting, strict=True)
            ]
        ),
        _mean(
            [
                _spent(usage, _stages(record, usage, "prediction"), PER / rows, known)
                for record, usage in zip(records, whole, strict=True)
            ]
        ),
        any(usage.follow_up_calls for usage in whole),
    )


def _serving(record: CellRecord, rows: int) -> CellUsage:
    """The large model's calls for the test rows: as recorded, or so many of the whole's."""
    if record.test_usage is not None:
        return record.test_usage
    calls = min(record.usage.calls, rows)
    return _part(record, calls)


def _part(record: CellRecord, calls: int) -> CellUsage:
    share = calls / record.usage.calls if record.usage.calls else 0.0

    def part(count: int | None) -> int | None:
        return None if count is None else round(share * count)

    usage = record.usage
    return CellUsage(
        calls=calls,
        prompt_tokens=part(usage.prompt_tokens),
        completion_tokens=part(usage.completion_tokens),
        cached_tokens=part(usage.cached_tokens),
        follow_up_calls=usage.follow_up_calls,
        seconds=share * record.seconds.get("rationales", 0.0),
    )


def _less(usage: CellUsage, test: CellUsage) -> CellUsage:
    """What is left of a cell's calls without those of its test rows."""

    def rest(whole: int | None, part: int | None) -> int | None:
        return None if whole is None or part is None else max(0, whole - part)

    return CellUsage(
        calls=max(0, usage.calls - test.calls),
        prompt_tokens=rest(usage.prompt_tokens, test.prompt_tokens),
        completion_tokens=rest(usage.completion_tokens, test.completion_tokens),
        cached_tokens=rest(usage.cached_tokens, test.cached_tokens),
    )


def _stages(record: CellRecord, usage: CellUsage, own: str) -> dict[str, float]:
    """Seconds of the rationales that `usage` is about, and of the cell's own stage."""
    whole = record.seconds.get("rationales", 0.0)
    if usage.seconds is not None:
        rationales = usage.seconds
    else:
        test = record.test_usage.seconds if record.test_usage else None
        share = usage.calls / record.usage.calls if record.usage.calls else 0.0
        rationales = share * whole if test is None else max(0.0, whole - test)
    return {"rationales": rationales, own: record.seconds.get(own, 0.0)}


def _spent(
    usage: CellUsage, stages: dict[str, float], scale: float, known: Pricing | None
) -> Spent:
    return Spent(
        scale * (usage.calls + usage.follow_up_calls),
        _times(scale, usage.prompt_tokens),
        _times(scale, usage.completion_tokens),
        scale * sum(stages.values()),
        {name: scale * seconds for name, seconds in stages.items()},
        _times(scale, _dollars(usage, known)),
    )


def _dollars(usage: CellUsage, known: Pricing | None) -> float | None:
    """The price of so many calls of the average length."""
    if not usage.calls and not usage.follow_up_calls:
        return 0.0
    if known is None or (usage.follow_up_calls and known(Usage(1, 1))):
        return None  # the tokens of follow-up calls are not recorded
    if usage.prompt_tokens is None or usage.completion_tokens is None:
        free = known(Usage(1, 1)) == 0
        return 0.0 if free else None
    one = Usage(
        round(usage.prompt_tokens / usage.calls),
        round(usage.completion_tokens / usage.calls),
        round((usage.cached_tokens or 0) / usage.calls),
    )
    cost = known(one)
    return None if cost is None else float(cost * Decimal(usage.calls))


def _times(scale: float, value: float | None) -> float | None:
    return None if value is None else scale * value


def _mean(each: Sequence[Spent]) -> Spent:
    def mean(of: Callable[[Spent], float | None]) -> float | None:
        values = [of(spent) for spent in each]
        known = [value for value in values if value is not None]
        return sum(known) / len(known) if len(known) == len(values) else None

    return Spent(
        sum(s.calls for s in each) / len(each),
        mean(lambda s: s.prompt_tokens),
        mean(lambda s: s.completion_tokens),
        mean(lambda s: s.seconds),
        {name: sum(s.by_stage[name] for s in each) / len(each) for name in each[0].by_stage},
        mean(lambda s: s.dollars),
    )


def _or_last(spent: Spent, unit: Unit) -> float:
    value = getattr(spent, unit)
    return float("inf") if value is None else float(value)

"""The verdict in a sentence or two: who wins, by how much, whether it can be told apart."""

from __future__ import annotations

from fiatkit.report.summary import Line, Summary


def verdict(summary: Summary) -> str:
    """What the numbers say, at the largest size, without more than they say."""
    recipes = [line for line in summary.lines if not line.is_floor and line.score is not None]
    if not recipes:
        return "No recipe has a score yet."
    largest = max(line.size or 0 for line in recipes)
    shown = [line for line in recipes if line.size in (None, largest)]
    best = max(shown, key=lambda line: line.score or 0.0)
    told = [f"Best: {best.recipe} with {best.score:.1f} {summary.metric_label}."]
    fiat = next((line for line in shown if line.recipe == "fiat"), None)
    if fiat is not None:
        told += [_against(fiat, rival) for rival in ("instruct", "icl")]
    told += _floors(summary, best)
    return " ".join(part for part in told if part)


def _against(fiat: Line, rival: str) -> str:
    found = fiat.differences.get(rival)
    if found is None:
        return ""
    interval = f"({found.value:+.1f}, 95 % {found.low:+.1f} to {found.high:+.1f})"
    if not found.distinguishable:
        return f"FIAT and {rival} are not distinguishable on these rows {interval}."
    return f"FIAT is {'above' if found.value > 0 else 'below'} {rival} {interval}."


def _floors(summary: Summary, best: Line) -> list[str]:
    floors = [line for line in summary.lines if line.is_floor and line.score is not None]
    highest = max(floors, key=lambda line: line.score or 0.0, default=None)
    if highest is None or (best.score or 0.0) > (highest.score or 0.0):
        return []
    return [f"No recipe is above the floor {highest.recipe} ({highest.score:.1f})."]

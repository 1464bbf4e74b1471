"""The verdict in plain words: who wins, by how much, whether that is sure, at what price."""

from __future__ import annotations

from fiatkit.metrics import Difference
from fiatkit.report.summary import Line, Summary
from fiatkit.report.text import clock, one_line, tokens

FEW_GROUPS = 20


def verdict(summary: Summary) -> str:
    """What the numbers say, at the largest size, without more than they say."""
    return " ".join(sentences(summary))


def sentences(summary: Summary) -> list[str]:
    """The verdict, a sentence a finding; the first names the best recipe."""
    if summary.lead is None:
        return ["No recipe has a score yet.", *_undefined(summary)]
    told = [_best(summary)]
    fiat = next((x for x in summary.largest if x.recipe == "fiat" and x.score is not None), None)
    if fiat is not None:
        told += [_against(fiat, rival) for rival in summary.rivals if not _told(summary, rival)]
    told += [
        *_constant(summary),
        *_floors(summary),
        *_undefined(summary),
        *_failures(summary),
        *_fallbacks(summary),
        *_few(summary),
    ]
    return [sentence for sentence in told if sentence]


def definition(summary: Summary) -> list[str]:
    """What must be said with the score: whom the mean is over, and the metric's own detail."""
    detail, told = summary.metric_detail, []
    if "averaged" in detail:
        names = " ".join(one_line(name) for name in detail["averaged"])
        told.append(f"Scores are unweighted means over {names}.")
    elif len(summary.languages) > 1:
        told.append(f"Scores are unweighted means over {len(summary.languages)} languages.")
    if detail.get("languages_missing"):
        names = " ".join(one_line(name) for name in detail["languages_missing"])
        told.append(f"The mean is undefined, since the test rows have none of {names}.")
    if "positive" in detail:
        share = 100 * float(detail["positive_share"])
        label = one_line(detail["positive"])
        told.append(f'The positive label is "{label}" ({share:.0f} % of the rows).')
    if "signature" in detail:
        told.append(f"Signature: {one_line(detail['signature'])}.")
    return told


def price(summary: Summary) -> str:
    """Calls, tokens and time of each recipe at the largest size, the dearest first."""
    known = [line for line in summary.largest if not line.is_outside]
    lines = sorted(known, key=lambda line: -(line.calls or 0))
    parts = [
        f"{line.recipe} took {line.calls:,} calls of the large model "
        f"({tokens(line.prompt_tokens)} tokens in, {tokens(line.completion_tokens)} out) "
        f"and {clock(line.seconds)}"
        for line in lines
        if line.calls
    ]
    free = [f"{line.recipe} {clock(line.seconds)}" for line in lines if not line.calls]
    if free:
        parts.append(f"without any call: {', '.join(free)}")
    return f"Price, in calls and minutes: {'; '.join(parts)}." if parts else ""


def _told(summary: Summary, rival: str) -> bool:
    """Whether the first sentence compares FIAT with this rival already."""
    lead = summary.lead
    if lead is None or lead.next is None or lead.difference is None:
        return False
    return {lead.best.recipe, lead.next.recipe} == {"fiat", rival}


def _best(summary: Summary) -> str:
    lead = summary.lead
    assert lead is not None
    score = f"{lead.best.score:.1f} {summary.metric_label}"
    if lead.next is None:
        return f"Only {lead.best.recipe} has a score: {score}."
    told = f"Best: {lead.best.recipe} with {score}"
    found = lead.difference
    if found is None:
        return f"{told}, before {lead.next.recipe} with {lead.next.score:.1f}."
    if found.distinguishable:
        return f"{told}, ahead of {lead.next.recipe} {_interval(found)}."
    return f"{told}, but it cannot be told apart from {lead.next.recipe} {_interval(found)}."


def _against(fiat: Line, rival: str) -> str:
    found = fiat.differences.get(rival)
    if found is None:
        return ""
    if not found.distinguishable:
        return f"FIAT and {rival} are not distinguishable on these rows {_interval(found)}."
    return f"FIAT is {'above' if found.value > 0 else 'below'} {rival} {_interval(found)}."


def _interval(found: Difference) -> str:
    return f"({found.value:+.1f}, 95 % {found.low:+.1f} to {found.high:+.1f})"


def _floors(summary: Summary) -> list[str]:
    floors = [line for line in summary.lines if line.is_floor and line.score is not None]
    highest = max(floors, key=lambda line: line.score or 0.0, default=None)
    best = summary.lead.best if summary.lead else None
    if highest is None or best is None or (best.score or 0.0) > (highest.score or 0.0):
        return []
    return [f"No recipe is above the floor {highest.recipe} ({highest.score:.1f})."]


def _constant(summary: Summary) -> list[str]:
    """Recipes that gave all rows the same answer, and so say nothing of the rows."""
    told = []
    for line in summary.largest:
        if line.constant:
            answers = ", ".join(f'"{one_line(answer)}"' for answer in dict.fromkeys(line.constant))
            some = "" if line.seeds == 1 else f" at {len(line.constant)} of {line.seeds} seeds"
            told.append(f"{line.recipe} gave all rows the same answer, {answers}{some}.")
    return told


def _undefined(summary: Summary) -> list[str]:
    names = [line.name for line in summary.lines if line.score is None]
    if not names:
        return []
    return [f"{summary.metric_label} is undefined for {', '.join(dict.fromkeys(names))}."]


def _failures(summary: Summary) -> list[str]:
    """Recipes of which a twentieth of the rows or more failed."""
    told, some = [], []
    for line in summary.largest:
        count, rows = sum(line.failed.values()), summary.test_rows * line.seeds
        if count == rows:
            told.append(f"Every row of {line.recipe} failed.")
        elif count * 20 >= rows:
            some.append(f"{line.recipe} {count} of {rows}")
    if some:
        told.append(f"Rows that failed and count as wrong: {', '.join(some)}.")
    return told


def _fallbacks(summary: Summary) -> list[str]:
    some = [
        f"{line.recipe} {line.fallbacks} of {summary.test_rows * line.seeds}"
        for line in summary.largest
        if line.fallbacks
    ]
    return [f"Rows answered without their rationale, which failed: {', '.join(some)}."] * bool(some)


def _few(summary: Summary) -> list[str]:
    if summary.test_groups >= FEW_GROUPS:
        return []
    return [f"The test rows form only {summary.test_groups} groups: intervals are rough."]

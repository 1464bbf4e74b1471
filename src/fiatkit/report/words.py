"""The verdict in plain words: who wins, by how much, whether that is sure, at what price."""

from __future__ import annotations

from fiatkit.experiment.predictions import no_labels
from fiatkit.report.curves import curves
from fiatkit.report.family import Comparison, Family, family
from fiatkit.report.price import PER, PriceLine, prices
from fiatkit.report.run import Run
from fiatkit.report.summary import Summary, summarise
from fiatkit.report.text import dollars, duration, one_line, tokens

FEW_GROUPS = 20


def verdict(run: Run) -> str:
    """What the numbers say, at the largest size, without more than they say."""
    return " ".join(sentences(run))


def sentences(run: Run) -> list[str]:
    """The verdict, a sentence a finding; the first names the best recipe.

    "Ahead" and "above" mean better by the corrected test of the family of comparisons.
    """
    return [*findings(run), *cautions(run)]


def findings(run: Run) -> list[str]:
    """Who is best, how sure that is, and what the rationale adds."""
    summary = summarise(run)
    if summary.lead is None:
        return ["No recipe has a score yet."]
    found = family(run)
    told = [_best(run, summary)]
    if found.reference == "fiat":
        said = {summary.lead.best.recipe, summary.lead.next.recipe if summary.lead.next else ""}
        told += [
            _against(comparison)
            for name in summary.rivals
            if {"fiat", name} != said and (comparison := found.of(name)) is not None
        ]
    return told


def cautions(run: Run) -> list[str]:
    """What must be known before the findings are used."""
    summary = summarise(run)
    told = [
        *_constant(summary),
        *_floors(summary),
        *_undefined(summary),
        *_failures(summary),
        *_strange(run),
        *_fallbacks(summary),
        *_few(summary),
        *_powerless(family(run)),
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


def below_table(run: Run) -> list[str]:
    """What belongs to the table of recipes and is no line of it: recipes that were not run, with
    the reason, and tuned models that were no better than the baseline on the dev rows."""
    told = [
        f"{one_line(name)}: not run: {one_line(why)}."
        for name, why in summarise(run).not_run.items()
    ]
    weak = [
        f"{one_line(cell.name)}: {one_line(note)}."
        for cell in run.cells
        for note in cell.record.notes
        if note.startswith("no better than the baseline")
    ]
    return told + weak


def crossings(run: Run) -> str:
    """At how many rows FIAT, or what stands for it, and what it is held against change places."""
    wanted = ("instruct", "icl", "icl_constrained", "lora")
    found = [c for c in curves(run).crossovers if c.outcome == "crosses" and c.b in wanted]
    return " ".join(f"{c.words[0].upper()}{c.words[1:]}." for c in found)


def price(run: Run) -> str:
    """What 1,000 predictions cost with the best recipe, FIAT, what it is held against, and a
    cheaper recipe that cannot be told from the best."""
    lead = summarise(run).lead
    names = [lead.best.recipe if lead else None, "fiat", _cheaper(run), "instruct", "icl"]
    uses: dict[str, list[str]] = {}
    for name in dict.fromkeys(names):
        line = _at_largest(run, name) if name else None
        if line is not None:
            time = f" ({duration(s)})" if (s := line.serving.seconds) else ""
            uses.setdefault(_use(line), []).append(f"{line.recipe}{time}")
    parts = [f"{use} with {' and '.join(recipes)}" for use, recipes in uses.items()]
    return f"{PER:,} predictions take {'; '.join(parts)}." if parts else ""


def cheaper(run: Run) -> str:
    """A recipe that is cheaper than the best and not distinguishable from it, if there is one."""
    lead, name = summarise(run).lead, _cheaper(run)
    comparison = _between(run, lead.best.recipe, name) if lead and name else None
    if lead is None or comparison is None:
        return ""
    return (
        f"{name} is cheaper in use than {lead.best.recipe}, and these rows do not tell the two "
        f"apart {_interval(comparison, lead.best.recipe)}, which is no proof that they are equal."
    )


def _at_largest(run: Run, recipe: str) -> PriceLine | None:
    """A recipe's price at the largest size, or at its only one."""
    wanted = {line.recipe: line.size for line in summarise(run).largest}
    lines = [line for line in prices(run).lines if not line.is_floor and line.recipe == recipe]
    return next((line for line in lines if line.size == wanted.get(recipe, -1)), None)


def _use(line: PriceLine) -> str:
    """What 1,000 predictions take, in words."""
    spent = line.serving
    if not spent.calls:
        return "no call of the large model"
    told = f"{spent.calls:,.0f} calls of the large model"
    told += f" ({tokens(spent.prompt_tokens)} tokens in, {tokens(spent.completion_tokens)} out)"
    return told + (f" for {dollars(spent.dollars)}" if spent.dollars else "")


def _cheaper(run: Run) -> str | None:
    """Of the recipes not told from the best and cheaper in use, the one that scores highest."""
    lead = summarise(run).lead
    best = _at_largest(run, lead.best.recipe) if lead else None
    if lead is None or best is None:
        return None
    unit = prices(run).unit
    limit = getattr(best.serving, unit)
    found = {}
    for line in summarise(run).largest:
        comparison = _between(run, best.recipe, line.recipe)
        paid = _at_largest(run, line.recipe)
        value = getattr(paid.serving, unit) if paid else None
        same = comparison is not None and comparison.verdict == "not distinguishable"
        if same and value is not None and limit is not None and value < limit:
            found[line.recipe] = line.score or 0.0
    return max(found, key=lambda name: found[name], default=None)


def _between(run: Run, one: str, other: str) -> Comparison | None:
    """The comparison of two recipes at the largest size, where the family has it."""
    found = family(run)
    if one == other or found.reference not in (one, other):
        return None
    return found.of(other if found.reference == one else one)


def _best(run: Run, summary: Summary) -> str:
    lead = summary.lead
    assert lead is not None
    score = f"{lead.best.score:.1f} {summary.metric_label}"
    if lead.best.size is not None:
        score += f" on {lead.best.size:,} training rows"
    if lead.next is None:
        return f"Only {lead.best.recipe} has a score: {score}."
    told = f"Best: {lead.best.recipe} with {score}"
    second = lead.next.recipe
    found = _between(run, lead.best.recipe, second)
    chosen = ""
    if found is None:  # neither is the family's reference
        found = family(run).leading
        chosen = (
            "; the two were chosen by looking at the scores, for which the test is corrected "
            f"({family(run).pairs} pairs)"
        )
    if found is None or found.verdict == "undefined":
        return f"{told}, before {second} with {lead.next.score:.1f}."
    span = _interval(found, lead.best.recipe)
    if found.verdict == "not distinguishable":
        return f"{told}, but it cannot be told apart from {second} {span}{chosen}."
    return f"{told}, ahead of {second} {span}{chosen}."


def _against(found: Comparison) -> str:
    span = _interval(found, found.a)
    if found.verdict == "undefined":
        return ""
    if found.verdict == "not distinguishable":
        return f"FIAT and {found.b} are not distinguishable on these rows {span}."
    return f"FIAT is {'above' if found.verdict == 'A better' else 'below'} {found.b} {span}."


def _interval(found: Comparison, first: str) -> str:
    """The difference from the first recipe's side."""
    value, low, high = found.difference.value, found.difference.low, found.difference.high
    if value is None:
        return ""
    if first != found.a:
        value = -value
        low, high = (None, None) if low is None or high is None else (-high, -low)
    if low is None or high is None:
        return f"({value:+.1f})"
    return f"({value:+.1f}, 95 % {low:+.1f} to {high:+.1f})"


def _floors(summary: Summary) -> list[str]:
    """Recipes at the largest size that do not score above the highest floor there."""
    known = {line.name: line.score for line in summary.largest if line.score is not None}
    size = max((line.size or 0 for line in summary.largest), default=0)
    floors = {
        line.recipe: line.score
        for line in summary.lines
        if line.is_floor and line.score is not None and line.size in (None, size)
    }
    if not floors or not known:
        return []
    highest = max(floors, key=lambda name: floors[name])
    told = f"the floor {highest} ({floors[highest]:.1f})"
    if max(known.values()) <= floors[highest]:
        return [f"No recipe is above {told}."]
    below = [
        f"{line.recipe} ({line.score:.1f})"
        for line in summary.largest
        if line.score is not None and line.score <= floors[highest]
    ]
    return [f"Not above {told}: {', '.join(below)}."] if below else []


def _constant(summary: Summary) -> list[str]:
    """Recipes that gave all rows the same answer, and so say nothing of the rows."""
    told = {}
    for line in summary.largest:
        if line.constant:
            answers = ", ".join(f'"{one_line(answer)}"' for answer in dict.fromkeys(line.constant))
            some = "" if line.seeds == 1 else f" at {len(line.constant)} of {line.seeds} seeds"
            told[line.recipe] = answers + some
    if len(told) == 1:
        return [f"{name} gave all rows the same answer, {said}." for name, said in told.items()]
    each = ", ".join(f"{name} ({said})" for name, said in told.items())
    return [f"Recipes that gave all rows the same answer: {each}."] if told else []


def _undefined(summary: Summary) -> list[str]:
    names = [line.name for line in summary.lines if line.score is None]
    if not names:
        return []
    return [f"{summary.metric_label} is undefined for {', '.join(dict.fromkeys(names))}."]


def _failures(summary: Summary) -> list[str]:
    """Recipes of which a twentieth of the rows or more failed."""
    whole, some = [], []
    for line in summary.largest:
        count, rows = sum(line.failed.values()), summary.test_rows * line.seeds
        if count == rows:
            whole.append(line.recipe)
        elif count * 20 >= rows:
            some.append(f"{line.recipe} {count} of {rows}")
    told = [f"Every row of {', '.join(whole)} failed."] if whole else []
    if some:
        told.append(f"Rows that failed and count as wrong: {', '.join(some)}.")
    return told


def _strange(run: Run) -> list[str]:
    """Answers of outside systems that are no label of the task."""
    told = {
        cell.recipe: no_labels(cell.predictions.values(), run.labels)
        for cell in run.cells
        if cell.record.is_outside
    }
    return [f"{name}: {words}." for name, words in told.items() if words]


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


def _powerless(found: Family) -> list[str]:
    """Said where no difference whatever could pass the corrected test."""
    if found.least_p is None or found.least_p <= found.level:
        return []
    return [
        f"With {found.groups} groups and {len(found.comparisons)} comparisons no difference can "
        "be told, however large: more test rows are needed."
    ]

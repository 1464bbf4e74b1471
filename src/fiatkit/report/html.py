"""One self-contained HTML file: no network, one small script without data, data as inert text."""

from __future__ import annotations

import base64
import hashlib
import re
import shlex
from collections import Counter
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import jinja2
import yaml

from fiatkit.files import write_whole
from fiatkit.metrics import Estimate
from fiatkit.models import catalogue
from fiatkit.report import text
from fiatkit.report.curves import Crossover, curves
from fiatkit.report.family import Comparison, Family, family
from fiatkit.report.glossary import GLOSSARY
from fiatkit.report.languages import Languages, languages
from fiatkit.report.plot import STRIP, bounds, draw_curves, hue_of, hues, shape_of, strip
from fiatkit.report.price import Prices, prices
from fiatkit.report.rationales import rationales
from fiatkit.report.run import Run
from fiatkit.report.sample import WORDS, draw_rows
from fiatkit.report.scatter import draw_gain, draw_price
from fiatkit.report.summary import Line, Summary, summarise
from fiatkit.report.words import (
    below_table,
    cautions,
    cheaper,
    crossings,
    definition,
    findings,
    price,
)

TEMPLATES = Path(__file__).with_name("templates")
SHADES = 9
SIGNS = ("✗", "◐", "✓", "!")
CLASSES = ("wrong", "partly", "right", "failed")
_LANGUAGE = re.compile(r"[A-Za-z]{2,3}([-_][A-Za-z0-9]{2,8})*")
_MINUS = re.compile(r"(?<![\w.])-(?=\d)")
_MOMENT = re.compile(r"(\d{4}-\d\d-\d\d)T(\d\d:\d\d).*")


@dataclass(frozen=True, slots=True)
class Block:
    """The lines of one training size, best first, with what is not tuned and the floors."""

    name: str
    size: int | None
    lines: list[Line]


def write_html(run: Run, path: Path) -> None:
    """Write the report as one file, whole or not at all."""
    context = _context(run)
    page = _environment().get_template("report.html").render(context, sections=_sections(context))
    write_whole(path, page.encode("utf-8", "replace"))


def _context(run: Run) -> dict[str, Any]:
    """What the templates read; each part is of the section that shows it."""
    summary = summarise(run)
    blocks = _blocks(summary)
    return {
        "info": run.info,
        "style": _asset("report.css"),
        "script": _asset("report.js"),
        "summary": summary,
        "glossary": GLOSSARY,
        "hues": hues(summary.lines),
        "blocks": blocks,
        **_verdict(run),
        **_recipes(run, summary),
        **_curves(run, summary),
        **_languages(languages(run), blocks[0]),
        **_price(prices(run), blocks[0]),
        "rationales": rationales(run),
        "sample": draw_rows(run),
        "words": WORDS,
        "signs": SIGNS,
        "classes": CLASSES,
        **_settings(run),
    }


def _verdict(run: Run) -> dict[str, Any]:
    return {
        "findings": findings(run),
        "price": price(run),
        "cheaper": cheaper(run),
        "crossings": crossings(run),
        "cautions": cautions(run),
    }


def _recipes(run: Run, summary: Summary) -> dict[str, Any]:
    found = family(run)

    def versus(line: Line, block: Block) -> Comparison | None:
        return found.of(line.recipe, block.size)

    reasons = Counter(c.mcnemar.reason for c in found.comparisons if c.mcnemar.p is None)
    paid = {(line.recipe, line.size): line.serving for line in prices(run).lines}
    return {
        "used": lambda line: paid.get((line.recipe, line.size)),
        "family": found,
        "versus": versus,
        "tellable": _tellable(found),
        "mcnemar": next((reason for reason, _ in reasons.most_common(1)), ""),
        "definition": definition(summary),
        "below_table": below_table(run),
        "strips": {line.name: strip(summary.lines, line) for line in summary.lines},
        "strip_width": STRIP,
        "scale": bounds(summary.lines),
    }


def _tellable(found: Family) -> str:
    """What the test rows could have told at the largest size, in a sentence."""
    size = max((one.size or 0 for one in found.comparisons), default=0)
    each = [one.tellable for one in found.comparisons if (one.size or 0) == size]
    known = sorted(least for least in each if least is not None)
    if not known:
        return ""
    least, most = f"{known[0]:.1f}", f"{known[-1]:.1f}"
    span = f"{least} points" if least == most else f"{least} to {most} points"
    if least != most:
        span += ", depending on the recipe,"
    count = len(found.comparisons)
    corrected = f" after the correction for {count} comparisons" if count > 1 else ""
    rest = len(each) - len(known)
    unknown = f" For {rest} of {len(each)} recipes this cannot be said." if rest else ""
    return (
        f"What these test rows could tell: a true difference of {span} would be found in 8 of 10 "
        f"such comparisons{corrected}; smaller ones mostly not.{unknown}"
    )


def _curves(run: Run, summary: Summary) -> dict[str, Any]:
    drawn = draw_curves(summary)
    crossings: list[Crossover] = curves(run).crossovers if drawn is not None else []
    return {"curves": drawn, "crossovers": crossings}


def _languages(found: Languages, block: Block) -> dict[str, Any]:
    lines = {line.name: line for line in found.lines}
    cuts = [cut for one in found.languages for cut in one.cuts]
    some = {cut.recipe for cut in cuts if cut.rationale or cut.field or cut.skipped}

    def shade_of(value: float | None) -> int | None:
        if value is None or found.lowest is None or found.highest is None:
            return None
        span = found.highest - found.lowest
        return round((SHADES - 1) * (value - found.lowest) / span) if span > 0 else 0

    return {
        "languages": found,
        "language_lines": [lines[line.name] for line in block.lines if line.name in lines],
        "shade_of": shade_of,
        "gain_plot": draw_gain(found.gain) if found.gain is not None else None,
        "cut_recipes": [name for name in dict.fromkeys(c.recipe for c in cuts) if name in some],
    }


def _price(found: Prices, block: Block) -> dict[str, Any]:
    names = [line.name for line in block.lines]
    lines = [line for line in found.lines if line.name in names]
    told = [x for x in found.break_even if x.unit == found.unit and x.outcome != "unknown"]
    return {
        "prices": found,
        "price_lines": sorted(lines, key=lambda line: names.index(line.name)),
        "price_plot": draw_price(found, lines),
        "break_even": told,
    }


def _settings(run: Run) -> dict[str, Any]:
    return {
        "settings": settings_yaml(run),
        "again": _commands(run),
        "models": _models(run),
        "seeds": sorted({c.record.seed for c in run.cells if c.record.seed is not None}),
        "notes": _notes(run),
    }


def _asset(name: str) -> str:
    return (TEMPLATES / name).read_text(encoding="utf-8")


def _sections(context: dict[str, Any]) -> list[tuple[str, str]]:
    there = {
        "short": ("In short", True),
        "recipes": ("Recipes", True),
        "curves": ("More rows", context["curves"]),
        "languages": ("Languages", len(context["languages"].languages) > 1),
        "price": ("Cost", True),
        "rationales": ("Rationales", context["rationales"]),
        "rows": ("Rows to read", True),
        "again": ("Settings", True),
        "glossary": ("Words", True),
    }
    return [(place, name) for place, (name, shown) in there.items() if shown]


def _blocks(summary: Summary) -> list[Block]:
    """The largest size first; what is not tuned stands in each block to compare with."""
    known = {line.size for line in summary.lines if line.size is not None}
    sizes: list[int | None] = [*sorted(known, reverse=True)] or [None]
    blocks = []
    for size in sizes:
        lines = [line for line in summary.lines if line.size in (None, size)]
        lines.sort(key=lambda line: (line.is_floor, -1.0 if line.score is None else -line.score))
        groups = next((line.train_groups for line in lines if line.train_groups), None)
        name = "Recipes" if size is None else f"On {size:,} training rows"
        if groups is not None and groups != size:
            name += f" in {groups:,} groups"
        blocks.append(Block(name, size, lines))
    return blocks


def _environment() -> jinja2.Environment:
    environment = jinja2.Environment(
        loader=jinja2.FileSystemLoader(TEMPLATES),
        autoescape=True,
        trim_blocks=True,
        lstrip_blocks=True,
        undefined=jinja2.StrictUndefined,
    )
    environment.filters |= {
        "number": lambda value: "–" if value is None else _minus(text.number(value)),
        "plus": lambda value: _minus(f"{value:+.1f}"),
        "minus": _minus,
        "prose": lambda value: _minus(value).replace(" %", "\u00a0%"),
        "estimated": lambda found: _minus(text.estimated(found)),
        "percent": _percent,
        "estimate3": _small,
        "probability": text.probability,
        "dollars": text.dollars,
        "time": lambda value: "?" if value is None else text.duration(value),
        "count": lambda value: f"{value:,}",
        "tokens": text.tokens,
        "clock": text.clock,
        "plain": _shown,
        "whole": text.plain,
        "language": _language,
        "status": lambda status: status.replace(":", ": ").replace("_", " "),
        "moment": lambda value: _MOMENT.sub(r"\1 \2", value),
        "xy": lambda value: f"{value:.1f}",
        "digest": _digest,
    }
    environment.globals |= {"hue_of": hue_of, "shape_of": shape_of}
    return environment


def _percent(found: Estimate) -> str:
    """A share with its interval."""
    if found.value is None:
        return "–"
    if found.low is None or found.high is None:
        return f"{found.value:.0f}\u00a0%"
    return f"{found.value:.0f}\u00a0% [{found.low:.0f}, {found.high:.0f}]"


def _small(found: Estimate) -> str:
    """A slope or a correlation with its interval."""
    if found.value is None:
        return "not defined"
    if found.low is None or found.high is None:
        return _minus(f"{found.value:+.2f}")
    return _minus(f"{found.value:+.2f} [{found.low:+.2f}, {found.high:+.2f}]")


def _minus(numbers: str) -> str:
    """Text with a minus sign before its negative numbers."""
    return _MINUS.sub("\u2212", numbers)


def _digest(source: str) -> str:
    return base64.b64encode(hashlib.sha256(source.encode()).digest()).decode()


def _shown(value: object) -> str:
    return text.shortened(text.plain(value))


def _language(code: str) -> str:
    """A language code as the attribute `lang` takes it; empty if it is none."""
    return code.replace("_", "-") if _LANGUAGE.fullmatch(code) else ""


def settings_yaml(run: Run) -> str:
    """The run's settings as a run file: without what is unset, and without its own places."""
    values = {k: v for k, v in run.info.config.items() if k not in ("out", "store")}
    dumped = yaml.safe_dump(_set(values), allow_unicode=True, sort_keys=False, width=100)
    return text.redacted(dumped)


def _set(value: Any) -> Any:
    if isinstance(value, dict):
        return {key: _set(item) for key, item in value.items() if item is not None}
    return [_set(item) for item in value] if isinstance(value, list) else value


def _commands(run: Run) -> str:
    """How to run it again, and how to get at the numbers and at all rows."""
    place = shlex.quote("runs/" + run.folder.resolve().name)
    return (
        f"pip install fiatkit=={run.info.fiatkit}\n"
        f"fiat compare run.yaml --out {place}\n"
        f"fiat report {place} --to json    # every number of this page\n"
        f"fiat report {place} --to rows    # every test row with every answer, as CSV"
    )


def _models(run: Run) -> list[dict[str, str]]:
    """Role, name, where it comes from, what pins it, and licence of each model."""
    found = []
    for role in ("large", "small"):
        values = run.info.models.get(role)
        if values is None:
            continue
        name = str(values.get("name") or values.get("model") or "unknown")
        entry = catalogue.ENTRIES.get(name)
        found.append(
            {
                "role": role,
                "name": text.redacted(name),
                "source": text.redacted(
                    " ".join(str(values[k]) for k in ("provider", "base_url") if values.get(k))
                ),
                "upstream": entry.upstream if entry else "",
                "revision": str(values.get("revision") or (entry.sha256 if entry else "")),
                "licence": str(values.get("licence") or (entry.licence if entry else "not known")),
            }
        )
    return found


def _notes(run: Run) -> list[str]:
    """What was noticed about the data and the cells; the same note of many cells once."""
    cells: dict[str, list[str]] = {}
    for cell in run.cells:
        for note, count in Counter(cell.record.notes).items():
            cells.setdefault(note if count == 1 else f"{note} ({count} times)", []).append(
                cell.name
            )
    told = [f"{_listed(names)}: {note}" for note, names in cells.items()]
    return [*run.info.data.notes, *told]


def _listed(names: list[str], most: int = 3) -> str:
    rest = f" and {len(names) - most} more cells" if len(names) > most else ""
    return "; ".join(names[:most]) + rest

"""One self-contained HTML file: no network, no script, data as inert text."""

from __future__ import annotations

import base64
import hashlib
import re
import shlex
from collections import Counter
from pathlib import Path
from typing import Any

import jinja2
import yaml

from fiatkit.files import write_whole
from fiatkit.models import catalogue
from fiatkit.report import text
from fiatkit.report.plot import STRIP, bounds, colour_of, draw, shape_of, strip
from fiatkit.report.readings import choose_rows, rationale_facts
from fiatkit.report.run import Run
from fiatkit.report.summary import Summary, summarise
from fiatkit.report.words import definition, price, sentences

TEMPLATES = Path(__file__).with_name("templates")
SHADES = 9
_LANGUAGE = re.compile(r"[A-Za-z]{2,3}([-_][A-Za-z0-9]{2,8})*")


def write_html(run: Run, path: Path) -> None:
    """Write the report as one file, whole or not at all."""
    summary = summarise(run)
    style = (TEMPLATES / "report.css").read_text(encoding="utf-8")
    page = (
        _environment()
        .get_template("report.html")
        .render(
            run=run,
            info=run.info,
            style=style,
            style_hash=base64.b64encode(hashlib.sha256(style.encode()).digest()).decode(),
            summary=summary,
            sentences=sentences(summary),
            definition=definition(summary),
            price=price(summary),
            labels={line.recipe: line.label for line in summary.lines},
            plot=draw(summary),
            strips={line.name: strip(summary, line) for line in summary.lines},
            strip_width=STRIP,
            scale=bounds(summary.lines),
            shades=_shades(summary),
            rationales=rationale_facts(run),
            kinds=choose_rows(run),
            settings=settings_yaml(run),
            again=_command(run),
            models=_models(run),
            notes=_notes(run),
        )
    )
    write_whole(path, page.encode("utf-8", "replace"))


def _environment() -> jinja2.Environment:
    environment = jinja2.Environment(
        loader=jinja2.FileSystemLoader(TEMPLATES),
        autoescape=True,
        trim_blocks=True,
        lstrip_blocks=True,
        undefined=jinja2.StrictUndefined,
    )
    environment.filters |= {
        "number": text.number,
        "signed": text.signed,
        "tokens": text.tokens,
        "clock": text.clock,
        "calls": text.count,
        "plain": _shown,
        "language": _language,
        "status": lambda status: status.replace(":", ": ").replace("_", " "),
        "xy": lambda value: f"{value:.1f}",
    }
    environment.globals |= {"colour_of": colour_of, "shape_of": shape_of}
    return environment


def _shown(value: object) -> str:
    return text.shortened(text.plain(value))


def _language(code: str) -> str:
    """A language code as the attribute `lang` takes it; empty if it is none."""
    return code.replace("_", "-") if _LANGUAGE.fullmatch(code) else ""


def _shades(summary: Summary) -> dict[tuple[str, str], int]:
    """The shade of each language and line, from the table's lowest score to its highest."""
    found = {
        (language, line.name): value
        for line in summary.lines
        for language, value in line.languages.items()
        if value is not None
    }
    if not found:
        return {}
    low, high = min(found.values()), max(found.values())
    return {
        place: round((SHADES - 1) * (value - low) / (high - low)) if high > low else 0
        for place, value in found.items()
    }


def settings_yaml(run: Run) -> str:
    """The run's settings as a run file: without what is unset, and without its own places."""
    values = {k: v for k, v in run.info.config.items() if k not in ("out", "store")}
    dumped = yaml.safe_dump(_set(values), allow_unicode=True, sort_keys=False, width=100)
    return text.redacted(dumped)


def _set(value: Any) -> Any:
    if isinstance(value, dict):
        return {key: _set(item) for key, item in value.items() if item is not None}
    return [_set(item) for item in value] if isinstance(value, list) else value


def _command(run: Run) -> str:
    return f"fiat compare run.yaml --out {shlex.quote('runs/' + run.folder.resolve().name)}"


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
    told = [f"{'; '.join(names)}: {note}" for note, names in cells.items()]
    return [*run.info.data.notes, *told]

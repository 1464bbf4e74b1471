"""One self-contained HTML file: no network, no script, data as inert text."""

from __future__ import annotations

import base64
import hashlib
import json
import random
import unicodedata
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import jinja2

from fiatkit import metrics
from fiatkit.files import write_whole
from fiatkit.records import ScoredRow
from fiatkit.report.plot import draw
from fiatkit.report.run import CellResult, Run
from fiatkit.report.summary import summarise
from fiatkit.report.terminal import clock, number, scored, signed, tokens
from fiatkit.report.words import verdict

SHOWN = 60
TEMPLATES = Path(__file__).with_name("templates")


@dataclass(frozen=True, slots=True)
class Shown:
    """One test row to read: its fields, rationale, and each recipe's answer with its mark."""

    kind: str
    row: dict[str, Any]
    answers: list[tuple[str, str, bool]]


def write_html(run: Run, path: Path) -> None:
    """Write the report as one file."""
    environment = jinja2.Environment(
        loader=jinja2.FileSystemLoader(TEMPLATES),
        autoescape=True,
        trim_blocks=True,
        lstrip_blocks=True,
        undefined=jinja2.StrictUndefined,
    )
    environment.filters |= {
        "number": number,
        "signed": signed,
        "tokens": tokens,
        "clock": clock,
        "plain": plain,
    }
    style = (TEMPLATES / "report.css").read_text(encoding="utf-8")
    summary = summarise(run)
    page = environment.get_template("report.html").render(
        run=run,
        info=run.info,
        style=style,
        style_hash=base64.b64encode(hashlib.sha256(style.encode()).digest()).decode(),
        summary=summary,
        verdict=verdict(summary),
        plot=draw(summary),
        scored=scored,
        last=_last(run),
        rationales=rationale_facts(run),
        rows=choose_rows(run),
        settings=json.dumps(run.info["config"], indent=2, ensure_ascii=False),
    )
    write_whole(path, page.encode("utf-8", "replace"))


def plain(text: object) -> str:
    """Text with control characters made visible, so that a row cannot hide anything."""
    return "".join(
        character
        if character in "\n\t" or unicodedata.category(character) not in ("Cc", "Cs")
        else f"\\x{ord(character):02x}"
        for character in str(text)
    )


def _last(run: Run) -> list[CellResult]:
    """One cell a recipe: the largest size, the first seed; floors left out."""
    found: dict[str, CellResult] = {}
    for cell in run.cells:
        before = found.get(cell.recipe)
        if not cell.is_floor and (before is None or (cell.size or 0) > (before.size or 0)):
            found[cell.recipe] = cell
    return list(found.values())


def rationale_facts(run: Run) -> dict[str, Any] | None:
    """How often the large model was right, and what FIAT scored when it was and was not."""
    known = [row for row in run.rows if row["rationale"] is not None]
    if not known:
        return None
    right = {row["id"] for row in known if row["rationale"]["answer"] == row["target"]}
    facts: dict[str, Any] = {
        "total": len(known),
        "right": len(right),
        "unparsed": sum(1 for r in known if r["rationale"]["answer"] is None),
        "failed": sum(1 for r in known if r["rationale"]["status"] != "ok"),
        "words": sum(len(r["rationale"]["text"].split()) for r in known) / len(known),
        "metric": metrics.label_of(run.primary),
    }
    fiat = next((cell for cell in _last(run) if cell.recipe == "fiat"), None)
    if fiat is not None:
        rows = run.scored(fiat)
        ids = {row["id"] for row in known}
        facts["when_right"] = _score(run, [r for r in rows if r.example.id in right])
        facts["when_wrong"] = _score(run, [r for r in rows if r.example.id in ids - right])
    return facts


def _score(run: Run, rows: Sequence[ScoredRow]) -> float | None:
    return metrics.corpus(run.primary, rows, run.labels) if rows else None


def choose_rows(run: Run) -> list[Shown]:
    """A seeded sample of rows: where FIAT and `instruct` part, and others beside."""
    cells = _last(run)
    values = {cell.recipe: _right(run, cell) for cell in cells}
    shown = []
    for row in run.rows:
        answers = [
            (cell.recipe, _answer(cell, row["id"]), values[cell.recipe][row["id"]])
            for cell in cells
        ]
        shown.append(Shown(_kind(values, row["id"]), row, answers))
    kinds: dict[str, list[Shown]] = {}
    for item in shown:
        kinds.setdefault(item.kind, []).append(item)
    chosen: list[Shown] = []
    for kind in sorted(kinds):
        rows = kinds[kind]
        random.Random(0).shuffle(rows)
        chosen += rows[: max(4, SHOWN // len(kinds))]
    return chosen


def _right(run: Run, cell: CellResult) -> dict[str, bool]:
    """Whether a cell answered each row exactly as wanted."""
    wanted = {row["id"]: {row["target"], *row["references"]} for row in run.rows}
    return {i: p.answer in wanted[i] for i, p in cell.predictions.items()}


def _answer(cell: CellResult, identity: str) -> str:
    found = cell.predictions[identity]
    return found.status if found.answer is None else found.answer


def _kind(values: dict[str, dict[str, bool]], identity: str) -> str:
    marks = {name: values[name][identity] for name in values}
    if not {"fiat", "instruct"} <= set(marks):
        return "all right" if all(marks.values()) else "some wrong"
    if marks["fiat"] != marks["instruct"]:
        return "FIAT right, instruct wrong" if marks["fiat"] else "FIAT wrong, instruct right"
    return "both right" if marks["fiat"] else "both wrong"

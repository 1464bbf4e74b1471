"""Languages apart: scores, the rationale's gain where the small model is weak, tokens and cuts."""

from __future__ import annotations

import functools
from collections.abc import Iterator, Sequence
from dataclasses import dataclass

from fiatkit import metrics
from fiatkit.metrics import Estimate
from fiatkit.report.evidence import Evidence, Key, evidence, name_of
from fiatkit.report.gain import Gain, gain
from fiatkit.report.run import CellResult, Run


@dataclass(frozen=True, slots=True)
class LanguageLine:
    """One recipe at one size: its score in each language, and their unweighted mean."""

    recipe: str
    size: int | None
    is_floor: bool
    scores: dict[str, Estimate]
    macro: Estimate

    @property
    def name(self) -> str:
        """The recipe and its training rows."""
        return name_of((self.recipe, self.size))


@dataclass(frozen=True, slots=True)
class LanguageTokens:
    """What a language costs the small model's tokenizer, over the fields of its test rows.

    `per_word` (words are between blanks) says nothing where a language writes no blanks;
    `per_character` always does. None where the run folder has no counts.
    """

    tokens: int | None
    per_word: float | None
    per_character: float | None


@dataclass(frozen=True, slots=True)
class LanguageCuts:
    """Rows of a recipe's largest size whose prompt was too long, over its seeds: a rationale cut,
    a field cut, or the row skipped; of so many answers."""

    recipe: str
    rationale: int | None
    field: int
    skipped: int
    answers: int


@dataclass(frozen=True, slots=True)
class Language:
    """A language of the test rows."""

    code: str
    rows: int
    groups: int
    tokens: LanguageTokens
    cuts: list[LanguageCuts]


@dataclass(frozen=True, slots=True)
class Languages:
    """The language table. `averaged` are those that the mean is over; `gain` is None where there
    is nothing to compare, and then `gain_reason` says why. `lowest` and `highest` bound the heat
    map."""

    metric_label: str
    languages: list[Language]
    averaged: list[str]
    lines: list[LanguageLine]
    lowest: float | None
    highest: float | None
    gain: Gain | None
    gain_reason: str


@functools.lru_cache(maxsize=2)
def languages(run: Run) -> Languages:
    """Everything by language; without languages, only the lines' scores."""
    found = evidence(run)
    lines = [_line(found, key) for key in found.lines]
    values = [s.value for line in lines for s in line.scores.values() if s.value is not None]
    codes = sorted({row.language for row in run.rows if row.language})
    told, reason = gain(run)
    return Languages(
        metrics.label_of(run.primary),
        [_language(run, code) for code in codes],
        list(run.info.task.averaged) or codes,
        lines,
        min(values, default=None),
        max(values, default=None),
        told,
        reason,
    )


def _line(found: Evidence, key: Key) -> LanguageLine:
    record = found.lines[key][0].record
    return LanguageLine(
        record.recipe, record.size, record.is_floor, found.languages(key), found.score(key)
    )


def _language(run: Run, code: str) -> Language:
    rows = [row for row in run.rows if row.language == code]
    ids = [row.id for row in rows]
    return Language(
        code,
        len(rows),
        len({row.group for row in rows}),
        _tokens(run, code),
        list(_cuts(run, code, ids)),
    )


def _tokens(run: Run, code: str) -> LanguageTokens:
    """The counts are the same in every cell of one small model: the first that has them."""
    for cell in run.cells:
        counted = cell.record.tokens.get(code)
        if counted is not None:
            return LanguageTokens(
                counted.tokens,
                counted.tokens / counted.words if counted.words else None,
                counted.tokens / counted.characters if counted.characters else None,
            )
    return LanguageTokens(None, None, None)


def _cuts(run: Run, code: str, ids: Sequence[str]) -> Iterator[LanguageCuts]:
    largest: dict[str, list[CellResult]] = {}
    for cell in run.cells:
        if cell.record.size is not None and not cell.record.is_floor:
            before = largest.setdefault(cell.recipe, [])
            if before and (before[0].record.size or 0) < cell.record.size:
                before.clear()
            if not before or before[0].record.size == cell.record.size:
                before.append(cell)
    for recipe, cells in largest.items():
        given = [cell.predictions[i] for cell in cells for i in ids]
        yield LanguageCuts(
            recipe,
            sum(p.rationale_cut > 0 for p in given),
            sum(p.cut > 0 for p in given),
            sum(p.status == "skipped:too_long" for p in given),
            len(given),
        )

"""From the rows of a user's file to a proposal of a task: what each column is, and which kind.

The kinds are the templates. What the user says wins over every guess; guesses that depend on it
follow it.
"""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field

from fiatkit import registry
from fiatkit.data import Row
from fiatkit.errors import DataError, UnknownNameError, UsageError
from fiatkit.tasks.answers import as_text
from fiatkit.tasks.columns import (
    MOST_LABELS,
    Column,
    able_targets,
    columns_of,
    guess_fields,
    guess_group,
    guess_id,
    guess_language,
    guess_target,
    shared_field,
)
from fiatkit.tasks.load import template_names, template_task

PARTS = ("target", "kind", "fields", "language", "group", "id", "metric")
ENTITY = re.compile(r"[A-Za-z]+: \S")
TITLE_NAMES = {"title", "subject", "headline", "titel", "betreff", "titre", "asunto", "assunto"}
SCALE_NAMES = {"rating", "stars", "score", "grade", "level", "rank"}


@dataclass(frozen=True)
class Proposal:
    """A task for a file, in the words of its template.

    Attributes:
        kind: name of the template.
        unused: columns that neither model will see.
        longest: UTF-8 bytes of the longest answer.
        doubts: what the user should look at, since it may not be meant so.
        why: what a part was guessed from, in words; a part that the user gave is not there.
    """

    kind: str
    target: str
    fields: tuple[str, ...]
    id: str = ""
    language: str = ""
    group: str = ""
    references: str = ""
    labels: tuple[str, ...] = ()
    metrics: tuple[str, ...] = ()
    unused: tuple[str, ...] = ()
    longest: int = 0
    doubts: tuple[str, ...] = ()
    why: Mapping[str, str] = field(default_factory=dict)

    def part(self, name: str) -> str:
        """A part as the user would type it; empty if there is none."""
        parts = {"fields": ", ".join(self.fields), "metric": ", ".join(self.metrics)}
        return parts.get(name) or str(getattr(self, name, ""))


def propose(rows: Sequence[Row], given: Mapping[str, str]) -> Proposal:
    """Propose a task.

    Args:
        rows: all rows of the file.
        given: what the user said, by part (`PARTS`); several names are joined by commas, and an
            empty text is "none".

    Raises:
        UnknownNameError: a column, kind or metric that does not exist.
        DataError: the file holds nothing that could be a target, or nothing to read.
        UsageError: the target's values, or the metric, do not fit the kind.
    """
    return _Guess(columns_of(rows), given).proposal()


class _Guess:
    """The columns, what the user said, and the reasons found on the way."""

    def __init__(self, columns: Sequence[Column], given: Mapping[str, str]) -> None:
        self.columns = {column.name: column for column in columns}
        self.given = given
        self.why: dict[str, str] = {}

    def proposal(self) -> Proposal:
        target = self._target()
        kind = self._kind(target)
        language = self._one("language", guess_language(self._but(target)))
        if language and "language" not in self.given:
            self.why["language"] = f"{len(language.counts)} languages"
        others = self._but(target, language)
        identity = self._one("id", guess_id(others))
        references = _references(others) if kind in ("extractive_qa", "free_text") else None
        others = self._but(target, language, identity, references)
        fields = self._fields(kind, target, others)
        group = self._group(others, language, fields)
        labels = _labels(kind, target)
        if template_task(kind).answer in ("label", "labels") and len(labels) < 2:
            raise UsageError(
                f'The column "{target.name}" holds {len(labels)} different labels; {kind} needs '
                "at least two.",
                "Name another column with --target, or another kind with --kind.",
            )
        used = {c.name for c in (target, language, identity, references, group, *fields) if c}
        return Proposal(
            kind,
            target.name,
            tuple(column.name for column in fields),
            id=identity.name if identity else "",
            language=language.name if language else "",
            group=group.name if group else "",
            references=references.name if references else "",
            labels=labels,
            metrics=self._metrics(kind),
            unused=tuple(name for name in self.columns if name not in used),
            longest=max(len(text.encode()) for text in _answers(target)),
            doubts=(*_doubts(kind, target, labels), *_no_header(self.columns.values())),
            why=self.why,
        )

    def _but(self, *columns: Column | None) -> list[Column]:
        return [column for column in self.columns.values() if column not in columns]

    def _find(self, name: str) -> Column:
        if name not in self.columns:
            raise UnknownNameError("column", name, self.columns)
        return self.columns[name]

    def _one(self, part: str, guess: Column | None) -> Column | None:
        """The column that the user named for a part, or none, or the guess."""
        if part not in self.given:
            return guess
        return self._find(self.given[part]) if self.given[part] else None

    def _target(self) -> Column:
        column = self._one("target", guess_target(list(self.columns.values())))
        if column is None:
            raise DataError("No column of the file could hold the answers.", "Name it: --target.")
        if "target" not in self.given:
            kinds = len(set(_answers(column)))
            rivals = [c for c in able_targets(list(self.columns.values())) if c != column]
            self.why["target"] = f"{kinds} different values" + (
                f"; --target {rivals[-1].name} if it is that one" if rivals else ""
            )
        return column

    def _kind(self, target: Column) -> str:
        if "kind" not in self.given:
            kind, self.why["kind"] = _kind_of(target, self._but(target))
            return kind
        kind = self.given["kind"]
        if kind not in template_names():
            raise UnknownNameError("kind", kind, template_names())
        return kind

    def _group(
        self, able: Sequence[Column], language: Column | None, fields: Sequence[Column]
    ) -> Column | None:
        found = guess_group(able, language) or shared_field(fields)
        if found and "group" not in self.given:
            self.why["group"] = found[1]
        return self._one("group", found[0] if found else None)

    def _fields(self, kind: str, target: Column, able: Sequence[Column]) -> list[Column]:
        if self.given.get("fields"):
            names = [name.strip() for name in self.given["fields"].split(",")]
            return [self._find(name) for name in names]
        found = guess_fields([column for column in able if column.is_text])
        if not found:
            raise DataError("No column of the file holds text to read.", "Name some: --fields.")
        passage = _passage(target, found) if kind == "extractive_qa" else None
        return [passage, *(c for c in found if c != passage)] if passage else found

    def _metrics(self, kind: str) -> tuple[str, ...]:
        task = template_task(kind)
        if not self.given.get("metric"):
            return tuple(task.metrics)
        names = tuple(name.strip() for name in self.given["metric"].split(","))
        for name in names:
            fits = getattr(registry.get("metrics", name), "ANSWERS", None)
            if fits is not None and task.answer not in fits:
                raise UsageError(
                    f'The metric "{name}" scores answers of the kind {" or ".join(fits)}; those '
                    f"of {kind} are of the kind {task.answer}.",
                    f"Its usual metrics are {', '.join(task.metrics)}.",
                )
        return names


def _kind_of(target: Column, others: Sequence[Column]) -> tuple[str, str]:
    """The template that fits the target, and why."""
    if target.is_list:
        if any(isinstance(item, dict) for value in target.values for item in _items(value)):
            return "ner", "lists of spans"
        return "multi_label", "lists of labels"
    texts = list(target.counts)
    if sum(bool(ENTITY.match(text)) for text in texts) > 0.8 * len(texts):
        return "ner", 'text such as "LABEL: words"'
    names = {column.name.casefold() for column in others}
    if {text.casefold() for text in texts} == {"a", "b"} and any(
        name[:-1] + "b" in names for name in names if name.endswith("_a")
    ):
        return "pairwise", "A or B, and two columns of answers"
    if _is_scale(target):
        return "rating", f"whole numbers from {_numbers(target)[0]} to {_numbers(target)[-1]}"
    if len(_pieces(target)) <= MOST_LABELS and _joined(target):
        return "multi_label", "labels joined by ;"
    if target.has_few_values:
        told = f"{len(texts)} short values that come again and again"
        if _is_pair(guess_fields([column for column in others if column.is_text])):
            return "sentence_pair", f"{told}, and two columns of text"
        return "single_label", told
    if _passage(target, [column for column in others if column.is_text]):
        return "extractive_qa", "the answers stand in another column"
    return "free_text", "too many different values for labels"


def _is_pair(fields: Sequence[Column]) -> bool:
    """Two texts of like length; a title and its text are no pair."""
    if len(fields) != 2 or any(column.name.casefold() in TITLE_NAMES for column in fields):
        return False
    short, long = sorted(column.words for column in fields)
    return long <= 4 * short


def _doubts(kind: str, target: Column, labels: Sequence[str]) -> Iterator[str]:
    """What speaks against the kind, where the user chose it."""
    if kind == "pairwise" and len(labels) != 2:
        yield (
            f"pairwise asks which of two answers is better, but {target.name} holds {len(labels)} "
            "labels; if they say how two texts relate, take --kind sentence_pair"
        )
    if kind == "rating" and not _numbers(target):
        yield (
            "the labels of the rating stand in alphabetical order; put them into the order of "
            "the scale, the lowest first"
        )


def _no_header(columns: Iterable[Column]) -> Iterator[str]:
    """Where a column's name is one of its own values, the names may be a row."""
    if told := [f'"{column.name}"' for column in columns if column.counts[column.name]]:
        yield (
            f"{', '.join(told)}: a column's name that is also one of its values; if the first line "
            "is a row, put a line with the columns' names before it"
        )


def _items(value: object) -> list[object]:
    return value if isinstance(value, list) else []


def _numbers(target: Column) -> list[int]:
    whole = [text for text in target.counts if re.fullmatch(r"\d{1,2}", text)]
    return sorted(map(int, whole)) if len(whole) == len(target.counts) else []


def _is_scale(target: Column) -> bool:
    """Whole numbers from 1, or from 0 if the column's name says that it is a scale; up to 10."""
    numbers = _numbers(target)
    if len(numbers) < 3 or numbers[-1] > 10:
        return False
    words = set(target.name.casefold().split("_"))
    return not words & {"label", "class", "category"} and (
        numbers[0] >= 1 or bool(words & SCALE_NAMES)
    )


def _pieces(target: Column) -> list[str]:
    """The labels that texts such as "a; b" are joined from."""
    found = (piece.strip() for text in target.counts for piece in text.split(";"))
    return list(dict.fromkeys(piece for piece in found if piece))


def _joined(target: Column) -> bool:
    total = target.counts.total()
    each = Counter(p.strip() for t in target.texts if t is not None for p in t.split(";"))
    return any(";" in text for text in target.counts) and total >= 2 * len(each)


def _passage(target: Column, others: Sequence[Column]) -> Column | None:
    """The column in which nearly all answers stand word for word."""
    for column in sorted(others, key=lambda column: -column.words):
        pairs = [(t, c) for t, c in zip(target.texts, column.texts, strict=True) if t and c]
        inside = sum(text.casefold() in whole.casefold() for text, whole in pairs)
        longer = column.words >= 2 * target.words
        if pairs and longer and inside >= 0.8 * len(pairs):
            return column
    return None


def _references(others: Sequence[Column]) -> Column | None:
    named = (c for c in others if c.name.casefold() in ("references", "answers", "all_answers"))
    return next((column for column in named if column.is_list), None)


def _answers(target: Column) -> list[str]:
    """Every answer as text, whatever the column holds."""
    if not target.is_list:
        return list(target.counts) or [""]
    joined = ("; ".join(as_text(item)[0] for item in _items(value)) for value in target.values)
    return list(joined) or [""]


def _labels(kind: str, target: Column) -> tuple[str, ...]:
    """The label set in its order: numbers by value, all else by the alphabet."""
    if kind in ("extractive_qa", "free_text"):
        return ()
    if kind == "ner":
        return _entity_labels(target)
    if kind == "multi_label":
        found = [as_text(item)[0] for value in target.values for item in _items(value)]
        names = {name.strip() for name in found} if target.is_list else set(_pieces(target))
        return tuple(sorted(names - {"", "none"}))
    if kind == "rating" and _numbers(target):
        numbers = _numbers(target)
        return tuple(map(str, range(numbers[0], numbers[-1] + 1)))
    return tuple(sorted(target.counts, key=lambda text: (text.isdecimal(), _value(text), text)))


def _value(text: str) -> int:
    return int(text) if text.isdecimal() else 0


def _entity_labels(target: Column) -> tuple[str, ...]:
    spans = (item for value in target.values for item in _items(value) if isinstance(item, dict))
    named = {str(span["label"]) for span in spans if "label" in span}
    pieces = (piece for text in target.counts for piece in text.split(" $$ "))
    named |= {piece.partition(":")[0].strip() for piece in pieces if ":" in piece}
    return tuple(sorted(named))

"""Task: what a row means, what both models are told, how an answer is read, what is measured."""

from __future__ import annotations

import hashlib
import json
import re
from functools import cached_property
from typing import Annotated, Any, Literal

from pydantic import BeforeValidator, Field, field_validator, model_validator

from fiatkit import registry
from fiatkit.errors import UnknownNameError, did_you_mean
from fiatkit.records import Exemplar, Query, Sampling
from fiatkit.settings import Strict
from fiatkit.tasks.answers import Kind, marked_lines, read_answer, without_answer

BARE = "in YAML, bare yes, no, on, off, true and false are no text: put it into quotes"


def first_name(column: str) -> str:
    """The name of a column by which the task goes on to call it: of `a|b`, `a`."""
    return column.split("|")[0]


def _as_text(value: Any) -> Any:
    """A number of YAML as text; truth values are refused, since `no` and `"no"` differ."""
    if isinstance(value, bool):
        raise ValueError(BARE)
    return str(value) if isinstance(value, int) else value


Text = Annotated[str, BeforeValidator(_as_text)]

USUAL_METRICS = {
    "label": ["accuracy", "macro_f1"],
    "labels": ["multilabel_f1", "multilabel_macro_f1"],
    "entities": ["span_f1"],
    "text": ["qa_f1", "exact_match"],
}


class Reasoning(Strict):
    """What the large model is told (I_beta), where its answer stands in its text, how it writes.

    Attributes:
        instruction: what to do with a row, and how to end: with a line of marker and answer.
        marker: what the line with the answer begins with.
        max_tokens: tokens that a rationale may have.
        temperature: 0 is greedy, as in the paper.
        top_p: draw from the likeliest tokens only, up to this share of the probability.
        stop: texts that end the rationale and are not part of it.
        more_tokens: `max_tokens` of one more request where the first rationale was cut off.
    """

    instruction: str
    marker: str = "Answer:"
    max_tokens: int = Field(default=128, ge=8, le=8192)
    # Left out of fingerprints and artefacts where they say nothing, so that older ones still hold.
    temperature: float = Field(default=0.0, ge=0, le=2, exclude_if=lambda value: value == 0)
    top_p: float = Field(default=1.0, gt=0, le=1, exclude_if=lambda value: value == 1)
    stop: list[str] = Field(default=[], max_length=4, exclude_if=lambda value: not value)
    more_tokens: int | None = Field(default=None, exclude_if=lambda value: value is None)

    @cached_property
    def sampling(self) -> Sampling:
        """How the large model writes: one object, which all requests of the task share."""
        return Sampling(self.max_tokens, self.temperature, self.top_p, stop=tuple(self.stop))

    @field_validator("instruction", "marker")
    @classmethod
    def _not_empty(cls, value: str) -> str:
        if not value.strip():
            raise ValueError("must not be empty")
        return value.strip()

    @field_validator("stop")
    @classmethod
    def _stops_are_texts(cls, value: list[str]) -> list[str]:
        if "" in value:
            raise ValueError("no stop text may be empty")
        return value

    @model_validator(mode="after")
    def _more_is_more(self) -> Reasoning:
        if self.more_tokens is not None and self.more_tokens <= self.max_tokens:
            raise ValueError(
                f"more_tokens ({self.more_tokens}) must be more than max_tokens ({self.max_tokens})"
            )
        return self


class Tuning(Strict):
    """What the small model is told (I_tau).

    Attributes:
        instruction: what to do with a row.
    """

    instruction: str

    @field_validator("instruction")
    @classmethod
    def _not_empty(cls, value: str) -> str:
        if not value.strip():
            raise ValueError("must not be empty")
        return value.strip()


class ExemplarSettings(Strict):
    """A worked example for the large model.

    Attributes:
        fields: what stands in the columns that the models read.
        target: the answer.
        rationale: what the large model should write, up to the last line with the answer.
        language: of the fields.
        held_out: rows it was adapted from, as {column: [values]}; they leave the data.
    """

    fields: dict[str, Text]
    target: Text
    rationale: str
    language: Text = ""
    held_out: dict[str, list[Text]] = {}


class Choice(Strict):
    """A column that is a copy of another one.

    Attributes:
        column: what stands here decides.
        when: the column to copy, by what stands there.
        otherwise: the column to copy if something else stands there.
    """

    column: str
    when: dict[str, str]
    otherwise: str


class Task(Strict):
    """A task as its YAML says. Only `name`, `fields`, `target` and both instructions are needed.

    Wherever a column is named, alternatives may be: `passage|context` is the first that a row
    has; the task goes on to call it by the first name.

    With `extends: NAME`, a built-in task gives every key that the file itself does not.

    Attributes:
        version: of this format.
        name: of the task; in reports and artefacts.
        description: for people; neither model reads it.
        id: column of the row's id; without it, ids are made of file name and line.
        fields: columns that the models read, as a list or as `column: title`; a query carries
            these and nothing else.
        optional: those of the columns (by first name) that a file may lack.
        language: column of the language, for scores per language.
        group: columns whose equal values mean "belongs together"; such rows are never split.
        group_pattern: for a group column, a regular expression whose groups are the value.
        group_block: for a group column that is or ends in a number, counted from 0: how many in a
            row belong together.
        choose: columns made from others, for files that keep one thing in several columns.
        target: column of the answer.
        references: column of all accepted answers.
        labels: the label set, in order where they have one; without it the answer is free text.
        answer: one `label` of the set, several `labels`, `entities` (`labels` are then theirs), or
            `text`; without it, `label` where there are `labels`.
        averaged: the languages whose mean is the score, where a benchmark says so; without them,
            all that the test rows have.
        reasoning: what the large model is told.
        tuning: what the small model is told.
        exemplars: worked examples that the large model reads before each row.
        metrics: names of metrics, the main one first; default: by the kind of answer.
        max_answer_tokens: tokens that a free answer of the small model may have.
    """

    version: Literal[1] = 1
    name: str
    description: str = ""
    id: str | None = None
    fields: dict[str, str]
    optional: list[str] = []
    language: str | None = None
    group: list[str] = []
    group_pattern: dict[str, str] = {}
    group_block: dict[str, int] = {}
    choose: dict[str, Choice] = {}
    target: str
    references: str | None = None
    labels: list[Text] | None = None
    answer: Kind = "text"
    averaged: list[Text] = []
    reasoning: Reasoning
    tuning: Tuning
    exemplars: list[ExemplarSettings] = []
    metrics: list[str] = []
    max_answer_tokens: int = Field(default=48, ge=1, le=4096)

    @field_validator("fields", mode="before")
    @classmethod
    def _titles(cls, value: Any) -> Any:
        if isinstance(value, str):
            value = [value]
        if isinstance(value, list) and all(isinstance(name, str) for name in value):
            value = {name: first_name(name).replace("_", " ").capitalize() for name in value}
        if not value:
            raise ValueError("at least one column is needed")
        return value

    @field_validator("group", mode="before")
    @classmethod
    def _one_or_many(cls, value: Any) -> Any:
        return [value] if isinstance(value, str) else value

    @field_validator("labels")
    @classmethod
    def _labels_differ(cls, value: list[str] | None) -> list[str] | None:
        if value is None:
            return None
        seen: dict[str, str] = {}
        for label in value:
            if not label.strip():
                raise ValueError("no label may be empty")
            other = seen.setdefault(label.strip().casefold(), label)
            if other is not label:
                raise ValueError(
                    f'"{other}" and "{label}" differ in nothing but case and space; labels must '
                    "differ in more"
                )
        return value

    @field_validator("group_pattern")
    @classmethod
    def _patterns_work(cls, value: dict[str, str]) -> dict[str, str]:
        for column, pattern in value.items():
            try:
                groups = re.compile(pattern).groups
            except re.error as error:
                raise ValueError(
                    f"{column}: {pattern!r} is no regular expression: {error}"
                ) from None
            if not groups:
                raise ValueError(
                    f"{column}: {pattern!r} needs (parentheses) round the group's name"
                )
        return value

    @field_validator("metrics")
    @classmethod
    def _metrics_exist(cls, value: list[str]) -> list[str]:
        for name in value:
            if name not in registry.names("metrics"):
                error = UnknownNameError("metric", name, registry.names("metrics"))
                raise ValueError(" ".join(str(error).split()))
        return value

    @model_validator(mode="before")
    @classmethod
    def _defaults(cls, values: Any) -> Any:
        """The kind of answer from the labels, the metrics from the kind of answer."""
        if not isinstance(values, dict):
            return values
        kind = values.get("answer") or ("label" if values.get("labels") else "text")
        found = values.get("metrics") or USUAL_METRICS.get(str(kind), ["accuracy"])
        return {**values, "answer": kind, "metrics": found}

    @model_validator(mode="after")
    def _fits_together(self) -> Task:
        self._check_answer()
        if len(set(self.field_names)) < len(self.field_names):
            raise ValueError(f"fields: a column stands there twice: {', '.join(self.field_names)}")
        columns = [*self.fields, self.id, self.language, self.references, *self.group]
        known = list(dict.fromkeys(first_name(column) for column in columns if column))
        for name in self.optional:
            if name not in known:
                raise ValueError(f'optional: "{name}" is not one of {", ".join(known)}')
        grouped = [first_name(column) for column in self.group]
        named = [("pattern", column) for column in self.group_pattern]
        for key, column in [*named, *(("block", column) for column in self.group_block)]:
            if column not in grouped:
                raise ValueError(f'group_{key}: "{column}" is not one of group: {grouped}')
        if any(size < 1 for size in self.group_block.values()):
            raise ValueError("group_block: blocks hold at least one row")
        if not set(self.target.split("|")).isdisjoint("|".join(self.fields).split("|")):
            raise ValueError(f'the target column "{self.target}" must not be one of the fields')
        return self

    def _check_answer(self) -> None:
        if self.answer in ("label", "labels") and len(self.labels or ()) < 2:
            raise ValueError(f"answer: {self.answer} needs `labels`, at least two")
        if self.answer == "text" and self.labels:
            raise ValueError("answer: text has no `labels`; leave them out, or use answer: label")
        if any(";" in label for label in self.labels or () if self.answer == "labels"):
            raise ValueError("labels: several labels are joined by ;, so that none may hold one")
        for name in self.metrics:
            fits = getattr(registry.get("metrics", name), "ANSWERS", None)
            if fits is not None and self.answer not in fits:
                raise ValueError(
                    f'metrics: "{name}" scores answers of the kind {" or ".join(fits)}; these are '
                    f"of the kind {self.answer}, for which there are {', '.join(self._fitting())}"
                )

    def _fitting(self) -> list[str]:
        """Names of the metrics that score answers of this kind."""
        kinds = {
            name: getattr(registry.get("metrics", name), "ANSWERS", (self.answer,))
            for name in registry.names("metrics")
        }
        return [name for name, fits in kinds.items() if self.answer in fits]

    def problem_of(self, exemplar: ExemplarSettings) -> str:
        """Why an exemplar does not fit this task, or an empty text.

        Look at the rows first: a field that no row has, and a label that rows write otherwise,
        are not the exemplar's fault.
        """
        given, known = set(exemplar.fields), set(self.field_names)
        if not (known - set(self.optional)) <= given <= known:
            own = ", ".join(sorted(given)) or "none"
            return f"it has the fields {own}; the task's are {', '.join(sorted(known))}"
        wanted = exemplar.target
        if self.choices and wanted not in self.choices:
            near = did_you_mean(wanted, self.choices) or "Labels are compared letter by letter."
            return f'the target "{wanted}" is not one of {", ".join(self.choices)}. {near}'
        answer = self.parse_answer(exemplar.rationale)
        if answer == wanted:
            return ""
        read = "no line of it begins so" if answer is None else f'it says "{answer}"'
        ending = f"{self.reasoning.marker} {wanted}"
        return f'the last line of its rationale must be "{ending}", but {read}'

    @property
    def choices(self) -> list[str] | None:
        """The closed set that an answer is one of, or None where answers are written freely."""
        return self.labels if self.answer == "label" else None

    @property
    def field_names(self) -> list[str]:
        """Names of the fields as a query carries them: the first of a column's alternatives."""
        return [first_name(column) for column in self.fields]

    @cached_property
    def titles(self) -> dict[str, str]:
        """The title of each field as the models read it."""
        return dict(zip(self.field_names, self.fields.values(), strict=True))

    @cached_property
    def exemplar_list(self) -> tuple[Exemplar, ...]:
        """The exemplars as records."""
        return tuple(
            Exemplar(
                Query(f"exemplar-{number}", self._in_order(e.fields), e.language),
                e.target,
                e.rationale.strip(),
            )
            for number, e in enumerate(self.exemplars, 1)
        )

    def _in_order(self, fields: dict[str, str]) -> dict[str, str]:
        return {name: fields[name] for name in self.field_names if name in fields}

    @cached_property
    def fingerprint(self) -> str:
        """sha256 of the task's content, whatever the order and layout of its YAML."""
        values = self.model_dump(mode="json", exclude={"description"})
        canonical = json.dumps(values, sort_keys=True, separators=(",", ":"))
        return hashlib.sha256(canonical.encode()).hexdigest()

    def parse_answer(self, text: str) -> str | None:
        """Read the answer from the large model's text: what follows the last marker on its line.

        Returns:
            The answer as the small model is to write it (see `answers`), or None if there is no
            marker, or what stands there is no answer.
        """
        found = marked_lines(self.reasoning.marker).findall(text)
        return self.read_answer(str(found[-1])) if found else None

    def read_answer(self, written: str) -> str | None:
        """Read what a model wrote behind the marker (see `answers`)."""
        return read_answer(self.answer, written, self.labels)

    def without_answer(self, text: str) -> str:
        """The reasoning in a model's text: all but its answer. Empty where there is no more."""
        return without_answer(self.reasoning.marker, text)

"""From a proposal to the text of a task YAML, with comments that teach. Knows no file."""

from __future__ import annotations

import re
import textwrap
import unicodedata
from collections.abc import Iterator, Sequence

import yaml

from fiatkit.errors import DataError
from fiatkit.tasks.load import template_task
from fiatkit.tasks.propose import Proposal
from fiatkit.tasks.task import Task

WIDTH = 96
COMMENTS_AT = 40
ENTITIES = "PER (people), ORG (organisations), LOC (places) and DATE (dates and times)"
COMMENTS = {
    "id": "names a row in predictions and reports",
    "language": "a score for each language, and their mean",
    "group": "rows that share a value belong together and are never split",
    "fields": "what the models read: column and title; nothing else of a row",
    "target": "the answer; the large model never sees that of the row it reads",
    "references": "all accepted answers",
    "labels": "every answer that there is",
    "reasoning": "the large model reads a row, thinks aloud and names an answer",
    "marker": "its answer is what follows this on a line",
    "max_tokens": "most tokens of one rationale",
    "tuning": "the small model reads the row and the rationale, and answers",
    "metrics": "the first one decides",
}
EXEMPLARS = """\
# Worked examples teach the large model how you want it to reason: two to eight are best. It can
# write drafts of them for you to mend:  fiat exemplars draft run.yaml
# Or write some yourself, like this one, without the leading # and one blank:
"""


def task_yaml(proposal: Proposal, name: str, source: str) -> str:
    """The task as YAML.

    Args:
        proposal: what the columns are.
        name: the task's name.
        source: name of the user's file, for the first line.

    Raises:
        DataError: an answer that no instruction could name.
    """
    _check_answers(proposal)
    task = template_task(proposal.kind)
    titles = _titles(proposal)
    parts = [
        f"# What a row of {' '.join(source.split())} means, and what both models are told.\n"
        "# Made by `fiat init`; all of it is yours to change. Say in both instructions what YOU\n"
        "# mean by the answers: a model cannot guess a house convention.\n"
        "version: 1\n",
        f"name: {scalar(name)}\n",
        _line("id", scalar(proposal.id)) if proposal.id else "",
        _line("language", scalar(proposal.language)) if proposal.language else "",
        _line("group", f"[{scalar(proposal.group)}]") if proposal.group else "",
        _line("fields", _flow({name: titles[name] for name in proposal.fields})),
        _line("target", scalar(proposal.target)),
        _line("references", scalar(proposal.references)) if proposal.references else "",
        f"answer: {task.answer}\n" if task.answer in ("labels", "entities") else "",
        _line("labels", _list(proposal.labels)) if proposal.labels else "",
        _line("reasoning", ""),
        _block("instruction", _reworded(task.reasoning.instruction, task, proposal)),
        _line("  marker", scalar(_marker(task, proposal))),
        _line("  max_tokens", str(task.reasoning.max_tokens)),
        _line("tuning", ""),
        _block("instruction", _reworded(task.tuning.instruction, task, proposal)),
        _line("metrics", _list(proposal.metrics)),
        _answer_tokens(task, proposal),
        EXEMPLARS,
        *(f"# {line}\n" for line in _sample(_marker(task, proposal), proposal)),
    ]
    return "".join(parts)


def _check_answers(proposal: Proposal) -> None:
    """Refuse labels with a line break or a control character, and entities that are none."""
    unseen = ("Cc", "Zl", "Zp")
    odd = [a for a in proposal.labels if any(unicodedata.category(c) in unseen for c in a)]
    if odd:
        raise DataError(
            f'The column "{proposal.target}" holds the label {odd[0]!r}, with a line break or a '
            "control character, which no model could copy.",
            "Mend these rows, or name another column with --target.",
        )
    if proposal.kind == "ner" and not proposal.labels:
        raise DataError(
            f'No row of the column "{proposal.target}" holds an entity: LABEL: words.',
            "Name another column with --target, or another kind with --kind.",
        )


def _sample(marker: str, proposal: Proposal) -> Iterator[str]:
    """An exemplar of the file's own columns, to be filled in."""
    answer = proposal.labels[0] if proposal.labels else "the answer"
    answer = f"{answer}: words of the text" if proposal.kind == "ner" else answer
    yield "exemplars:"
    yield "  - fields:"
    for name in proposal.fields:
        yield f"      {scalar(name)}: a text like those of your file"
    if proposal.language:
        yield "    language: xx"
    yield f"    target: {scalar(answer)}"
    if proposal.id:
        yield f"    held_out: {{{scalar(proposal.id)}: [17]}}  # the row it comes from, if any"
    yield "    rationale: |"
    yield "      What the text says, in a sentence. What in it makes this the answer."
    yield f"      {marker} {answer}"


def scalar(text: str) -> str:
    """The text as a YAML value, in quotes only where it needs them."""
    bare = re.fullmatch(r"[^\W_][\w ./@-]*(?<! )", text)
    if bare and yaml.safe_load(f"[{text}, {{{text}: 1}}]") == [text, {text: 1}]:
        return text
    quoted = yaml.safe_dump(text, default_style='"', allow_unicode=True, width=10**9)
    return quoted.strip()


def title_of(column: str) -> str:
    """A column's name as a title."""
    spaced = column.replace("_", " ").strip() or column
    return spaced[:1].upper() + spaced[1:]


def _titles(proposal: Proposal) -> dict[str, str]:
    titles = {name: title_of(name) for name in proposal.fields}
    if proposal.kind == "extractive_qa" and len(titles) == 2:
        return dict(zip(titles, ("Passage", "Question"), strict=True))
    return titles


def _line(key: str, value: str) -> str:
    """`key: value  # comment`, the comment before it where the line would be too long."""
    text = f"{key}: {value}".rstrip()
    comment = COMMENTS.get(key.strip(), "")
    if not comment:
        return f"{text}\n"
    if len(text) < COMMENTS_AT and len(text.splitlines()) == 1:
        return f"{text:<{COMMENTS_AT}}# {comment}\n"
    return f"# {comment}:\n{text}\n"


def _flow(values: dict[str, str]) -> str:
    return "{" + ", ".join(f"{scalar(k)}: {scalar(v)}" for k, v in values.items()) + "}"


def _list(values: Sequence[str]) -> str:
    whole = "[" + ", ".join(map(scalar, values)) + "]"
    if len(whole) < WIDTH - 10:
        return whole
    return "".join(f"\n  - {scalar(value)}" for value in values)


def _block(key: str, text: str) -> str:
    lines = textwrap.wrap(
        " ".join(text.split()), WIDTH - 4, break_long_words=False, break_on_hyphens=False
    )
    return f"  {key}: |\n" + "".join(f"    {line}\n" for line in lines)


def _reworded(text: str, task: Task, proposal: Proposal) -> str:
    """The template's instruction with the labels, scale or answer of the proposal."""
    text = " ".join(text.split())
    old, new = task.labels or [], list(proposal.labels)
    if proposal.kind == "rating":
        first, last = new[0], new[-1]
        scale = ", ".join([f"{first} (worst)", *new[1:-1], f"{last} (best)"])
        text = text.replace("1 (worst), 2, 3, 4, 5 (best)", scale)
        text = text.replace("1 (worst) to 5 (best)", f"{first} (worst) to {last} (best)")
        return text.replace("from 1 to 5", f"from {first} to {last}")
    if proposal.kind == "ner":
        text = text.replace(ENTITIES, _and(new))
        return text.replace("PER, ORG, LOC and DATE", _and(new))
    if proposal.kind == "free_text":
        word = title_of(proposal.target)
        return text.replace("Headline", word).replace("headline", word.lower())
    if old and new and old != new:
        text = text.replace("; ".join(old), "; ".join(new))
        text = text.replace(" or ".join(old), "; ".join(new))
    return text


def _and(names: Sequence[str]) -> str:
    return ", ".join(names[:-1]) + (" and " if len(names) > 1 else "") + names[-1]


def _marker(task: Task, proposal: Proposal) -> str:
    if proposal.kind == "free_text":
        return f"{title_of(proposal.target)}:"
    return task.reasoning.marker


def _answer_tokens(task: Task, proposal: Proposal) -> str:
    """Room for the longest answer, where answers are not of a closed set."""
    if task.choices:
        return ""
    needed = -(-proposal.longest // 32) * 16  # about two bytes a token, whatever the script
    most = min(1024, max(task.max_answer_tokens, needed))
    return f"max_answer_tokens: {most}\n"

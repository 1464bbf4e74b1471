"""The only place where prompt text is built; one rendering serves training and prediction.

Data is joined to text as it stands; it is never a template and never a format string. A change
here changes the golden prompts in tests/golden and needs a new VERSION.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from fiatkit.records import Cut, Message, Part, Query, Side, SmallPrompt

if TYPE_CHECKING:
    from fiatkit.tasks import Task

VERSION = 1
DRAFTING = (
    "Here you write a model solution: the right answer is given to you. Reason as a careful reader "
    "would who does not know it yet: argue from the text alone, and never mention that an answer "
    "was given. End as you are told above, with the right answer."
)


def reasoning_messages(task: Task, query: Query) -> tuple[Message, ...]:
    """What the large model reads: instruction, exemplars as turns, then the query.

    All that rows share stands first, so that a provider's or a server's prefix cache serves it.
    """
    return (*shared_messages(task), Message("user", query_text(task, query)))


def shared_messages(task: Task) -> tuple[Message, ...]:
    """What stands before every query: instruction and exemplars."""
    messages = [Message("system", task.reasoning.instruction)]
    for exemplar in task.exemplar_list:
        messages.append(Message("user", query_text(task, exemplar.query)))
        messages.append(Message("assistant", exemplar.rationale))
    return tuple(messages)


def choice_messages(task: Task, query: Query, rationale: str) -> tuple[Message, ...]:
    """Ask the large model to settle on a label, after a text of its own that named none."""
    labels = ", ".join(task.choices or [])
    return (
        *reasoning_messages(task, query),
        Message("assistant", rationale.strip()),
        Message("user", f"Answer with exactly one of these, and nothing else: {labels}"),
    )


def draft_messages(task: Task, query: Query, target: str) -> tuple[Message, ...]:
    """Ask the large model to draft an exemplar's rationale. Here, and only here, it is shown the
    target; the row becomes an exemplar, and no rationale of a query is ever asked for like this.
    """
    messages = [Message("system", f"{task.reasoning.instruction}\n\n{DRAFTING}")]
    for exemplar in task.exemplar_list:
        messages.append(Message("user", _told_answer(task, exemplar.query, exemplar.target)))
        messages.append(Message("assistant", exemplar.rationale))
    messages.append(Message("user", _told_answer(task, query, target)))
    return tuple(messages)


def _told_answer(task: Task, query: Query, target: str) -> str:
    return f"{query_text(task, query)}\n\nThe right answer: {target}"


def tuning_prompt(
    task: Task,
    query: Query,
    *,
    instruction: bool,
    rationale: str | None,
    truncate: Side | None = None,
) -> SmallPrompt:
    """What the small model reads: instruction, query, rationale, cue; each where it is on.

    With `truncate`, the query's longest field may be cut there if the prompt is too long.
    """
    parts = []
    if instruction:
        parts.append(Part("instruction", task.tuning.instruction + "\n\n"))
    cut = _longest_field(task, query, truncate) if truncate else None
    parts.append(Part("query", query_text(task, query), cut))
    if rationale is not None:
        parts.append(Part("rationale", "\n\nReasoning: " + rationale.strip()))
    parts.append(Part("cue", "\n\nAnswer:"))
    return SmallPrompt(query.id, tuple(parts))


def answer_line(task: Task, answer: str) -> str:
    """The line with which a rationale ends: marker and answer."""
    return f"{task.reasoning.marker} {answer}".strip()


def written_before_answer(task: Task, reasoning: str) -> str:
    """What a small model that reasons itself writes before its answer: reasoning and marker."""
    return f"{reasoning}\n{task.reasoning.marker}" if reasoning else task.reasoning.marker


def target_text(task: Task, target: str) -> str:
    """What the small model is tuned to write."""
    return target


def query_text(task: Task, query: Query) -> str:
    """The query's fields, each as `Title: value`, a line for each."""
    titles = task.titles
    return "\n".join(titles[name] + ": " + value.strip() for name, value in query.fields.items())


def _longest_field(task: Task, query: Query, side: Side) -> Cut:
    """Where the longest field's value stands in `query_text`, with the blank before it."""
    spans, start = [], 0
    for name, value in query.fields.items():
        begin = start + len(task.titles[name]) + 1
        end = begin + 1 + len(value.strip())
        spans.append((begin, end))
        start = end + 1
    begin, end = max(spans, key=lambda span: span[1] - span[0])
    return Cut(begin, end, side)

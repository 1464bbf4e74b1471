"""What a user should know about the data before anything is spent, though it is no error."""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Sequence

from fiatkit.records import Example
from fiatkit.tasks.task import Task

FEW = 10  # label names shown in one remark
UNUSUAL = {
    "control characters": r"\x00-\x08\x0b\x0c\x0e-\x1f\x7f-\x9f",
    "marks that turn the writing direction": "\u202a-\u202e\u2066-\u2069",
    "characters without width": "\u200b\u2060\ufeff",
    "invisible tag characters": "\U000e0000-\U000e007f",
    "replacement characters (U+FFFD: text that was damaged before)": "\ufffd",
}
ANY = re.compile(f"[{''.join(UNUSUAL.values())}]")


def remarks(task: Task, train: Sequence[Example], others: Sequence[Example]) -> list[str]:
    """Remarks on the task, on the training rows' labels, and on the texts of all rows."""
    return [*_on_marker(task), *_on_labels(task, train), *_on_texts([*train, *others])]


def _on_marker(task: Task) -> list[str]:
    told = task.reasoning.instruction.casefold()
    if task.exemplars or task.reasoning.marker.casefold() in told:
        return []
    return [
        f'the reasoning instruction never mentions the marker "{task.reasoning.marker}" and '
        "there are no exemplars, so the large model cannot know where to write its answer"
    ]


def _on_labels(task: Task, train: Sequence[Example]) -> list[str]:
    if not task.choices or not train:
        return []
    counts = Counter(example.target for example in train)
    lacking = [label for label in task.choices if not counts[label]]
    single = [label for label in task.choices if counts[label] == 1]
    found = [f"no training row has the label {_few(lacking)}"] if lacking else []
    found += [f"only one training row has the label {_few(single)}"] if single else []
    if len(counts) == 1:
        found.append("all training rows have one label, so that nothing can be learnt from them")
    return found


def _few(names: Sequence[str]) -> str:
    more = f" and {len(names) - FEW} more" if len(names) > FEW else ""
    return ", ".join(names[:FEW]) + more


def _on_texts(rows: Sequence[Example]) -> list[str]:
    """How many rows hold characters that one does not see; they are kept as they are."""
    texts = ["\n".join(row.query.fields.values()) for row in rows]
    suspects = [text for text in texts if ANY.search(text)]
    counts = {
        name: sum(bool(re.search(f"[{characters}]", text)) for text in suspects)
        for name, characters in UNUSUAL.items()
    }
    return [f"{n} rows hold {name}, kept as they are" for name, n in counts.items() if n]

"""What a user should know about the data before anything is spent, though it is no error."""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Sequence

from fiatkit.data.splits import normal
from fiatkit.records import Example
from fiatkit.tasks.columns import PASSAGE, PROSE, words_in
from fiatkit.tasks.task import Task

FEW = 10  # label names shown in one remark
MANY = 10  # rows for each text of a field that sorts rows rather than tells something
LANGUAGE = re.compile(r"[A-Za-z]{2,3}([-_][A-Za-z0-9]{2,8})*")
QUOTED = re.compile(r'["“”„«]([^"“”„«»:\n]{1,40}:)["“”»]')
UNUSUAL = {
    "control characters": r"\x00-\x08\x0b\x0c\x0e-\x1f\x7f-\x9f",
    "marks that turn the writing direction": "\u202a-\u202e\u2066-\u2069",
    "characters without width": "\u200b\u2060\ufeff",
    "invisible tag characters": "\U000e0000-\U000e007f",
    "replacement characters (U+FFFD: text that was damaged before)": "\ufffd",
}
ANY = re.compile(f"[{''.join(UNUSUAL.values())}]")


def remarks(
    task: Task, train: Sequence[Example], dev: Sequence[Example], test: Sequence[Example]
) -> list[str]:
    """Remarks on the task, on the training rows' labels, on languages, on texts that rows of train
    and test share, and on what the texts of all rows hold."""
    everything = [*train, *dev, *test]
    return [
        *_on_marker(task),
        *_on_labels(task, train),
        *_on_languages(task, everything),
        *_on_shared(task, train, test),
        *_on_texts(everything),
    ]


def _on_marker(task: Task) -> list[str]:
    """Whether the instruction and the exemplars tell the large model where its answer goes."""
    marker, told = task.reasoning.marker, task.reasoning.instruction
    if marker.casefold() in told.casefold():
        return []
    others = [f'"{name}"' for name in QUOTED.findall(told)]
    if not task.exemplars:
        return [
            f'the reasoning instruction never mentions the marker "{marker}" and there are no '
            "exemplars, so the large model cannot know where to write its answer"
        ]
    return [
        f'the reasoning instruction speaks of {", ".join(others)}, but the marker is "{marker}", '
        "as in the exemplars; the large model is told two things"
    ][: len(others)]


def _on_languages(task: Task, rows: Sequence[Example]) -> list[str]:
    """Values of the language column that look like no code of a language."""
    found = Counter(row.query.language for row in rows)
    strange = [name for name in found if name and not LANGUAGE.fullmatch(name)]
    if not strange:
        return []
    return [
        f'the language column "{task.language}" holds what is no language code: {_few(strange)}; '
        "the score is a mean over its values, so leave `language` out if they are no languages"
    ]


def _on_shared(task: Task, train: Sequence[Example], test: Sequence[Example]) -> list[str]:
    """Fields whose text test rows share with training rows, so that half of a row is known."""
    told = []
    for name in task.field_names if len(task.field_names) > 1 else ():
        known = {normal([row.query.fields.get(name, "")]) for row in train}
        texts = [normal([row.query.fields.get(name, "")]) for row in test]
        shared = [text for text in texts if text in known and words_in(text) >= PROSE]
        if shared and not _is_category([row.query.fields.get(name, "") for row in (*train, *test)]):
            told.append(
                f'{len(shared)} test rows share the text of their field "{name}" with a training '
                f"row; if that makes them easier, add {name} to `group`, so that such rows stay "
                "on one side"
            )
    return told


def _is_category(texts: Sequence[str]) -> bool:
    """Whether a few short texts come again and again, as names of products do; no group."""
    different = set(texts)
    short = all(words_in(text) < PASSAGE for text in different)
    return short and MANY * len(different) <= len(texts)


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

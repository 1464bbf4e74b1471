"""The four kinds of answers: how a target is read from a row, and an answer from a model's text.

`label`: one of the label set. `labels`: any number of the set, written `a; b`, or `none`.
`entities`: written `LABEL: entity $$ LABEL: entity`, as XTREME-UP does; none is the empty text.
`text`: anything else. Knows no task: the label set comes in.
"""

from __future__ import annotations

import difflib
import json
import re
from collections.abc import Sequence
from functools import cache, lru_cache
from typing import Any, Literal

Kind = Literal["label", "labels", "entities", "text"]

NONE = "none"
STRIP = " \t\r\n\"'`*_“”‘’«»"
STOPS = ".。।!"
BETWEEN = " $$ "


def read_target(kind: Kind, value: Any, labels: Sequence[str] | None, text: str) -> tuple[str, str]:
    """The target of a row as the small model is to write it, and what is wrong with it in words.

    Args:
        kind: of the task's answers.
        value: what stands in the target column.
        labels: the label set, or the entities' labels; None where there is none.
        text: the row's first field, into which the offsets of entities point.
    """
    if kind == "labels":
        return _several(value, labels or ())
    if kind == "entities":
        return _entities(value, labels, text)
    found, problem = as_text(value)
    if not problem and kind == "label" and labels and found not in labels:
        problem = _outside(found, labels)
    return found, problem


def as_text(value: Any) -> tuple[str, str]:
    """A cell's value as text, and what is wrong with it in words."""
    if isinstance(value, bool):
        return ("true" if value else "false"), ""
    if isinstance(value, list | dict):
        kind = "a list" if isinstance(value, list) else "an object"
        return "", f"holds {kind}; text or a number is needed"
    if isinstance(value, bytes):
        return "", f"holds {len(value)} bytes; text or a number is needed"
    if is_blank(value):
        return "", f"is empty ({json.dumps(value)}); text is needed"
    return str(value), ""


def is_blank(value: object) -> bool:
    """Whether a cell holds nothing: no value, or white space only."""
    return value is None or (isinstance(value, str) and not value.strip())


def read_answer(kind: Kind, written: str, labels: Sequence[str] | None) -> str | None:
    """The answer in what a model wrote after the marker, or None if there is none."""
    if kind == "entities":
        found = written.strip()
        return "" if _folded(found) in ("", NONE) else found
    bare = written.strip(STRIP)
    if kind == "text":
        return bare.rstrip(".。।").strip(STRIP) or None
    by_name = _by_name(tuple(labels or ()))
    if kind == "label":
        return by_name.get(_folded(bare))
    pieces = [_folded(piece) for piece in bare.replace(",", ";").split(";")]
    known = {by_name[piece] for piece in pieces if piece in by_name}
    if not known:
        whole = by_name.get(_folded(bare))
        return whole or (NONE if pieces == [NONE] else None)
    strange = [piece for piece in pieces if piece and piece not in by_name]
    return "; ".join([*(x for x in labels or () if x in known), *dict.fromkeys(strange)])


@lru_cache
def _by_name(labels: tuple[str, ...]) -> dict[str, str]:
    return {label.strip().casefold(): label for label in labels}


@cache
def marked_lines(marker: str) -> re.Pattern[str]:
    """Finds the lines that begin with a task's marker; the group is what stands behind it."""
    return re.compile(rf"(?im)^[ \t*_#>\-]*{re.escape(marker)}[ \t*_]*(.*)$")


def without_answer(marker: str, text: str) -> str:
    """A text without its answer: without the lines that begin with the marker, and without what
    follows the last of them, since an answer may run over lines."""
    line = marked_lines(marker)
    found = list(line.finditer(text))
    before = text[: found[-1].start()] if found else text
    return "\n".join(kept for kept in before.split("\n") if not line.match(kept)).strip()


def _folded(text: str) -> str:
    return text.strip(STRIP).rstrip(STOPS).strip(STRIP).casefold()


def _outside(found: str, labels: Sequence[str]) -> str:
    folded = {label.casefold(): label for label in labels}
    near = difflib.get_close_matches(found.strip().casefold(), folded, n=1)
    told = f'"{found}" is not one of {", ".join(labels)}'
    return told + (f'; nearest: "{folded[near[0]]}"' if near else "")


def _several(value: Any, labels: Sequence[str]) -> tuple[str, str]:
    if isinstance(value, list):
        pieces = [as_text(item) for item in value]
        problem = next((told for _, told in pieces if told), "")
        names = [text.strip() for text, _ in pieces]
    else:
        text, problem = as_text(value)
        names = [piece.strip() for piece in text.split(";") if piece.strip()]
    if problem:
        return "", problem + f'; where there is no label, write "{NONE}" or an empty list'
    names = [] if names == [NONE] and NONE not in labels else names
    strange = [name for name in names if name not in labels]
    if strange:
        return "", _outside(strange[0], labels)
    return "; ".join(label for label in labels if label in names) or NONE, ""


def _entities(value: Any, labels: Sequence[str] | None, text: str) -> tuple[str, str]:
    if isinstance(value, str):
        found = value
    elif isinstance(value, list):
        pieces = [_entity(item, text) for item in value]
        problem = next((told for _, told in pieces if told), "")
        if problem:
            return "", problem
        found = BETWEEN.join(piece for piece, _ in pieces)
    else:
        return "", f"holds {json.dumps(value)}; `LABEL: entity` texts or a list of spans is needed"
    for piece in found.split(BETWEEN) if found.strip() else ():
        label, colon, _ = piece.partition(":")
        if not colon:
            return "", f'"{piece}" is not of the form LABEL: entity'
        if labels and label.strip() not in labels:
            return "", _outside(label.strip(), labels)
    return found.strip(), ""


def _entity(span: Any, text: str) -> tuple[str, str]:
    """One span as `LABEL: entity`; offsets count UTF-8 bytes, or characters as start and end."""
    keys = set(span) if isinstance(span, dict) else set()
    if {"start_byte", "limit_byte", "label"} <= keys:
        whole: bytes | str = text.encode()
        begin, end = span["start_byte"], span["limit_byte"]
    elif {"start", "end", "label"} <= keys:
        whole, begin, end = text, span["start"], span["end"]
    else:
        return "", (
            f"the span {json.dumps(span, ensure_ascii=False)} needs start_byte, limit_byte and "
            "label (UTF-8 bytes), or start, end and label (characters)"
        )
    fits = all(isinstance(x, int) for x in (begin, end)) and 0 <= begin < end <= len(whole)
    piece = whole[begin:end] if fits else ""
    try:
        entity = piece.decode() if isinstance(piece, bytes) else piece
    except UnicodeDecodeError:
        fits = False
    if not fits:
        return "", f"the span {begin} to {end} lies outside the text or inside a character"
    return f"{span['label']}: {entity}".replace("\t", " "), ""

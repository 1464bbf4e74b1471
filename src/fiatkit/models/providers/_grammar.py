"""A set of answers as a GBNF grammar, as llama.cpp reads it."""

from __future__ import annotations

from collections.abc import Iterable


def grammar(choices: Iterable[str]) -> str:
    """A grammar whose only texts are `choices`."""
    return "root ::= " + " | ".join(map(_literal, choices))


def _literal(text: str) -> str:
    """A text as a GBNF string; other scripts and emoji stand as they are."""
    shown = text.replace("\\", "\\\\").replace('"', '\\"')
    return '"' + "".join(c if c.isprintable() else f"\\U{ord(c):08X}" for c in shown) + '"'

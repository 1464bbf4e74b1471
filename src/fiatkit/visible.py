"""Foreign text made visible, so that it can neither hide anything nor command a terminal."""

from __future__ import annotations

import unicodedata

_BIDI = frozenset("\u200e\u200f\u202a\u202b\u202c\u202d\u202e\u2066\u2067\u2068\u2069\u061c")


def plain(text: object) -> str:
    """Text with control characters made visible, so that data cannot hide or command anything."""
    return "".join(
        character
        if character in "\n\t" or unicodedata.category(character) not in ("Cc", "Cs")
        else escaped(character)
        for character in str(text)
    )


def one_line(text: object) -> str:
    """Like `plain`, for a terminal: line breaks and marks of writing direction show as well."""
    return "".join(
        escaped(character) if character in _BIDI or character in "\n\t" else character
        for character in plain(text)
    )


def escaped(character: str) -> str:
    """A character as Python writes it in a string."""
    code = ord(character)
    return f"\\x{code:02x}" if code < 256 else f"\\u{code:04x}"

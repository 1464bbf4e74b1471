"""Content as literal text: the ids of what a user wrote, in which no control token can arise."""

from __future__ import annotations

import re
from typing import Any

MARKED = re.compile(r"\s*[<\[|｜].*[>\]|｜]\s*", re.DOTALL)
UNKNOWN = "\U0010fffd"  # in no vocabulary


def is_marked_word(text: str) -> bool:
    """Whether a token is written like `<this>` or `[THIS]`; brackets alone are ordinary text."""
    return MARKED.fullmatch(text) is not None and any(map(str.isalpha, text))


class Literal:
    """Tokenises content for one tokenizer. Control tokens in it are the characters they are.

    The tokenizers' own switch (`split_special_tokens`) is not enough: added tokens that are not
    called special (`<think>`, `<tool_call>`) pass it, and a Unigram vocabulary finds `</s>` among
    its ordinary pieces. So the ids are looked at, and only where a control token did arise is the
    text read piece by piece, each piece cut inside the control token. All other text has the ids
    that the tokenizer itself gives.

    Attributes:
        control: ids that no content may become.
    """

    def __init__(self, tokenizer: Any) -> None:
        self._tokenizer = tokenizer
        self._backend: Any = getattr(tokenizer, "backend_tokenizer", None)
        self.control = _control(tokenizer)

    def __call__(self, text: str) -> tuple[int, ...]:
        """Ids of `text`, without anything before or after it."""
        found = tuple(
            self._tokenizer(text, add_special_tokens=False, split_special_tokens=True)["input_ids"]
        )
        if self.control.isdisjoint(found):
            return found
        if self._backend is None:
            return tuple(i for character in text for i in self._character(character))
        return tuple(i for piece in self._pieces(text) for i in self._cut(piece))

    def _character(self, character: str) -> tuple[int, ...]:
        return tuple(self._tokenizer(character, add_special_tokens=False)["input_ids"])

    def _pieces(self, text: str) -> list[str]:
        """The text as the tokenizer's model gets it, without the search for added tokens."""
        backend = self._backend
        if backend.normalizer is not None:
            text = backend.normalizer.normalize_str(text)
        if backend.pre_tokenizer is None:
            return [text]
        return [piece for piece, _ in backend.pre_tokenizer.pre_tokenize_str(text)]

    def _cut(self, piece: str) -> list[int]:
        """Ids of one piece, cut after the first character of each control token in it."""
        if not piece:
            return []
        tokens = self._backend.model.tokenize(piece)
        control = next((t.value for t in tokens if t.id in self.control), None)
        if control is None or len(piece) == 1:
            return [token.id for token in tokens]
        at = max(0, piece.find(control)) + 1
        if at == len(piece):  # the control token is one character, and the last
            at -= 1
        return self._cut(piece[:at]) + self._cut(piece[at:])


def _control(tokenizer: Any) -> frozenset[int]:
    """Special tokens, and added ones written like `<this>` or `[THIS]`.

    Added tokens of other shapes are words or blanks by which a vocabulary was enlarged. A token
    that stands for unknown characters controls nothing, and a single character cannot be cut.
    """
    found = set(tokenizer.all_special_ids)
    for identity, token in tokenizer.added_tokens_decoder.items():
        text = str(token)
        if len(text) > 1 and (token.special or MARKED.fullmatch(text)):
            found.add(identity)
    rare = tokenizer(UNKNOWN, add_special_tokens=False, split_special_tokens=True)["input_ids"]
    if tokenizer.unk_token_id in rare:
        found.discard(tokenizer.unk_token_id)
    return frozenset(found)

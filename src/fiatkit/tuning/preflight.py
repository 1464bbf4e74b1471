"""A look at what the small model is about to learn, row by row, before it learns anything.

In come the training pairs as text, the same as token ids, and the way in which prediction reads a
prompt; out come flaws with counts and row ids. `fiat tune` and `fiat compare` stop at what is
fatal, `fiat doctor` tells everything.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

from fiatkit.errors import DataError
from fiatkit.records import SmallPrompt, TrainingPair
from fiatkit.tuning.tuner import Row

if TYPE_CHECKING:
    from fiatkit.models.local import Encoded, SmallModel

SHOWN = 5  # row ids
NOTHING = "nothing of the target is in the loss, for it has no token"
CUT = "the target is cut: it lacks tokens of its text"
STOP_OUTSIDE = "the stop token is outside the loss, so that the model would never learn to stop"
STOP_INSIDE = "a token that ends an answer, or pads it, stands inside the target"
TEMPLATE = "prediction puts the prompt into another chat template than training"
NOT_A_PREFIX = "the prompt that prediction reads is not what comes before the target in training"
UNWRITABLE = "the target is longer than what prediction may write (max_answer_tokens)"
UNKNOWN = "the tokenizer has no token for a part of the target, which can never be written"
NOTED = (UNWRITABLE, UNKNOWN)


@dataclass(frozen=True, slots=True)
class Flaw:
    """Something that is wrong with some rows, or with the model or labels if `rows` is empty.

    Attributes:
        what: in words.
        rows: the ids of the rows.
        total: how many rows were looked at.
        fatal: whether tuning must not begin.
    """

    what: str
    rows: tuple[str, ...] = ()
    total: int = 0
    fatal: bool = True

    @property
    def sentence(self) -> str:
        """Count, words and the first ids."""
        if not self.rows:
            return f"{self.what}."
        more = f" and {len(self.rows) - SHOWN} more" if len(self.rows) > SHOWN else ""
        ids = ", ".join(self.rows[:SHOWN])
        return f"{len(self.rows)} of {self.total} training rows: {self.what} ({ids}{more})."


def check(
    small: SmallModel,
    pairs: Sequence[TrainingPair],
    rows: Sequence[Row],
    read: Callable[[SmallPrompt], Encoded],
    *,
    reserve: int,
    labels: Sequence[str] = (),
) -> list[Flaw]:
    """Compare what will be trained with its text and with what prediction will read.

    Args:
        small: the model.
        pairs: prompts and targets as text.
        rows: the same as ids; rows that are too long may be missing.
        read: how prediction encodes a prompt.
        reserve: most tokens, stop token included, that prediction may write.
        labels: the texts among which prediction chooses, if it does.
    """
    by_id = {pair.prompt.query_id: pair for pair in pairs}
    found: dict[str, list[str]] = {}
    for row in rows:
        for what in _row(small, by_id[row.query_id], row, read, reserve):
            found.setdefault(what, []).append(row.query_id)
    flaws = [Flaw(w, tuple(ids), len(rows), w not in NOTED) for w, ids in found.items()]
    return [*flaws, *_labels(small, labels), *_pad(small)]


def refuse(flaws: Sequence[Flaw]) -> list[str]:
    """Stop at fatal flaws; return what the others say.

    Raises:
        DataError: naming every fatal flaw.
    """
    if fatal := [flaw.sentence for flaw in flaws if flaw.fatal]:
        raise DataError(
            "Tuning was not begun. " + "\n".join(fatal),
            "`fiat doctor RUN.yaml --show 3` shows rows token by token.",
        )
    return [flaw.sentence for flaw in flaws]


def _row(
    small: SmallModel,
    pair: TrainingPair,
    row: Row,
    read: Callable[[SmallPrompt], Encoded],
    reserve: int,
) -> Iterator[str]:
    whole = small.encode_target(pair.target, pair.before)
    if not row.target or whole == small.encode_target("", pair.before):
        yield NOTHING
        return
    stops = row.target[-1] == small.stop_id
    if row.target[: len(row.target) - stops] != whole[:-1]:
        yield CUT
    if not stops:
        yield STOP_OUTSIDE
    if not _ends(small).isdisjoint(row.target[:-1]):
        yield STOP_INSIDE
    if small.tokenizer.unk_token_id in set(row.target[:-1]) - _ends(small):
        yield UNKNOWN
    if len(row.target) > reserve:
        yield UNWRITABLE
    else:
        yield from _prompt(row, read(pair.prompt))


def _prompt(row: Row, reading: Encoded) -> Iterator[str]:
    """Training and prediction must read the same ids, scaffolding and all."""
    if row.prompt == reading.ids:
        return
    before = reading.spans[0][1]
    after = len(reading.ids) - reading.spans[-1][1]
    ours = row.prompt[:before], row.prompt[len(row.prompt) - reading.spans[-1][1] :]
    yield NOT_A_PREFIX if ours == (reading.ids[:before], reading.ids[after:]) else TEMPLATE


def _ends(small: SmallModel) -> set[int]:
    """Tokens that end or pad an answer, here or in other programs that load the model."""
    return {small.stop_id, *_listed(small), *(i for i in [_pad_id(small)] if i is not None)}


def _listed(small: SmallModel) -> list[int]:
    """The stop tokens of the model's own generation settings."""
    settings = getattr(small.core, "generation_config", None)
    ends = getattr(settings, "eos_token_id", None)
    return [] if ends is None else list(ends) if isinstance(ends, list | tuple) else [int(ends)]


def _pad_id(small: SmallModel) -> int | None:
    found: int | None = small.tokenizer.pad_token_id
    return found


def _pad(small: SmallModel) -> Iterator[Flaw]:
    """Padding is masked by position here, so that this harms other programs only."""
    pad = _pad_id(small)
    if pad is not None and pad != small.stop_id and pad in _listed(small):
        token = small.tokenizer.convert_ids_to_tokens(pad)
        yield Flaw(
            f'The pad token "{token}" is in the model\'s list of stop tokens: fiatkit masks '
            "padding by position, but a program that masks it by id will write empty answers",
            fatal=False,
        )


def _labels(small: SmallModel, labels: Sequence[str]) -> Iterator[Flaw]:
    """Labels that the tokenizer makes one."""
    seen: dict[tuple[int, ...], str] = {}
    for label in labels:
        other = seen.setdefault(small.encode_target(label), label)
        if other != label:
            yield Flaw(f'The labels "{other}" and "{label}" have the same tokens in this model')

"""Rows that begin alike as one sequence: what they share is computed once, nothing is padded.

A packed sequence is a tree of segments: the beginning that all rows share, beginnings that some of
them share (an instruction, then a passage), and the rest of each row. A segment attends to itself
and to its ancestors, at the positions that its tokens have in the row, so each state equals the one
of the row by itself, and gradients flow through the one copy of what is shared. Rows may end in
branches that do not see each other: the labels of a task, scored in the same pass as the prompt.

The attention is one more implementation of transformers' `AttentionInterface`, so that every
architecture that leaves its attention to that interface has it.
"""

from __future__ import annotations

import contextlib
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    import torch

Ids = tuple[int, ...]
NAME = "fiatkit_packed"
WORTH_SHARING = 8


class CannotPackError(Exception):
    """This architecture's attention does more than packing knows of."""


@dataclass(frozen=True, slots=True)
class Branches:
    """Token sequences that grow from the end of a row, with what they share held once.

    Attributes:
        tokens: the nodes' tokens, parents before children.
        parents: each node's parent, -1 for none.
        depths: each node's distance from the row's last token, less 1.
        paths: for each sequence the nodes of its tokens.
    """

    tokens: Ids = ()
    parents: Ids = ()
    depths: Ids = ()
    paths: tuple[Ids, ...] = ()

    @classmethod
    def of(cls, sequences: Sequence[Ids]) -> Branches:
        """The branches that hold these sequences."""
        known: dict[tuple[int, int], int] = {}
        depths: list[int] = []
        paths = []
        for sequence in sequences:
            at, path = -1, []
            for depth, token in enumerate(sequence):
                step = (at, token)
                if step not in known:
                    known[step] = len(known)
                    depths.append(depth)
                at = known[step]
                path.append(at)
            paths.append(tuple(path))
        tokens = tuple(token for _, token in known)
        return cls(tokens, tuple(at for at, _ in known), tuple(depths), tuple(paths))

    def sees(self) -> torch.Tensor:
        """Which nodes a node attends to, its ancestors and itself: bool [nodes, nodes]."""
        import torch

        found = torch.eye(len(self.tokens), dtype=torch.bool)
        for node, parent in enumerate(self.parents):
            if parent >= 0:
                found[node] |= found[parent]
        return found


@dataclass(frozen=True, slots=True)
class Segment:
    """Tokens `start` to `end` of a packed sequence, behind the segments `ancestors`."""

    start: int
    end: int
    ancestors: tuple[int, ...]


@dataclass(slots=True)
class Packed:
    """The layout of one packed sequence, and its attention.

    Attributes:
        ids: all tokens.
        positions: the position of each in its row.
        segments: what the sequence is made of, ancestors first.
        leaves: for each row its own segment.
        branches: what grows from the end of every row, inside its segment.
        kept: where wanted, each layer's keys and values.
    """

    ids: list[int] = field(default_factory=list)
    positions: list[int] = field(default_factory=list)
    segments: list[Segment] = field(default_factory=list)
    leaves: list[int] = field(default_factory=list)
    branches: Branches = Branches()
    kept: list[tuple[torch.Tensor, torch.Tensor]] | None = None
    _masks: dict[Any, torch.Tensor] = field(default_factory=dict)

    def places(self, row: int) -> list[int]:
        """Where a row's tokens stand, branches not counted: its ancestors' first, then its own."""
        leaf = self.segments[self.leaves[row]]
        held = [self.segments[number] for number in leaf.ancestors]
        spans = [(part.start, part.end) for part in held]
        spans.append((leaf.start, leaf.end - len(self.branches.tokens)))
        return [place for start, end in spans for place in range(start, end)]

    def attend(
        self, layer: int, query: Any, key: Any, value: Any, scale: float | None, window: int | None
    ) -> torch.Tensor:
        """Attention within each segment and to its ancestors.

        Args:
            layer: number of the layer.
            query: [1, heads, tokens, width]; key and value [1, key heads, tokens, width].
            scale: of the scores.
            window: how far back a token sees, itself included; None without bound.

        Returns:
            [1, heads, tokens, width].
        """
        import torch

        if key.shape[2] != len(self.ids):
            raise CannotPackError("other keys than the sequence's own")
        if self.kept is not None:
            self.kept.append((key, value))
        sizes = [segment.end - segment.start for segment in self.segments]
        queries, keys, values = (t.split(sizes, dim=2) for t in (query, key, value))
        found = []
        for number, segment in enumerate(self.segments):
            own = (*segment.ancestors, number)
            mask = self._mask(number, window, query)
            found.append(
                torch.nn.functional.scaled_dot_product_attention(
                    queries[number],
                    torch.cat([keys[i] for i in own], dim=2) if len(own) > 1 else keys[number],
                    torch.cat([values[i] for i in own], dim=2) if len(own) > 1 else values[number],
                    attn_mask=mask,
                    is_causal=mask is None and sizes[number] > 1,
                    scale=scale,
                    enable_gqa=key.shape[1] != query.shape[1],
                )
            )
        return torch.cat(found, dim=2)

    def _mask(self, number: int, window: int | None, like: torch.Tensor) -> torch.Tensor | None:
        """What a segment's tokens may not attend to, as -inf [tokens, ancestors' + own tokens].

        None means plain causality.
        """
        segment = self.segments[number]
        length, before = segment.end - segment.start, self.positions[segment.start]
        branches = len(self.branches.tokens) if number in self.leaves else 0
        if window is not None and max(self.positions[segment.start : segment.end]) < window:
            window = None
        if not before and not branches and window is None:
            return None
        key = (length, before, branches, window)
        if key not in self._masks:
            self._masks[key] = self._new_mask(segment.start, *key).to(like.device, like.dtype)
        return self._masks[key]

    def _new_mask(
        self, start: int, length: int, before: int, branches: int, window: int | None
    ) -> torch.Tensor:
        import torch

        allowed = torch.ones((length, before + length), dtype=torch.bool).tril(before)
        if branches:
            allowed[-branches:, -branches:] = self.branches.sees()
        if window is not None:
            own = torch.tensor(self.positions[start : start + length])
            allowed &= own[:, None] - torch.cat([torch.arange(before), own])[None] < window
        return torch.zeros(allowed.shape).masked_fill_(~allowed, -torch.inf)


def pack(rows: Sequence[Ids], branches: Branches = Branches(), *, share: bool = True) -> Packed:
    """Lay out rows, whatever two or more of them begin with held once.

    Args:
        rows: token ids, none empty.
        branches: grow from the end of every row.
        share: False holds every row whole.
    """
    found = Packed(branches=branches, leaves=[-1] * len(rows))

    def add(row: Ids, start: int, end: int, ancestors: tuple[int, ...], tail: Branches) -> int:
        first = len(found.ids)
        found.ids += [*row[start:end], *tail.tokens]
        found.positions += [*range(start, end), *(end + depth for depth in tail.depths)]
        found.segments.append(Segment(first, len(found.ids), ancestors))
        return len(found.segments) - 1

    def grow(group: list[int], held: int, alike: int, ancestors: tuple[int, ...]) -> None:
        """Rows that are alike up to `alike`, of which ancestors hold the first `held` tokens."""
        if len(group) == 1 or not share:
            for index in group:
                row = rows[index]
                found.leaves[index] = add(row, held, len(row), ancestors, branches)
            return
        common = _alike(rows[group[0]], rows[group[-1]], alike)
        if common - held >= WORTH_SHARING:
            shared = add(rows[group[0]], held, common, ancestors, Branches())
            held, ancestors = common, (*ancestors, shared)
        for part in _parted(rows, group, common):
            grow(part, held, common, ancestors)

    grow(sorted(range(len(rows)), key=lambda index: rows[index]), 0, 0, ())
    return found


def _alike(first: Ids, last: Ids, start: int) -> int:
    """How many tokens two rows share; each keeps at least one of its own."""
    limit = min(len(first), len(last)) - 1
    return next((i for i in range(start, limit) if first[i] != last[i]), max(start, limit))


def _parted(rows: Sequence[Ids], group: list[int], place: int) -> list[list[int]]:
    """A sorted group by the token at `place`; rows that end there, or are equal, by themselves."""
    parts: list[list[int]] = []
    for index in group:
        row = rows[index]
        before = rows[parts[-1][0]] if parts else ()
        ends = len(row) <= place + 1 or len(before) <= place + 1
        if parts and not ends and row[place] == before[place]:
            parts[-1].append(index)
        else:
            parts.append([index])
    return parts


def batches(rows: Sequence[Ids], tokens: int, extra: int = 0) -> Iterator[list[int]]:
    """Indices in batches of at most `tokens` computed tokens, rows that begin alike together.

    Args:
        rows: token ids.
        tokens: what a batch may hold; a longer row is a batch of its own.
        extra: what is computed for each row besides: its branches, or room for its answer.
    """
    batch: list[int] = []
    held = 0
    last: Ids = ()
    for index in sorted(range(len(rows)), key=lambda index: (rows[index], index)):
        row = rows[index]
        new = len(row) + extra - (_alike(last, row, 0) if batch and last else 0)
        if batch and held + new > tokens:
            yield batch
            batch, held, new = [], 0, len(row) + extra
        batch.append(index)
        held, last = held + new, row
    if batch:
        yield batch


@contextlib.contextmanager
def attending(config: Any) -> Iterator[None]:
    """Within the block, a model of this config attends as the layout it is given says."""
    from transformers import AttentionInterface, AttentionMaskInterface

    AttentionInterface.register(NAME, _attention)
    AttentionMaskInterface.register(NAME, _no_mask)
    before = config._attn_implementation
    config._attn_implementation = NAME
    try:
        yield
    finally:
        config._attn_implementation = before


def _attention(
    module: Any,
    query: Any,
    key: Any,
    value: Any,
    attention_mask: Any,
    scaling: float | None = None,
    dropout: float = 0.0,
    sliding_window: int | None = None,
    **others: Any,
) -> tuple[torch.Tensor, None]:
    """The interface's function: it leaves everything to the layout, passed on as `packed`."""
    odd = [name for name in ("softcap", "s_aux", "position_bias") if others.get(name) is not None]
    if dropout or odd or attention_mask is not None:
        raise CannotPackError(", ".join(odd) or "dropout or a mask in attention")
    layout = others["packed"]
    found = layout.attend(module.layer_idx, query, key, value, scaling, sliding_window)
    return found.transpose(1, 2), None


def _no_mask(*args: Any, **kwargs: Any) -> None:
    """The layout has its own masks."""

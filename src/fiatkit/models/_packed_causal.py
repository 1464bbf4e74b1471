"""How a decoder model computes rows that begin alike: packed, with the numbers of each alone."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import TYPE_CHECKING, Any

from fiatkit.models._causal import Causal
from fiatkit.models._devices import exact
from fiatkit.models._packed import Branches, CannotPackError, Packed, attending, batches, pack
from fiatkit.models._scoring import LOGITS_AT_ONCE

if TYPE_CHECKING:
    import torch

Ids = tuple[int, ...]
ROOM = 32  # tokens of an answer before its keys and values must be copied to a larger place


class PackedCausal(Causal):
    """A decoder model of transformers. Has the same methods as `Causal`, and their results."""

    def batches(self, rows: Sequence[Ids], tokens: int, extra: int = 0) -> Iterator[list[int]]:
        """Indices in batches of at most `tokens` computed tokens, like beginnings together."""
        return batches(rows, tokens, extra)

    def before_targets(self, rows: Sequence[tuple[Ids, Ids]]) -> torch.Tensor:
        """Hidden states from which each target token of (prompt, target) rows is predicted.

        Returns:
            [target tokens of all rows, width], row after row.
        """
        packed = pack([(*prompt, *target[:-1]) for prompt, target in rows])
        wanted: list[int] = []
        for index, (_, target) in enumerate(rows):
            wanted += packed.places(index)[-len(target) :]
        return self.states(packed)[wanted]

    def score(self, rows: Sequence[Ids], targets: Sequence[Ids]) -> torch.Tensor:
        """Summed log-probability of each target, stop token included, after each prompt.

        All targets are branches of one pass, with the beginnings that they share held once.

        Returns:
            float64 [n, targets].
        """
        import torch

        branches = Branches.of([target[:-1] for target in targets])
        packed = pack(rows, branches)
        nodes = len(branches.tokens)
        places: list[int] = []
        for leaf in packed.leaves:
            end = packed.segments[leaf].end
            places += range(end - nodes - 1, end)  # the prompt's last token, then the branches
        tokens = sorted({token for target in targets for token in target})
        logs = exact(self._logs(self.states(packed)[places], tokens))
        logs = logs.view(len(rows), nodes + 1, -1)
        at = {token: column for column, token in enumerate(tokens)}
        steps = [
            (number, before + 1, at[token])
            for number, (target, path) in enumerate(zip(targets, branches.paths, strict=True))
            for before, token in zip((-1, *path), target, strict=True)
        ]
        number, before, column = torch.tensor(steps, device=logs.device).T
        sums = torch.zeros(len(rows), len(targets), dtype=torch.float64, device=logs.device)
        return sums.index_add_(1, number, logs[:, before, column])

    def read(self, prompts: Sequence[Ids]) -> PackedReading:
        """Compute prompts, and keep their keys and values for answers to grow behind them."""
        packed = pack(prompts)
        packed.kept = []
        states = self.states(packed)
        last = states[[packed.places(index)[-1] for index in range(len(prompts))]]
        return PackedReading(self, packed, last, len(prompts))

    def forward_packed(self, ids: Any, positions: Any, layout: Any) -> torch.Tensor:
        """Run the body on ids [tokens] at positions [tokens]; returns states [tokens, width]."""
        return self._forward(positions, layout, input_ids=ids[None])

    def states(self, packed: Packed, embedded: torch.Tensor | None = None) -> torch.Tensor:
        """Run the body on a layout; returns states [tokens, width].

        Args:
            packed: the layout.
            embedded: what the first layer reads [tokens, width]; None: the tokens' embeddings.
        """
        import torch

        positions = torch.tensor(packed.positions, device=self.device)
        if embedded is not None:
            return self._forward(positions, packed, inputs_embeds=embedded[None])
        return self.forward_packed(torch.tensor(packed.ids, device=self.device), positions, packed)

    def _forward(self, positions: Any, layout: Any, **read: Any) -> torch.Tensor:
        with attending(self.model.config.get_text_config()):
            found: torch.Tensor = self.hidden(
                position_ids=positions[None], use_cache=False, packed=layout, **read
            ).last_hidden_state
        return found[0]

    def _logs(self, states: torch.Tensor, tokens: Sequence[int]) -> torch.Tensor:
        """Log-probabilities of chosen tokens: [states, tokens]; few states' logits at a time."""
        import torch

        size = max(1, LOGITS_AT_ONCE // self.model.get_output_embeddings().weight.shape[0])
        found = []
        for part in states.split(size):
            logits = self.logits(part).float()
            found.append(logits[:, tokens] - logits.logsumexp(-1, keepdim=True))
        return torch.cat(found)


class PackedReading:
    """Prompts that were read, and one answer to each that grows token by token.

    Attributes:
        last: hidden states [n, width] from which each answer's first token is predicted.
    """

    def __init__(
        self, network: PackedCausal, packed: Packed, last: torch.Tensor, count: int
    ) -> None:
        import torch

        self.last = last
        self._network = network
        places = [packed.places(row) for row in range(count)]
        self._lengths = [len(row) for row in places]
        self._new = 0
        width = max(self._lengths)
        index = torch.tensor([row + [0] * (width - len(row)) for row in places])
        self._width = width
        self._layers = [
            [_roomy(kept[0].transpose(0, 1)[index].transpose(1, 2), ROOM) for kept in layer]
            for layer in packed.kept or []
        ]

    def extend(self, ids: torch.Tensor) -> torch.Tensor:
        """Append ids [n, 1] to the answers; returns their hidden states [n, 1, width]."""
        import torch

        places = torch.tensor(self._lengths, device=ids.device) + self._new
        self._new += 1
        found = self._network.forward_packed(ids[:, 0], places, self)
        return found[:, None]

    def attend(
        self, layer: int, query: Any, key: Any, value: Any, scale: float | None, window: int | None
    ) -> torch.Tensor:
        """Attention of each row's newest token to its row; arguments as `Packed.attend`."""
        import torch

        if layer >= len(self._layers):
            raise CannotPackError("layers that share keys")
        used = self._width + self._new
        held = self._layers[layer]
        if used > held[0].shape[2]:
            held[:] = [_roomy(old, self._new) for old in held]
        for old, new in zip(held, (key, value), strict=True):
            old[:, :, used - 1] = new[0].transpose(0, 1)
        keys, values = (old[:, :, :used] for old in held)
        found = torch.nn.functional.scaled_dot_product_attention(
            query[0].transpose(0, 1)[:, :, None],
            keys,
            values,
            attn_mask=self._mask(used, window, query),
            scale=scale,
            enable_gqa=key.shape[1] != query.shape[1],
        )
        return found[:, :, 0].transpose(0, 1)[None]

    def _mask(self, width: int, window: int | None, like: torch.Tensor) -> torch.Tensor:
        """-inf where a row has padding, or where a sliding window has passed: [n, 1, 1, width]."""
        import torch

        column = torch.arange(width, device=like.device)[None]
        lengths = torch.tensor(self._lengths, device=like.device)[:, None]
        prompt = width - self._new
        position = torch.where(column < prompt, column, lengths + column - prompt)
        hidden = (column < prompt) & (column >= lengths)
        if window is not None:
            hidden |= lengths + self._new - 1 - position >= window
        mask = torch.zeros(hidden.shape, device=like.device, dtype=like.dtype)
        return mask.masked_fill_(hidden, -torch.inf)[:, None, None]


def _roomy(held: torch.Tensor, room: int) -> torch.Tensor:
    """A copy of [n, heads, width, size] with `room` more places in its width."""
    n, heads, width, size = held.shape
    found = held.new_zeros((n, heads, width + room, size))
    found[:, :, :width] = held
    return found

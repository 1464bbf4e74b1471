"""Log-probabilities of a set of targets, as branches of prompts that are read once."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import TYPE_CHECKING, Any, Protocol

from fiatkit.models._devices import exact
from fiatkit.models._padding import lengths_of, pad, real

if TYPE_CHECKING:
    import torch

Ids = tuple[int, ...]


class Reading(Protocol):
    """Prompts that were read, and answers that grow behind them.

    Attributes:
        last: hidden states [n, width] from which each answer's first token is predicted.
    """

    last: torch.Tensor

    def extend(self, ids: torch.Tensor) -> torch.Tensor:
        """Append ids [n, k] to the answers; returns their hidden states [n, k, width]."""
        ...


def score_branches(network: Any, rows: Sequence[Ids], targets: Sequence[Ids]) -> torch.Tensor:
    """Summed log-probability of each target after each prompt, over repeated caches.

    Args:
        network: with `read` and `logits`.
        rows: n prompts.
        targets: L targets, stop token included.

    Returns:
        float64 [n, L].
    """
    import torch

    count, width = len(targets), max(map(len, targets))
    reading = network.read(rows)
    first = torch.log_softmax(exact(network.logits(reading.last)), dim=-1)
    sums = first[:, torch.tensor([t[0] for t in targets], device=first.device)]
    if width == 1:
        return sums
    branch = pad([target[:-1] for target in targets]).to(network.device)
    wanted = pad([target[1:] for target in targets]).to(first.device)
    ours = real(lengths_of(targets, first.device) - 1, width - 1).repeat(len(rows), 1)
    reading.repeat(count)
    hidden = reading.extend(branch.repeat(len(rows), 1))
    logs = torch.log_softmax(exact(network.logits(hidden[ours.to(network.device)])), dim=-1)
    chosen = torch.zeros(ours.shape, dtype=torch.float64, device=first.device)
    chosen[ours] = logs.gather(1, wanted.repeat(len(rows), 1)[ours][:, None])[:, 0]
    return sums + chosen.sum(1).view(len(rows), count)


def padded_batches(
    rows: Sequence[Ids], tokens: int, extra: int = 0, widest: int | None = None
) -> Iterator[list[int]]:
    """Indices in batches of like length, each at most `tokens` with its padding.

    Args:
        rows: token ids.
        tokens: what a batch may hold; a longer row is a batch of its own.
        extra: what is computed for each row besides.
        widest: rows that are longer with their `extra` come together only if of one length.
    """
    batch: list[int] = []
    for index in sorted(range(len(rows)), key=lambda i: (len(rows[i]), i)):
        width = len(rows[index]) + extra
        alike = bool(batch) and len(rows[index]) == len(rows[batch[0]])
        alone = widest is not None and width > widest and not alike
        if batch and (alone or width * (len(batch) + 1) > tokens):
            yield batch
            batch = []
        batch.append(index)
    if batch:
        yield batch

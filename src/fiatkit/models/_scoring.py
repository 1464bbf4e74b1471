"""Log-probabilities of a set of targets, as branches of prompts that are read once."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import TYPE_CHECKING, Any, Protocol

from fiatkit.models._devices import exact
from fiatkit.models._padding import lengths_of, pad, real

if TYPE_CHECKING:
    import torch

Ids = tuple[int, ...]
SIDE_BY_SIDE = 1 << 14  # tokens of prompts that are held once for each label
LOGITS_AT_ONCE = 1 << 24


class Reading(Protocol):
    """Prompts that were read, and answers that grow behind them.

    Attributes:
        last: hidden states [n, width] from which each answer's first token is predicted.
    """

    last: torch.Tensor

    def extend(self, ids: torch.Tensor) -> torch.Tensor:
        """Append ids [n, k] to the answers; returns their hidden states [n, k, width]."""
        ...


class Branching(Reading, Protocol):
    """Prompts of which each can have several answers."""

    def beside(self, count: int) -> Reading:
        """The same with `count` answers to each prompt, side by side; this one stays as it is."""
        ...


def score_branches(network: Any, rows: Sequence[Ids], targets: Sequence[Ids]) -> torch.Tensor:
    """Summed log-probability of each target after each prompt, over repeated caches.

    So many targets at a time as a bounded number of repeated prompts allows.

    Args:
        network: with `read` and `logits`.
        rows: n prompts.
        targets: L targets, stop token included.

    Returns:
        float64 [n, L].
    """
    import torch

    reading = network.read(rows)
    first = torch.log_softmax(exact(network.logits(reading.last)), dim=-1)
    sums = first[:, torch.tensor([t[0] for t in targets], device=first.device)]
    most = max(1, SIDE_BY_SIDE // (len(rows) * max(map(len, rows))))
    for start in range(0, len(targets), most):
        some = targets[start : start + most]
        if max(map(len, some)) > 1:
            sums[:, start : start + most] += _behind_first(network, reading, len(rows), some)
    return sums


def _behind_first(
    network: Any, reading: Branching, rows: int, targets: Sequence[Ids]
) -> torch.Tensor:
    """Summed log-probability of each target's tokens behind its first: float64 [rows, targets]."""
    import torch

    states = branch_states(reading, rows, targets)
    tokens = torch.tensor([i for target in targets for i in target[1:]] * rows).to(states.device)
    size = max(1, LOGITS_AT_ONCE // network.model.get_output_embeddings().weight.shape[0])
    found = []
    for some, wanted in zip(states.split(size), tokens.split(size), strict=True):
        logs = torch.log_softmax(exact(network.logits(some)), dim=-1)
        found.append(logs.gather(1, wanted.to(logs.device)[:, None])[:, 0])
    lengths = [len(target) - 1 for target in targets] * rows
    sums = torch.stack([part.sum() for part in torch.cat(found).split(lengths)])
    return sums.view(rows, len(targets))


def branch_states(reading: Branching, rows: int, targets: Sequence[Ids]) -> torch.Tensor:
    """Hidden states from which the tokens of each target behind its first are predicted, after
    each of `rows` prompts: [tokens, width], row after row, and target after target."""
    branch = pad([target[:-1] for target in targets]).to(reading.last.device)
    lengths = lengths_of(targets, branch.device) - 1
    found = reading.beside(len(targets)).extend(branch.repeat(rows, 1))
    return found[real(lengths, branch.shape[1]).repeat(rows, 1)]


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

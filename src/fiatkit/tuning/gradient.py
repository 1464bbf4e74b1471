"""The gradient of a step's rows, in parts that fit into memory; knows no optimizer and no files."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    import torch

    from fiatkit.models.local import SmallModel
    from fiatkit.tuning.tuner import Row

Loss = Callable[[Sequence["Row"]], "torch.Tensor"]


def parts(small: SmallModel, rows: Sequence[Row], batch_tokens: int) -> list[list[int]]:
    """Indices of rows that go through the model together."""
    ids = [(*row.prompt, *row.target[:-1]) for row in rows]
    return list(small.network.batches(ids, batch_tokens))


def add_gradient(
    small: SmallModel, loss: Loss, rows: Sequence[Row], tokens: int, batch_tokens: int
) -> torch.Tensor:
    """Add the gradient of the summed loss of `rows`, divided by `tokens`, to the weights' own.

    Args:
        small: the model.
        loss: summed loss of the target tokens of rows that fit into memory together.
        rows: all or some of a step's rows.
        tokens: target tokens of all rows of the step.
        batch_tokens: what goes through the model at once.

    Returns:
        The loss, a scalar.
    """
    import torch

    total = torch.zeros((), device=small.device)
    for part in parts(small, rows, batch_tokens):
        with small.fused():
            found = loss([rows[index] for index in part]) / tokens
            found.backward()
        total += found.detach()
    return total

"""Rows of unequal length as one tensor, padded at the right, and which of its columns are real."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    import torch

PAD = 0  # never read: padding is masked by position, whatever its id


def pad(rows: Sequence[Sequence[int]]) -> torch.Tensor:
    """Rows of ids as one tensor [n, longest], padded at the right."""
    import torch

    ids = torch.full((len(rows), max(map(len, rows))), PAD)
    for index, row in enumerate(rows):
        ids[index, : len(row)] = torch.tensor(row)
    return ids


def lengths_of(rows: Sequence[Sequence[int]], device: torch.device) -> torch.Tensor:
    """Lengths of rows [n]."""
    import torch

    return torch.tensor([len(row) for row in rows], device=device)


def real(lengths: torch.Tensor, width: int) -> torch.Tensor:
    """Which columns of padded rows are their own: bool [n, width]."""
    import torch

    return torch.arange(width, device=lengths.device)[None] < lengths[:, None]

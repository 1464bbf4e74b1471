"""The loss of tokens, each with a weight of its own; knows no model and no rows."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Literal

from fiatkit.errors import UnknownNameError

if TYPE_CHECKING:
    import torch

ClassWeights = Literal["none", "balanced"] | Mapping[str, float]


def weighted_nll(
    logits: torch.Tensor,
    targets: torch.Tensor,
    weights: torch.Tensor | None = None,
    smoothing: float = 0.0,
) -> torch.Tensor:
    """Summed negative log-likelihood of tokens, weighted and smoothed.

    Each token's loss is that of torch's `cross_entropy` with the same `label_smoothing`: the
    likelihood of the target counts 1 - smoothing, and the mean log-likelihood of the vocabulary
    the rest (Szegedy et al. 2016, section 7). Computed in float32.

    Args:
        logits: [n, vocabulary].
        targets: token ids [n].
        weights: one a token [n]; None: all 1, for which nothing more is computed.
        smoothing: 0 to 1.

    Returns:
        A scalar; divide by n for the mean.
    """
    import torch

    each = torch.nn.functional.cross_entropy(
        logits.float(),
        targets,
        reduction="sum" if weights is None else "none",
        label_smoothing=smoothing,
    )
    return each if weights is None else (each * weights).sum()


def row_weights(targets: Sequence[str], setting: ClassWeights) -> list[float]:
    """A weight for each row, by its target; their mean is 1, so that the learning rate keeps its
    meaning.

    Args:
        targets: the rows' targets as text.
        setting: "none"; "balanced" for weights inverse to how often a target occurs, as in
            scikit-learn: rows / (classes x rows of the class); or a weight for each target.

    Raises:
        UnknownNameError: weights are given, and none for one of the targets.
    """
    if setting == "none" or not targets:
        return [1.0] * len(targets)
    if setting == "balanced":
        counts = Counter(targets)
        return [len(targets) / (len(counts) * counts[target]) for target in targets]
    assert not isinstance(setting, str)
    for target in targets:
        if target not in setting:
            raise UnknownNameError("weight in tuning.class_weights for the label", target, setting)
    found = [setting[target] for target in targets]
    mean = sum(found) / len(found)
    return [weight / mean for weight in found]

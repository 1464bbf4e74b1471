"""Weights and smoothing against torch's own cross entropy and scikit-learn's class weights."""

import numpy as np
import pytest
import torch
from sklearn.utils.class_weight import compute_sample_weight
from torch.nn.functional import cross_entropy

from fiatkit.errors import UnknownNameError
from fiatkit.tuning.loss import row_weights, weighted_nll


@pytest.fixture
def tokens() -> tuple[torch.Tensor, torch.Tensor]:
    torch.manual_seed(0)
    return torch.randn(40, 11, requires_grad=True), torch.randint(11, (40,))


@pytest.mark.parametrize("smoothing", [0.0, 0.1, 1.0])
def test_without_weights_it_is_torchs_cross_entropy(
    tokens: tuple[torch.Tensor, torch.Tensor], smoothing: float
) -> None:
    logits, targets = tokens
    ours = weighted_nll(logits, targets, None, smoothing)
    theirs = cross_entropy(logits, targets, reduction="sum", label_smoothing=smoothing)
    assert torch.equal(ours, theirs)
    ones = weighted_nll(logits, targets, torch.ones(40), smoothing)
    torch.testing.assert_close(ones, theirs)


def test_class_weights_are_those_of_torch(tokens: tuple[torch.Tensor, torch.Tensor]) -> None:
    """One token a row: a weight for each row is torch's weight for each class."""
    logits, targets = tokens
    by_class = torch.rand(11) + 0.5
    ours = weighted_nll(logits, targets, by_class[targets])
    theirs = cross_entropy(logits, targets, weight=by_class, reduction="sum")
    torch.testing.assert_close(ours, theirs)
    (found,) = torch.autograd.grad(ours, logits, retain_graph=True)
    (expected,) = torch.autograd.grad(theirs, logits)
    torch.testing.assert_close(found, expected)


@pytest.mark.parametrize("smoothing", [0.0, 0.2])
def test_a_weight_of_two_counts_a_token_twice(
    tokens: tuple[torch.Tensor, torch.Tensor], smoothing: float
) -> None:
    logits, targets = tokens
    weights = torch.ones(40)
    weights[:7] = 2
    weights[30:] = 0
    ours = weighted_nll(logits, targets, weights, smoothing)
    twice = torch.cat([torch.arange(30), torch.arange(7)])
    theirs = cross_entropy(
        logits[twice], targets[twice], reduction="sum", label_smoothing=smoothing
    )
    torch.testing.assert_close(ours, theirs)


def test_half_precision_is_summed_in_float32(tokens: tuple[torch.Tensor, torch.Tensor]) -> None:
    logits, targets = tokens
    half = logits.detach().to(torch.bfloat16)
    assert torch.equal(weighted_nll(half, targets), weighted_nll(half.float(), targets))


def test_balanced_weights_are_scikit_learns() -> None:
    targets = ["a"] * 6 + ["b"] * 3 + ["c"]
    found = row_weights(targets, "balanced")
    np.testing.assert_allclose(found, compute_sample_weight("balanced", targets))
    assert sum(found) == pytest.approx(10)
    assert row_weights(targets, "none") == [1.0] * 10
    assert row_weights([], "balanced") == []


def test_given_weights_keep_their_ratio_and_have_mean_one() -> None:
    found = row_weights(["a", "a", "b", "c"], {"a": 1, "b": 4, "c": 2, "unused": 9})
    assert found == [0.5, 0.5, 2.0, 1.0]
    with pytest.raises(UnknownNameError, match=r'weight.*label "d"'):
        row_weights(["a", "d"], {"a": 1, "b": 4})

"""Losses of a stack's trials beside those that torch computes for each alone."""

import pytest
import torch
import torch.nn.functional as F

from mnist_lab.training.stacked.losses import training_losses


@pytest.mark.parametrize("smoothing", [[0.0, 0.0, 0.0], [0.0, 0.1, 0.3]])
@pytest.mark.parametrize("is_mixed", [False, True])
def test_each_trial_has_its_own(smoothing: list[float], is_mixed: bool) -> None:
    torch.manual_seed(0)
    logits = torch.randn(3, 8, 10, requires_grad=True)
    labels = torch.randint(10, (3, 8))
    if is_mixed:
        labels = torch.rand(3, 8, 10).softmax(-1)
    losses, reported = training_losses(logits, labels, smoothing, torch.tensor(smoothing))
    (found,) = torch.autograd.grad(losses.sum(), logits)
    rows = zip(logits, labels, smoothing, strict=True)
    expected = torch.stack([F.cross_entropy(a, b, label_smoothing=share) for a, b, share in rows])
    assert torch.equal(reported, expected)
    torch.testing.assert_close(losses, expected)
    (gradient,) = torch.autograd.grad(expected.sum(), logits)
    torch.testing.assert_close(found, gradient)

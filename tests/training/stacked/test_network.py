"""Networks of linear layers as one, and which optimizers can be stacked."""

from typing import Any

import pytest
import torch

from mnist_lab import MLP, SoftmaxRegression
from mnist_lab.models import Classifier
from mnist_lab.training.stacked.network import StackedNet, reason_optimizer_is_not_stacked


@pytest.mark.parametrize(
    ("model", "reason"),
    [
        (MLP([4]), None),
        (MLP([4], batch_norm=True, dropout=0.1), None),
        (SoftmaxRegression(optimizer={"name": "sgd", "lr": 0.1, "momentum": 0.9}), None),
        (MLP([4], optimizer={"amsgrad": True}), "optimizer.amsgrad is not stacked"),
    ],
)
def test_why_not(model: Classifier, reason: str | None) -> None:
    assert reason_optimizer_is_not_stacked(model) == reason


@pytest.mark.parametrize("settings", [{}, {"batch_norm": True}, {"activation": "gelu"}])
def test_weights_are_written_back(settings: dict[str, Any]) -> None:
    models = [MLP([6, 5], dropout=rate, **settings).eval() for rate in (0.0, 0.5, [0.0, 0.2])]
    net = StackedNet(models, [torch.Generator() for _ in models]).eval()
    images = torch.randint(256, (1, 10, 1, 28, 28), dtype=torch.uint8)
    logits = net(images, (3,))
    for model, own in zip(models, logits, strict=True):
        assert torch.equal(model(images[0]), own)
    expected = [one.clone() for one in models[2].parameters()]
    with torch.no_grad():
        for model in models:
            for parameter in model.parameters():
                parameter.zero_()
    net.keep([0, 2], [torch.Generator(), torch.Generator()])
    net.write_back(1, net.state_dict())
    assert all(torch.equal(*pair) for pair in zip(models[2].parameters(), expected, strict=True))
    kept = net(images, (2,))
    assert torch.equal(kept, logits[[0, 2]])

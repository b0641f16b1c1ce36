"""Which models can be one stack, and their networks as one."""

from typing import Any

import pytest
import torch

from mnist_lab import CNN, MLP, SoftmaxRegression
from mnist_lab.errors import ConfigError
from mnist_lab.models import Classifier
from mnist_lab.training.stacked.network import StackedNet, reason_not_stacked, stack_key


@pytest.mark.parametrize(
    ("model", "reason"),
    [
        (MLP([4]), None),
        (MLP([4], batch_norm=True, dropout=0.1), None),
        (SoftmaxRegression(optimizer={"name": "sgd", "lr": 0.1, "momentum": 0.9}), None),
        (CNN([2], 3, 2, [4]), "CNN is not stacked, only MLP and SoftmaxRegression are"),
        (MLP([4], optimizer={"amsgrad": True}), "optimizer.amsgrad is not stacked"),
    ],
)
def test_why_not(model: Classifier, reason: str | None) -> None:
    assert reason_not_stacked(model) == reason


SAME: list[dict[str, Any]] = [
    {"dropout": 0.5},
    {"init": "zeros"},
    {"label_smoothing": 0.1},
    {"optimizer": {"lr": 0.5, "betas": [0.5, 0.5]}},
    {"scheduler": {"name": "cosine"}},
]
OTHER: list[dict[str, Any]] = [
    {"hidden_dims": [5]},
    {"activation": "tanh"},
    {"batch_norm": True},
    {"output": "log_sigmoid"},
    {"num_classes": 5},
    {"optimizer": {"name": "sgd"}},
]


def test_key_holds_what_must_be_equal() -> None:
    key = stack_key(MLP(**{"hidden_dims": [4]}))
    assert all(stack_key(MLP(**{"hidden_dims": [4], **some})) == key for some in SAME)
    assert all(stack_key(MLP(**{"hidden_dims": [4], **some})) != key for some in OTHER)
    assert stack_key(MLP([])) != stack_key(SoftmaxRegression())


def test_models_that_do_not_fit_are_refused() -> None:
    with pytest.raises(ConfigError, match="CNN is not stacked"):
        StackedNet([CNN([2], 3, 2, [4])], [torch.Generator()])
    with pytest.raises(ConfigError, match="different networks or optimizers"):
        StackedNet([MLP([4]), MLP([5])], [torch.Generator(), torch.Generator()])


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
    net.write_back(1)
    assert all(torch.equal(*pair) for pair in zip(models[2].parameters(), expected, strict=True))
    kept = net(images, (2,))
    assert torch.equal(kept, logits[[0, 2]])

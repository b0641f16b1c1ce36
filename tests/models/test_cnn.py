from typing import Any

import pytest
import torch
from torch import nn

from mnist_lab.data.mnist_files import Split
from mnist_lab.errors import ConfigError
from mnist_lab.models import CNN


def count(model: nn.Module) -> int:
    return sum(parameter.numel() for parameter in model.parameters())


def conv(inputs: int, outputs: int, kernel: int) -> int:
    return inputs * outputs * kernel**2 + outputs


def linear(inputs: int, outputs: int) -> int:
    return inputs * outputs + outputs


def kinds(model: CNN) -> list[type[nn.Module]]:
    assert isinstance(model.net, nn.Sequential)
    return [type(layer) for layer in model.net]


@pytest.mark.parametrize(
    ("arguments", "expected"),
    [
        (
            {"channels": [24, 32], "kernel_size": [5, 3], "hidden_dims": [256]},  # 28, 14, 7 pixels
            conv(1, 24, 5) + conv(24, 32, 3) + linear(32 * 7 * 7, 256) + linear(256, 10),
        ),
        (
            {"channels": [32, 64], "kernel_size": 5, "hidden_dims": [1024]},
            conv(1, 32, 5) + conv(32, 64, 5) + linear(64 * 7 * 7, 1024) + linear(1024, 10),
        ),
        (
            {"channels": [4], "kernel_size": 3, "pool": 1, "hidden_dims": []},
            conv(1, 4, 3) + linear(4 * 28 * 28, 10),
        ),
        (
            {"channels": [4, 6, 8], "kernel_size": 1, "pool": [2, 1, 3], "hidden_dims": [5, 6]},
            conv(1, 4, 1) + conv(4, 6, 1) + conv(6, 8, 1) + linear(8 * 4 * 4, 5)
            + linear(5, 6) + linear(6, 10),
        ),
        (
            {"channels": [4], "kernel_size": 3, "hidden_dims": [7], "batch_norm": True},
            conv(1, 4, 3) + 2 * 4 + linear(4 * 14 * 14, 7) + 2 * 7 + linear(7, 10),
        ),
    ],
)  # fmt: skip
def test_parameters_are_counted_by_hand(arguments: Any, expected: int, mnist_test: Split) -> None:
    model = CNN(**arguments)
    assert count(model) == expected
    assert model(mnist_test.images[:3]).shape == (3, 10)


def test_order_of_the_layers() -> None:
    model = CNN(channels=[4, 6], hidden_dims=[7], batch_norm=True, dropout=0.5, activation="gelu")
    block = [nn.Conv2d, nn.BatchNorm2d, nn.GELU, nn.MaxPool2d]
    hidden = [nn.Linear, nn.BatchNorm1d, nn.GELU, nn.Dropout]
    assert kinds(model) == [*block, *block, nn.Flatten, *hidden, nn.Linear]


def test_shifted_digit_gives_shifted_features(mnist_test: Split) -> None:
    # Padding keeps the size, so that a convolution sees the same digit wherever it lies.
    image = mnist_test.images[:1].float() / 255
    model = CNN(channels=[4], kernel_size=5, pool=1, hidden_dims=[])
    features = model.net[:2](image)
    shifted = model.net[:2](image.roll((2, 3), dims=(2, 3)))
    inside = (slice(None), slice(None), slice(6, 22), slice(6, 22))
    assert torch.allclose(features.roll((2, 3), dims=(2, 3))[inside], shifted[inside], atol=1e-5)


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"kernel_size": 4}, r"model\.kernel_size=4: must be a whole number at least 1 and odd"),
        ({"kernel_size": [5]}, r"model\.kernel_size=\[5\]: must be one value or a list of 2"),
        ({"kernel_size": -1}, r"model\.kernel_size=-1"),
        ({"pool": [2, 2, 2]}, r"model\.pool=\[2, 2, 2\]: must be one value or a list of 2"),
        ({"pool": 6}, r"model\.pool=6: pools 28 pixels down to nothing"),
        ({"pool": 0}, r"model\.pool=0"),
        ({"channels": [0, 8]}, r"model\.channels=.*0"),
        ({"channels": [-2, 8]}, r"model\.channels=.*-2"),
        ({"hidden_dims": [-1]}, r"model\.hidden_dims=.*-1"),
        ({"activation": "elu"}, r"model\.activation=elu: must be one of"),
        ({"dropout": [0.1, 0.2]}, r"model\.dropout=.* a list of 1"),
        ({"dropout": 2}, r"model\.dropout=2"),
    ],
)
def test_bad_argument_is_named(arguments: Any, message: str) -> None:
    with pytest.raises(ConfigError, match=message):
        CNN(**arguments)


@pytest.mark.parametrize(
    ("channels", "kernels"), [(8, [5]), ([8, 9], [5, 3]), ([8, 9, 10], [5, 3, 3]), ([], [])]
)
def test_kernels_by_default_are_of_any_number_of_convolutions(
    channels: Any, kernels: list[int]
) -> None:
    model = CNN(channels=channels)
    for each in (model, CNN(**model.hparams)):
        found = [layer for layer in each.net if isinstance(layer, nn.Conv2d)]
        assert [layer.kernel_size[0] for layer in found] == kernels


def test_a_number_is_one_layer() -> None:
    model = CNN(channels=4, kernel_size=3, hidden_dims=6)
    assert kinds(model) == [
        nn.Conv2d,
        nn.MaxPool2d,
        nn.ReLU,
        nn.Flatten,
        nn.Linear,
        nn.ReLU,
        nn.Linear,
    ]
    with pytest.raises(ConfigError, match=r"model\.channels=8x: must be a whole number at least 1"):
        CNN(channels="8x")  # type: ignore[arg-type]

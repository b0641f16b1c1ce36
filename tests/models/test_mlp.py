from typing import Any

import pytest
import torch
import torch.nn.functional as F
from torch import nn

from mnist_lab.data.mnist_files import Split
from mnist_lab.errors import ConfigError
from mnist_lab.models import MLP

ACTIVATIONS = {
    "relu": F.relu,
    "gelu": F.gelu,
    "silu": F.silu,
    "tanh": torch.tanh,
    "sigmoid": torch.sigmoid,
    "identity": lambda values: values,
}


def count(model: nn.Module) -> int:
    return sum(parameter.numel() for parameter in model.parameters())


def linear(inputs: int, outputs: int) -> int:
    return inputs * outputs + outputs


@pytest.mark.parametrize(
    ("hidden_dims", "batch_norm", "expected"),
    [
        ((512, 256), False, linear(784, 512) + linear(512, 256) + linear(256, 10)),
        ([65, 65], False, 55_975),  # 784 * 65 + 65 + 65 * 65 + 65 + 65 * 10 + 10
        ([30], False, linear(784, 30) + linear(30, 10)),
        (30, False, linear(784, 30) + linear(30, 10)),
        ([], False, linear(784, 10)),
        ([65], True, linear(784, 65) + 2 * 65 + linear(65, 10)),
    ],
)
def test_parameters_are_counted_by_hand(
    hidden_dims: Any, batch_norm: bool, expected: int, mnist_test: Split
) -> None:
    model = MLP(hidden_dims=hidden_dims, batch_norm=batch_norm)
    assert count(model) == expected
    assert model(mnist_test.images[:7]).shape == (7, 10)


@pytest.mark.parametrize("activation", ACTIVATIONS)
def test_activation_comes_after_each_hidden_layer(activation: str, mnist_test: Split) -> None:
    model = MLP(hidden_dims=[20, 30], activation=activation)
    first, first_bias, second, second_bias, last, last_bias = model.parameters()
    values = mnist_test.images[:50].view(50, 784).float() / 255
    values = ACTIVATIONS[activation](F.linear(values, first, first_bias))
    values = ACTIVATIONS[activation](F.linear(values, second, second_bias))
    expected = F.linear(values, last, last_bias)
    assert torch.allclose(model(mnist_test.images[:50]), expected, atol=1e-5)


@pytest.mark.parametrize(
    ("dropout", "rates"),
    [(0.0, []), (0.25, [0.25, 0.25]), ([0.1, 0.4], [0.1, 0.4]), ([0.0, 0.5], [0.5])],
)
def test_dropout_has_a_rate_for_each_layer(dropout: Any, rates: list[float]) -> None:
    model = MLP(hidden_dims=[40, 50], dropout=dropout)
    found = [layer.p for layer in model.net.modules() if isinstance(layer, nn.Dropout)]
    assert found == rates


def test_dropout_leaves_out_hidden_units_in_training_only(mnist_test: Split) -> None:
    images = mnist_test.images[:20]
    model = MLP(dropout=0.5)
    assert not torch.equal(model.train()(images), model(images))
    assert torch.equal(model.eval()(images), model(images))


def test_noise_of_its_deviation_is_added_in_training_only(mnist_test: Split) -> None:
    images = mnist_test.images[:20]
    model = MLP(noise=0.3)
    assert not torch.equal(model.train()(images), model(images))
    assert torch.equal(model.eval()(images), model(images))
    noise = model.train().net[1](torch.zeros(1_000, 784))
    assert abs(float(noise.std()) - 0.3) < 0.01
    assert abs(float(noise.mean())) < 0.01


def test_noise_below_zero_is_refused() -> None:
    with pytest.raises(ConfigError, match=r"model\.noise=-1: must be a number at least 0"):
        MLP(noise=-1)


def test_batch_norm_comes_before_each_activation(mnist_test: Split) -> None:
    model = MLP(hidden_dims=[20, 30], batch_norm=True)
    kinds = [type(layer) for layer in model.net]
    norm = [nn.Linear, nn.BatchNorm1d, nn.ReLU]
    assert kinds == [nn.Flatten, *norm, *norm, nn.Linear, nn.Identity]
    hidden = model.train().net[:3](mnist_test.images[:500].float() / 255)
    assert hidden.mean(dim=0).abs().max() < 1e-4


def test_log_sigmoid_output(mnist_test: Split) -> None:
    logits = MLP(output="log_sigmoid")(mnist_test.images[:50])
    assert logits.max() < 0


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"activation": "swish"}, r"model\.activation=swish: must be one of relu, gelu"),
        ({"output": "softmax"}, r"model\.output=softmax: must be one of"),
        ({"dropout": [0.1]}, r"model\.dropout=\[0\.1\]: must be one value or a list of 2"),
        ({"dropout": [0.1, 0.2, 0.3]}, r"model\.dropout=.* a list of 2"),
        ({"dropout": 1.5}, r"model\.dropout=1\.5"),
        ({"dropout": [0.1, -0.1]}, r"model\.dropout=.*-0\.1"),
        ({"dropout": "much"}, r"model\.dropout=much"),
        ({"hidden_dims": [-5]}, r"model\.hidden_dims=.*-5"),
        ({"hidden_dims": [64, 0]}, r"model\.hidden_dims=.*0"),
    ],
)
def test_bad_argument_is_named(arguments: Any, message: str) -> None:
    with pytest.raises(ConfigError, match=message):
        MLP(**arguments)

"""Convolutions of one channel as products."""

from typing import Any

import pytest
import torch
from torch import nn
from torch.func import functional_call, vmap

from mnist_lab.training.stacked.one_channel import OneChannelAsProduct


def results(layer: nn.Module, images: torch.Tensor) -> list[torch.Tensor]:
    layer.zero_grad()
    outputs = layer(images)
    outputs.square().sum().backward()
    return [outputs, *(parameter.grad.clone() for parameter in layer.parameters())]


@pytest.mark.parametrize(
    "options",
    [
        {"kernel_size": 5, "padding": 2},
        {"kernel_size": 3, "stride": 2},
        {"kernel_size": (3, 2), "stride": (2, 1), "padding": (0, 3), "dilation": (2, 1)},
        {"kernel_size": 3, "bias": False},
        {"kernel_size": 3, "padding": "same"},
        {"kernel_size": 3, "padding": 1, "padding_mode": "reflect"},
    ],
)
def test_is_the_convolution(options: dict[str, Any]) -> None:
    layer = nn.Conv2d(1, 4, **options).double()
    images = torch.rand(3, 1, 9, 8, dtype=torch.float64)
    expected = results(layer, images)
    with OneChannelAsProduct():
        found = results(layer, images)
    torch.testing.assert_close(found, expected)


def test_rounds_as_autocast_does() -> None:
    layer, images = nn.Conv2d(1, 4, 5, padding=2), torch.rand(3, 1, 28, 28)
    with torch.autocast("cpu", torch.bfloat16):
        expected = layer(images)
        with OneChannelAsProduct():
            found = layer(images)
    assert found.dtype == expected.dtype == torch.bfloat16
    torch.testing.assert_close(found, expected, atol=1e-2, rtol=1e-2)


def test_of_many_layers_side_by_side() -> None:
    layer, images = nn.Conv2d(1, 4, 5, padding=2).double(), torch.rand(2, 3, 1, 9, 9).double()
    weights = {name: torch.stack([own, 2 * own]) for name, own in layer.state_dict().items()}

    def one(own: dict[str, torch.Tensor], its: torch.Tensor) -> Any:
        return functional_call(layer, own, (its,))

    expected = vmap(one)(weights, images)
    with OneChannelAsProduct():
        torch.testing.assert_close(vmap(one)(weights, images), expected)


def test_other_calls_are_handed_on() -> None:
    layer, images = nn.Conv2d(2, 4, 3), torch.rand(3, 2, 9, 9)
    with OneChannelAsProduct():
        found = layer(images)
    assert torch.equal(found, layer(images))

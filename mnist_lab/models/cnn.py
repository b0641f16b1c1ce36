"""Convolutional network."""

import math
from typing import Any, Unpack, final

import torch
from torch import nn

from mnist_lab.errors import ConfigError
from mnist_lab.models.arguments import KERNEL_SIZE, SIZE
from mnist_lab.models.classifier import Classifier, SharedArgs
from mnist_lab.models.layers import (
    activation_layer,
    check_range,
    hidden_layers,
    one_for_each,
    sizes,
)

KERNEL_SIZES = (5, 3)  # by default, of the first convolution and of the others
RISING = ("relu", "tanh", "sigmoid", "identity")  # max pooling before or after is the same


@final
class CNN(Classifier):
    """Convolutions with max pooling, then hidden layers, between the pixels and the classes.

    Convolutions are padded to keep the size of their input.

    Args:
        channels: channels of each convolution, or a number for one.
        kernel_size: side of the kernels in pixels, odd, or a list with one for each convolution;
            by default 5 for the first and 3 for the others.
        pool: side of the pooling after each convolution, or a list; 1 is none.
        hidden_dims: units of each hidden layer, or a number for one.
        activation: after each convolution and hidden layer, as in ``MLP``.
        dropout: probability that a hidden unit is left out, or a list with one for each layer.
        batch_norm: whether batch norm comes before each activation.
        shared: the arguments of ``Classifier``.

    Raises:
        ConfigError: an argument is unknown or out of its range.
    """

    gains_by_bf16 = True

    def __init__(
        self,
        channels: list[int] | tuple[int, ...] | int = (24, 32),
        kernel_size: Any = KERNEL_SIZES,
        pool: Any = 2,
        hidden_dims: list[int] | tuple[int, ...] | int = (256,),
        activation: str = "relu",
        dropout: Any = 0.0,
        batch_norm: bool = False,
        **shared: Unpack[SharedArgs],
    ) -> None:
        super().__init__(**shared)
        widths = sizes("model.channels", channels)
        if kernel_size is KERNEL_SIZES and len(widths) != len(KERNEL_SIZES):  # not given
            kernel_size = [*KERNEL_SIZES[:1], *KERNEL_SIZES[1:] * len(widths)][: len(widths)]
            self.hparams["kernel_size"] = kernel_size
        check_range("model.kernel_size", kernel_size, KERNEL_SIZE)
        check_range("model.pool", pool, SIZE)
        kernels = one_for_each("model.kernel_size", kernel_size, len(widths))
        pools = one_for_each("model.pool", pool, len(widths))
        layers: list[nn.Module] = []
        width, *sides = self.in_shape
        for out, kernel, pooled in zip(widths, kernels, pools, strict=True):
            layers.append(nn.Conv2d(width, out, kernel, padding=kernel // 2))
            if batch_norm:
                layers.append(nn.BatchNorm2d(out))
            pooling = [nn.MaxPool2d(pooled)] if pooled > 1 else []
            if activation in RISING:  # the same maximum, and fewer values to activate
                layers += [*pooling, activation_layer(activation)]
            else:
                layers += [activation_layer(activation), *pooling]
            width, sides = out, [side // pooled for side in sides]
            if 0 in sides:
                pixels = min(self.in_shape[1:])
                raise ConfigError(f"model.pool={pool}: pools {pixels} pixels down to nothing")
        features, dims = width * math.prod(sides), sizes("model.hidden_dims", hidden_dims)
        self.net = nn.Sequential(
            *layers,
            nn.Flatten(),
            *hidden_layers(features, dims, activation, dropout, batch_norm),
            nn.Linear(dims[-1] if dims else features, self.num_classes),
        )
        self.initialize()
        self.net.to(memory_format=torch.channels_last)  # 1.3 to 1.6 times as fast on a CPU

"""Multilayer perceptron."""

import math
from typing import Any, Unpack, final

from torch import nn

from mnist_lab.models.arguments import OUTPUTS
from mnist_lab.models.classifier import Classifier, SharedArgs
from mnist_lab.models.layers import GaussianNoise, activation_layer, hidden_layers, sizes


@final
class MLP(Classifier):
    """Hidden layers of units between the pixels and the classes.

    Args:
        hidden_dims: units of each hidden layer, or a number for one.
        activation: after each hidden layer: relu, gelu, silu, tanh, sigmoid or identity.
        dropout: probability that a hidden unit is left out, or a list with one for each layer.
        batch_norm: whether batch norm comes before each activation.
        noise: standard deviation of the Gaussian noise that training adds to the pixels, which are
            0 to 1, and before each activation, where batch norm has brought values to about 1
            (Rasmus et al., 2015, arXiv:1507.02672, whose supervised baseline has 0.3).
        output: the layer that the logits pass through last, ``identity`` or ``log_sigmoid``.
        shared: the arguments of ``Classifier``.

    Raises:
        ConfigError: an argument is unknown or out of its range.
    """

    def __init__(
        self,
        hidden_dims: list[int] | tuple[int, ...] | int = (512, 256),
        activation: str = "relu",
        dropout: Any = 0.0,
        batch_norm: bool = False,
        noise: float = 0.0,
        output: str = "identity",
        **shared: Unpack[SharedArgs],
    ) -> None:
        super().__init__(**shared)
        dims, pixels = sizes("model.hidden_dims", hidden_dims), math.prod(self.in_shape)
        self.net = nn.Sequential(
            nn.Flatten(),
            *([GaussianNoise(noise)] if noise else []),
            *hidden_layers(pixels, dims, activation, dropout, batch_norm, noise),
            nn.Linear(dims[-1] if dims else pixels, self.num_classes),
            activation_layer(output, "model.output", OUTPUTS),
        )
        self.initialize()

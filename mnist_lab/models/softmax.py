"""Softmax regression."""

import math
from typing import Unpack, final

from torch import nn

from mnist_lab.models.arguments import OUTPUTS
from mnist_lab.models.classifier import Classifier, SharedArgs
from mnist_lab.models.layers import activation_layer


@final
class SoftmaxRegression(Classifier):
    """One linear layer from the pixels to the classes.

    Args:
        output: the layer that the logits pass through last: ``identity``, or ``log_sigmoid`` for
            networks whose sigmoid outputs are trained with categorical cross-entropy.
        shared: the arguments of ``Classifier``.

    Raises:
        ConfigError: an argument is unknown or out of its range.
    """

    def __init__(self, output: str = "identity", **shared: Unpack[SharedArgs]) -> None:
        super().__init__(**shared)
        linear = nn.Linear(math.prod(self.in_shape), self.num_classes)
        self.net = nn.Sequential(
            nn.Flatten(), linear, activation_layer(output, "model.output", OUTPUTS)
        )
        self.initialize()

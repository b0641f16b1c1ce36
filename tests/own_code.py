"""Classes as a user has them in a file of his own, and one thing that is none."""

import lightning as L
from lightning.pytorch.profilers import SimpleProfiler
from torch import Tensor, nn

from mnist_lab.data import MNISTDataModule
from mnist_lab.models import Classifier


class Model(Classifier):
    """A model."""


class Data(MNISTDataModule):
    """A data set."""


class Callback(L.Callback):
    """A callback."""


class Profiler(SimpleProfiler):
    """A profiler."""


def function(**_: object) -> Callback:
    """Return what may be built, which cannot be known before the call."""
    raise AssertionError("called")


class Net(nn.Module):
    """A network that knows nothing of Lightning.

    Args:
        width: units of its hidden layer.
        activation: after it.
    """

    def __init__(self, width: int = 8, activation: nn.Module | None = None) -> None:
        super().__init__()
        self.layers = nn.Sequential(
            nn.Flatten(),
            nn.Linear(784, width),
            activation or nn.ReLU(),
            nn.Linear(width, 10, bias=False),
        )

    def forward(self, images: Tensor) -> Tensor:
        """Return logits ``(B, 10)``."""
        logits: Tensor = self.layers(images)
        return logits

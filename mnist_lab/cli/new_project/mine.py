"""A model, a data set, a metric and a callback, which conf/experiment/mine.yaml puts together."""

import lightning as L
import torch
from torch import Tensor, nn
from torchmetrics.classification import MulticlassRecall

from mnist_lab import MNISTDataModule
from mnist_lab.data import Split


class Net(nn.Module):
    """One hidden layer, from images ``(B, *in_shape)`` in [0, 1] to logits ``(B, num_classes)``.

    ``in_shape`` and ``num_classes`` are those of the data; other arguments are keys of a config.
    """

    def __init__(self, in_shape: list[int], num_classes: int, width: int = 64) -> None:
        super().__init__()
        channels, height, length = in_shape
        self.layers = nn.Sequential(
            nn.Flatten(),
            nn.Linear(channels * height * length, width),
            nn.GELU(),
            nn.Linear(width, num_classes),
        )

    def forward(self, images: Tensor) -> Tensor:
        """Return logits ``(B, num_classes)``."""
        logits: Tensor = self.layers(images)
        return logits


class Parity(MNISTDataModule):
    """MNIST's images with the labels 0 for even digits and 1 for odd ones."""

    num_classes = 2

    def split(self, train: bool) -> Split:
        """Return images ``(N, 28, 28)`` and labels ``(N,)`` of the training or the test part."""
        images, labels, sha256 = super().split(train)
        return Split(images, labels % 2, sha256)


class WorstClass(MulticlassRecall):
    """Share of a class's images that are found, of the class with the smallest share."""

    def __init__(self, num_classes: int) -> None:
        super().__init__(num_classes, average="none")

    def compute(self) -> Tensor:
        """Return the share."""
        return super().compute().min()


class WeightNorm(L.Callback):
    """Logs the norm of all weights at the end of each epoch."""

    def on_train_epoch_end(self, trainer: L.Trainer, pl_module: L.LightningModule) -> None:
        """Log it."""
        weights = torch.cat([weight.detach().flatten() for weight in pl_module.parameters()])
        pl_module.log("weight_norm", weights.norm())

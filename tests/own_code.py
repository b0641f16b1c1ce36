"""Classes as a user has them in a file of his own, and one thing that is none."""

from collections.abc import Callable
from typing import Any

import lightning as L
import torch
import torch.nn.functional as F
from lightning.pytorch.profilers import SimpleProfiler
from torch import Tensor, nn
from torch.utils.data import DataLoader, TensorDataset

from mnist_lab.data import MNISTDataModule, Split
from mnist_lab.models import Classifier


class Model(Classifier):
    """A model."""


class Data(MNISTDataModule):
    """A data set."""


class Colour(MNISTDataModule):
    """MNIST in three channels, of which each is dimmed by another share."""

    in_shape = (3, 28, 28)

    def split(self, train: bool) -> Split:
        """Return the training or test part."""
        images, labels, sha256 = super().split(train)
        shades = torch.tensor([4, 2, 1], dtype=torch.uint8).view(1, 3, 1, 1)
        return Split(images // shades, labels, sha256)


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


class Invert(nn.Module):
    """Makes some of the images negatives.

    Args:
        share: of the images.
    """

    def __init__(self, share: float) -> None:
        super().__init__()
        self.share = share

    def forward(self, images: Tensor) -> Tensor:
        """Return images ``(B, 1, 28, 28)`` uint8."""
        chosen = torch.rand(len(images), 1, 1, 1) < self.share
        return torch.where(chosen, 255 - images, images)


class Images(L.LightningDataModule):
    """Random images of any size.

    Args:
        shape: channels, height and width.
        classes: number of classes.
        says: whether it tells both to who asks.
    """

    def __init__(
        self, shape: tuple[int, ...] = (3, 20, 24), classes: int = 4, says: bool = False
    ) -> None:
        super().__init__()
        self.shape, self.classes = tuple(shape), classes
        if says:
            self.in_shape, self.num_classes = self.shape, classes

    def train_dataloader(self) -> DataLoader[Any]:
        """Return batches in an order of chance."""
        return self._batches(shuffle=True)

    def _batches(self, shuffle: bool = False) -> DataLoader[Any]:
        generator = torch.Generator().manual_seed(0)
        labels = torch.arange(64) % self.classes
        images = torch.rand(64, *self.shape, generator=generator)
        return DataLoader(TensorDataset(images, labels), batch_size=16, shuffle=shuffle)

    def val_dataloader(self) -> DataLoader[Any]:
        """Return the same images."""
        return self._batches()

    def test_dataloader(self) -> DataLoader[Any]:
        """Return the same images."""
        return self._batches()


class TrainOnly(Images):
    """Has images for training alone."""

    val_dataloader = L.LightningDataModule.val_dataloader
    test_dataloader = L.LightningDataModule.test_dataloader


class AnySize(nn.Module):
    """A network that is told the size of the images."""

    def __init__(self, in_shape: list[int]) -> None:
        super().__init__()
        self.layers = nn.Sequential(nn.Conv2d(in_shape[0], 6, 3), nn.AdaptiveAvgPool2d(1))

    def forward(self, images: Tensor) -> Tensor:
        """Return logits ``(B, 6)``."""
        logits: Tensor = self.layers(images).flatten(1)
        return logits


class WithModule(Classifier):
    """A model whose argument is a module.

    Args:
        layer: the module.
        is_kept: whether checkpoints are to hold it.
        shared: the arguments of ``Classifier``.
    """

    def __init__(self, layer: nn.Module, is_kept: bool = True, **shared: Any) -> None:
        super().__init__(**shared)
        if not is_kept:
            del self.hparams["layer"]
        self.net = nn.Sequential(nn.Flatten(), nn.Linear(784, 10), layer)


class Lit(L.LightningModule):
    """A LightningModule that knows nothing of the lab.

    Args:
        width: units of its hidden layer.
    """

    def __init__(self, width: int = 4) -> None:
        super().__init__()
        self.net = Net(width)

    def forward(self, images: Tensor) -> Tensor:
        """Return logits ``(B, 10)``."""
        logits: Tensor = self.net(images / 255)
        return logits

    def _loss(self, name: str, batch: Any) -> Tensor:
        loss = F.cross_entropy(self(batch[0]), batch[1])
        self.log(name, loss)
        return loss

    def training_step(self, batch: Any, batch_idx: int) -> Tensor:
        """Return the loss."""
        return self._loss("train_loss", batch)

    def validation_step(self, batch: Any, batch_idx: int) -> None:
        """Log the loss."""
        self._loss("val_loss", batch)

    def configure_optimizers(self) -> torch.optim.Optimizer:
        """Return an optimizer of its own."""
        return torch.optim.SGD(self.parameters(), lr=0.1)


class Renamed(Lit):
    """Has its weights in checkpoints under other names."""

    def test_step(self, batch: Any, batch_idx: int) -> None:
        """Log the loss."""
        self._loss("test_loss", batch)

    def on_save_checkpoint(self, checkpoint: dict[str, Any]) -> None:
        """Rename the weights."""
        weights = checkpoint["state_dict"]
        for name in list(weights):
            weights[f"old.{name}"] = weights.pop(name)

    def on_load_checkpoint(self, checkpoint: dict[str, Any]) -> None:
        """Rename them back."""
        weights = checkpoint["state_dict"]
        for name in list(weights):
            weights[name.removeprefix("old.")] = weights.pop(name)


class Noted(Lit):
    """Notes its network among its hyperparameters, and saves none.

    Args:
        net: takes ``(B, 1, 28, 28)`` floats and gives ``(B, 10)`` logits.
    """

    def __init__(self, net: nn.Module) -> None:
        super().__init__()
        self.hparams["net"] = self.net = net


class Attached(Lit):
    """Has weights with its own names, and a hook that only a trainer may call."""

    def test_step(self, batch: Any, batch_idx: int) -> None:
        """Log the loss."""
        self._loss("test_loss", batch)

    def on_load_checkpoint(self, checkpoint: dict[str, Any]) -> None:
        """Look at the trainer and at a weight."""
        assert self.trainer.max_epochs
        assert self.net.layers[-1].weight.sum().item() < 1e6


class Named(Lit):
    """Takes arguments of the names that the lab's groups have, and means something else.

    Args:
        optimizer: the name of one.
        scheduler: the name of one.
    """

    def __init__(self, optimizer: str = "sgd", scheduler: str = "none") -> None:
        super().__init__()
        self.save_hyperparameters()


class Given(Lit):
    """A LightningModule that is given its network and what builds its optimizer.

    Args:
        net: takes ``(B, 1, 28, 28)`` floats and gives ``(B, 10)`` logits.
        optimizer: builds an optimizer of parameters.
    """

    def __init__(self, net: nn.Module, optimizer: Callable[..., torch.optim.Optimizer]) -> None:
        super().__init__()
        self.save_hyperparameters(logger=False)
        self.net = net

    def configure_optimizers(self) -> torch.optim.Optimizer:
        built: torch.optim.Optimizer = self.hparams.optimizer(params=self.parameters())
        return built


class Narrow(Classifier):
    """A model that passes on what it is given.

    Args:
        width: units of its hidden layer.
        shared: the arguments of ``Classifier``.
    """

    def __init__(self, width: int, **shared: Any) -> None:
        super().__init__(**shared)
        self.net = Net(width)


class SmallConv(nn.Module):
    """Two convolutions and a linear layer.

    Args:
        width: channels.
    """

    def __init__(self, width: int = 4) -> None:
        super().__init__()
        self.layers = nn.Sequential(
            nn.Conv2d(1, width, 3, stride=2),
            nn.BatchNorm2d(width),
            nn.ReLU(),
            nn.Conv2d(width, width, 3, stride=2),
            nn.Flatten(),
            nn.Linear(36 * width, 10),
        )

    def forward(self, images: Tensor) -> Tensor:
        """Return logits ``(B, 10)``."""
        logits: Tensor = self.layers(images)
        return logits


class Counting(nn.Module):
    """Counts its training steps in a buffer that it binds anew."""

    steps: Tensor

    def __init__(self) -> None:
        super().__init__()
        self.layer = nn.Linear(784, 10)
        self.register_buffer("steps", torch.zeros(()))

    def forward(self, images: Tensor) -> Tensor:
        """Return logits ``(B, 10)``."""
        if self.training:
            self.steps = self.steps + 1
        logits: Tensor = self.layer(images.flatten(1))
        return logits


class Branching(nn.Module):
    """Goes by a number in a tensor, which torch.func cannot."""

    def __init__(self) -> None:
        super().__init__()
        self.layer = nn.Linear(784, 10)

    def forward(self, images: Tensor) -> Tensor:
        """Return logits ``(B, 10)``."""
        logits: Tensor = self.layer(images.flatten(1))
        return logits / 2 if logits.mean().item() > 0 else logits

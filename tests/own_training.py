"""What people bring to a training: loaders with an order of their own, metrics that they sum."""

from collections.abc import Iterator
from typing import Any

import lightning as L
import torch
import torch.nn.functional as F
from torch import Tensor, nn
from torch.utils.data import DataLoader, IterableDataset, TensorDataset, WeightedRandomSampler
from torchmetrics import MaxMetric, MeanMetric, MetricCollection
from torchmetrics.classification import MulticlassAccuracy, MulticlassF1Score, MulticlassPrecision


class _Stream(IterableDataset[Any]):
    """Samples without a length, in an order that is drawn as they are read."""

    def __init__(self, data: TensorDataset) -> None:
        self.data = data

    def __iter__(self) -> Iterator[Any]:
        """Yield the samples."""
        return (self.data[int(number)] for number in torch.randperm(len(self.data)))


class Shuffled(L.LightningDataModule):
    """Random images in ten classes, 24 batches of them in an order of chance."""

    workers = 0

    def __init__(self, **_: Any) -> None:
        super().__init__()
        generator = torch.Generator().manual_seed(0)
        labels = torch.arange(192) % 10
        images = torch.rand(192, 1, 28, 28, generator=generator)
        images[:, 0, 0] += labels[:, None] / 5
        self.data = TensorDataset(images, labels)

    def train_dataloader(self) -> DataLoader[Any]:
        """Return the training batches."""
        return DataLoader(self.data, batch_size=8, shuffle=True, num_workers=self.workers)

    def val_dataloader(self) -> DataLoader[Any]:
        """Return the same images."""
        return DataLoader(self.data, batch_size=64)

    test_dataloader = val_dataloader


class WithWorker(Shuffled):
    """Reads in another process."""

    workers = 1


class Sampled(Shuffled):
    """Draws images by weights."""

    def train_dataloader(self) -> DataLoader[Any]:
        """Return the training batches."""
        sampler = WeightedRandomSampler((torch.arange(192) + 1.0).tolist(), 192)
        return DataLoader(self.data, batch_size=8, sampler=sampler)


class Streamed(Shuffled):
    """Has no length."""

    def train_dataloader(self) -> DataLoader[Any]:
        """Return the training batches."""
        return DataLoader(_Stream(self.data), batch_size=8)


class Measured(L.LightningModule):
    """Logs in each way that Lightning and torchmetrics have."""

    def __init__(self, **_: Any) -> None:
        super().__init__()
        self.net = nn.Sequential(nn.Flatten(), nn.Dropout(0.2), nn.Linear(784, 10))
        self.loss, self.best = MeanMetric(), MaxMetric()
        self.train_acc = MulticlassAccuracy(10, average="micro")
        self.val_acc = MulticlassAccuracy(10, average="micro")
        several = {"f1": MulticlassF1Score(10), "precision": MulticlassPrecision(10)}
        self.several = MetricCollection(several, prefix="train_")

    def forward(self, images: Tensor) -> Tensor:
        """Return logits ``(B, 10)``."""
        logits: Tensor = self.net(images)
        return logits

    def on_train_start(self) -> None:
        """Forget the sanity check, as one template has it."""
        self.val_acc.reset()
        self.best.reset()

    def on_train_epoch_start(self) -> None:
        """Log what is known as the epoch begins."""
        self.log("epoch_number", float(self.current_epoch), on_epoch=True, reduce_fx="sum")

    def training_step(self, batch: Any, batch_idx: int) -> Tensor:
        """Return the loss."""
        logits, labels = self(batch[0]), batch[1]
        loss = F.cross_entropy(logits, labels)
        self.log("train_loss", loss, on_step=True, on_epoch=True)
        self.log("train_most", loss, on_step=False, on_epoch=True, reduce_fx="max")
        if batch_idx % 5 == 0:
            self.log("train_some", loss, on_step=False, on_epoch=True)
        self.train_acc(logits, labels)
        self.log("train_acc", self.train_acc, on_step=False, on_epoch=True)
        self.loss.update(loss.detach())
        self.several.update(logits, labels)
        return loss

    def on_train_epoch_end(self) -> None:
        """Log what the model has summed itself."""
        self.log("train_mean", self.loss.compute())
        self.log_dict(self.several.compute())
        self.loss.reset()
        self.several.reset()

    def validation_step(self, batch: Any, batch_idx: int) -> None:
        """Count."""
        self.val_acc.update(self(batch[0]), batch[1])

    def on_validation_epoch_end(self) -> None:
        """Log the accuracy and the best one of all epochs."""
        accuracy = self.val_acc.compute()
        self.best.update(accuracy)
        self.log("val_acc", accuracy)
        self.log("val_best", self.best.compute())
        self.val_acc.reset()

    def test_step(self, batch: Any, batch_idx: int) -> None:
        """Log the loss."""
        self.log("test_loss", F.cross_entropy(self(batch[0]), batch[1]))

    def configure_optimizers(self) -> torch.optim.Optimizer:
        """Return Adam."""
        return torch.optim.Adam(self.parameters(), lr=0.01)


class Curriculum(Measured):
    """Counts its epochs, and keeps the number by Lightning's hooks of a checkpoint."""

    count = 0

    def on_train_epoch_start(self) -> None:
        """Count."""
        self.count += 1

    def training_step(self, batch: Any, batch_idx: int) -> Tensor:
        """Return the loss, which weighs more in each epoch."""
        return super().training_step(batch, batch_idx) * self.count

    def on_save_checkpoint(self, checkpoint: dict[str, Any]) -> None:
        """Keep the number."""
        checkpoint["count"] = self.count

    def on_load_checkpoint(self, checkpoint: dict[str, Any]) -> None:
        """Take it back, and out of the checkpoint."""
        self.count = checkpoint.pop("count")


class Counter(L.Callback):
    """Counts epochs, by which it sets the learning rate."""

    count = 0

    def on_train_epoch_start(self, trainer: L.Trainer, pl_module: L.LightningModule) -> None:
        """Count."""
        self.count += 1

    def on_train_batch_start(
        self, trainer: L.Trainer, pl_module: L.LightningModule, batch: Any, batch_idx: int
    ) -> None:
        """Set the learning rate."""
        trainer.optimizers[0].param_groups[0]["lr"] = 0.01 / self.count

    def on_save_checkpoint(
        self, trainer: L.Trainer, pl_module: L.LightningModule, checkpoint: dict[str, Any]
    ) -> None:
        """Keep the number."""
        checkpoint["counter"] = self.count

    def on_load_checkpoint(
        self, trainer: L.Trainer, pl_module: L.LightningModule, checkpoint: dict[str, Any]
    ) -> None:
        """Take it back."""
        self.count = checkpoint["counter"]


class Brighter(Shuffled):
    """Makes batches brighter with each one, and keeps how many there were."""

    count = 0

    def on_after_batch_transfer(self, batch: Any, dataloader_idx: int) -> Any:
        """Make the images brighter."""
        if self.trainer is not None and self.trainer.training:
            self.count += 1
        return [batch[0] * (1 + self.count / 10), batch[1]]

    def state_dict(self) -> dict[str, Any]:
        """Return the number."""
        return {"count": self.count}

    def load_state_dict(self, state_dict: dict[str, Any]) -> None:
        """Take the number."""
        self.count = state_dict["count"]

"""The LightningModules that the lab is compared with."""

import lightning as L
import torch
import torch.nn.functional as F
from torch import Tensor, nn
from torchmetrics.classification import MulticlassAccuracy

from benchmark_rows.step import now


class Timed(L.LightningModule):
    """Keeps the times at which epochs ended; Adam with its defaults.

    Args:
        net: what is trained, ``(B, 1, 28, 28) -> (B, 10)`` logits.
    """

    def __init__(self, net: nn.Module) -> None:
        super().__init__()
        self.net = net
        self.ends: list[float] = []

    def on_train_epoch_end(self) -> None:
        self.ends.append(now())

    def configure_optimizers(self) -> torch.optim.Optimizer:
        return torch.optim.Adam(self.parameters())


class Minimal(Timed):
    """A loss on uint8 images and nothing else."""

    def training_step(self, batch: tuple[Tensor, Tensor], batch_idx: int) -> Tensor:
        images, labels = batch
        return F.cross_entropy(self.net(images.float() / 255), labels)

    def configure_optimizers(self) -> torch.optim.Optimizer:
        return torch.optim.Adam(self.parameters(), fused=True)  # as the raw loop has it


class Usual(Timed):
    """What tutorials and templates show: loss and accuracy logged from each step."""

    def __init__(self, net: nn.Module) -> None:
        super().__init__(net)
        self.train_acc = MulticlassAccuracy(10)
        self.val_acc = MulticlassAccuracy(10)

    def training_step(self, batch: tuple[Tensor, Tensor], batch_idx: int) -> Tensor:
        images, labels = batch
        logits = self.net(images)
        loss = F.cross_entropy(logits, labels)
        self.train_acc(logits, labels)
        self.log("train/loss", loss, prog_bar=True)
        self.log("train/acc", self.train_acc, on_step=False, on_epoch=True)
        return loss

    def validation_step(self, batch: tuple[Tensor, Tensor], batch_idx: int) -> None:
        images, labels = batch
        logits = self.net(images)
        self.val_acc(logits, labels)
        self.log("val/loss", F.cross_entropy(logits, labels), prog_bar=True)
        self.log("val/acc", self.val_acc, prog_bar=True)

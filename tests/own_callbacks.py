"""Callbacks as a user has them who changes weights himself."""

from typing import Any

import lightning as L
import torch
from lightning.pytorch.callbacks import EarlyStopping


class Noise(L.Callback):
    """Changes the weights when an epoch starts, and counts that."""

    epochs = 0

    def on_train_epoch_start(self, trainer: L.Trainer, pl_module: L.LightningModule) -> None:
        self.epochs += 1
        with torch.no_grad():
            for parameter in pl_module.parameters():
                parameter.add_(torch.rand_like(parameter), alpha=0.01 * self.epochs)

    def state_dict(self) -> dict[str, int]:
        return {"epochs": self.epochs}

    def load_state_dict(self, state_dict: dict[str, int]) -> None:
        self.epochs = state_dict["epochs"]


class Stop(EarlyStopping):
    """Ends a run by rules of its own."""


class Swapped(L.Callback):
    """Validates half the weights, as an average that one keeps oneself."""

    def is_due(self, trainer: L.Trainer) -> bool:
        return True

    def on_validation_start(self, trainer: L.Trainer, pl_module: L.LightningModule) -> None:
        if self.is_due(trainer):
            self.kept = {name: value.clone() for name, value in pl_module.state_dict().items()}
            pl_module.load_state_dict({name: value / 2 for name, value in self.kept.items()})

    def on_validation_end(self, trainer: L.Trainer, pl_module: L.LightningModule) -> None:
        if self.is_due(trainer):
            pl_module.load_state_dict(self.kept)


class SwappedOnce(Swapped):
    def is_due(self, trainer: L.Trainer) -> bool:
        return trainer.current_epoch == 1 and trainer.state.fn == "fit"


class ZeroAtTheEnd(L.Callback):
    def on_train_end(self, trainer: L.Trainer, pl_module: L.LightningModule) -> None:
        zero(pl_module)


class ZeroForTheTest(L.Callback):
    def on_test_epoch_start(self, trainer: L.Trainer, pl_module: L.LightningModule) -> None:
        zero(pl_module)


class BetterAtTheEnd(L.Callback):
    """Takes steps of its own when training has ended, on the last batch."""

    def on_train_batch_end(
        self,
        trainer: L.Trainer,
        pl_module: L.LightningModule,
        outputs: Any,
        batch: Any,
        batch_idx: int,
    ) -> None:
        self.batch = batch

    @torch.enable_grad()
    def on_train_end(self, trainer: L.Trainer, pl_module: L.LightningModule) -> None:
        images, labels = self.batch
        optimizer = torch.optim.Adam(pl_module.parameters(), lr=0.02)
        for _ in range(30):
            optimizer.zero_grad()
            torch.nn.functional.cross_entropy(pl_module(images), labels).backward()
            optimizer.step()


@torch.no_grad()
def zero(model: torch.nn.Module) -> None:
    for parameter in model.parameters():
        parameter.zero_()

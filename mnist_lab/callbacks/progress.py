"""Progress as a bar on a terminal, and as a line an epoch in a file."""

import sys
from typing import Any

import lightning as L
from lightning.pytorch.callbacks import TQDMProgressBar
from lightning.pytorch.callbacks.progress.tqdm_progress import Tqdm
from typing_extensions import override

REFRESHES_AN_EPOCH = 20
SHOWN = ("train/loss", "train/acc", "val/loss", "val/acc")


class Progress(TQDMProgressBar):
    """Shows where a run is, a few times an epoch: a bar that is drawn at every step costs more.

    Where standard error is not a terminal, it prints a line at the end of each epoch.
    """

    def __init__(self) -> None:
        super().__init__()
        self._batches_per_refresh = 1
        self._on_terminal = sys.stderr.isatty()
        self._unprinted: int | None = None  # number of the epoch whose line is still to come

    @property
    @override
    def refresh_rate(self) -> int:
        return self._batches_per_refresh

    @override
    def setup(self, trainer: L.Trainer, pl_module: L.LightningModule, stage: str) -> None:
        super().setup(trainer, pl_module, stage)
        if not self._on_terminal:
            self.disable()

    @override
    def on_train_start(self, *arguments: Any) -> None:
        super().on_train_start(*arguments)
        batches = self.trainer.num_training_batches
        self._batches_per_refresh = max(1, int(min(batches, 10_000)) // REFRESHES_AN_EPOCH)

    @override
    def on_train_epoch_start(self, trainer: L.Trainer, *arguments: Any) -> None:
        self._print_last_epoch(trainer)
        super().on_train_epoch_start(trainer, *arguments)

    @override
    def on_train_epoch_end(self, trainer: L.Trainer, pl_module: L.LightningModule) -> None:
        super().on_train_epoch_end(trainer, pl_module)
        self._unprinted = trainer.current_epoch + 1

    @override
    def on_train_end(self, trainer: L.Trainer, *arguments: Any) -> None:
        super().on_train_end(trainer, *arguments)
        self._print_last_epoch(trainer)

    def _print_last_epoch(self, trainer: L.Trainer) -> None:
        """Print an epoch's line, after the model has logged the epoch's own metrics."""
        if self._unprinted is None or self._on_terminal or not trainer.is_global_zero:
            return
        limit = trainer.max_epochs
        total = f"/{limit}" if limit is not None and limit > 0 else ""
        values = "  ".join(f"{name} {value}" for name, value in _shown(trainer).items())
        print(f"epoch {self._unprinted}{total}  {values}", flush=True)
        self._unprinted = None

    @override
    def init_validation_tqdm(self) -> Tqdm:
        return Tqdm(disable=True)  # too short for a bar of its own

    @override
    def init_test_tqdm(self) -> Tqdm:
        return Tqdm(disable=True)

    @override
    def get_metrics(self, trainer: L.Trainer, pl_module: L.LightningModule) -> dict[str, Any]:
        return _shown(trainer)


def _shown(trainer: L.Trainer) -> dict[str, str]:
    """Return loss and accuracy, then what metrics= adds to the validation's."""
    metrics = trainer.callback_metrics
    others = [name for name in metrics if name.startswith("val/") and "class_" not in name]
    names = dict.fromkeys((*SHOWN, *others))
    return {name: f"{metrics[name]:.4f}" for name in names if name in metrics}

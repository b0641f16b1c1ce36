"""Callback that reports a trial's epochs to its sweep, and ends it when it is pruned or waits."""

from typing import Any

import lightning as L
from typing_extensions import override

from mnist_lab.errors import Paused
from mnist_lab.sweeps.trial import Trial
from mnist_lab.training.fit import own_checkpoint


class EpochReporter(L.Callback):
    """Reports the monitored value of each epoch, before anything of the next one is saved.

    It has to come before the callback that saves checkpoints: a run that is killed in between is
    resumed from before the report, which may be made twice, and not from after it, where it would
    be missing.
    """

    def __init__(self, trial: Trial, monitor: str) -> None:
        super().__init__()
        self._trial = trial
        self._monitor = monitor
        self._paused: Paused | None = None

    @override
    def on_train_epoch_start(self, trainer: L.Trainer, pl_module: L.LightningModule) -> None:
        # The end of the last epoch comes too early, as the model logs its own metrics after it.
        metrics = {name: value.item() for name, value in trainer.callback_metrics.items()}
        # A run that was just resumed has none; its last epoch was reported before.
        try:
            self._trial.end_epoch(metrics, trainer.current_epoch - 1, self._monitor)
        except Paused as paused:
            checkpoint = own_checkpoint(trainer)
            if checkpoint is None:
                raise
            checkpoint.is_asked, self._paused = True, paused

    @override
    def on_train_batch_start(
        self, trainer: L.Trainer, pl_module: L.LightningModule, batch: Any, batch_idx: int
    ) -> None:
        if self._paused is not None:  # saved by now
            raise self._paused

    @override
    def on_train_end(self, trainer: L.Trainer, pl_module: L.LightningModule) -> None:
        value = trainer.callback_metrics.get(self._monitor)
        if value is not None:
            self._trial.report(trainer.current_epoch - 1, value.item(), is_last=True)

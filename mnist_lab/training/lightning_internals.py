"""Every private name of Lightning and torch that the package relies on.

An upgrade of either is a review of this file: no other module may use one of their names that begin
with an underscore. Each one says why no public name does.
"""

import dataclasses
import os
import traceback
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import lightning as L
import torch
from lightning.pytorch.callbacks import (
    EarlyStopping,
    ModelCheckpoint,
    StochasticWeightAveraging,
)
from lightning.pytorch.loggers import TensorBoardLogger
from lightning.pytorch.loops.fetchers import _DataFetcher as DataFetcher
from lightning.pytorch.loops.fetchers import _PrefetchDataFetcher as PrefetchDataFetcher
from lightning.pytorch.loops.training_epoch_loop import _TrainingEpochLoop
from lightning.pytorch.strategies.launchers import _MultiProcessingLauncher
from lightning.pytorch.trainer.connectors import checkpoint_connector
from typing_extensions import override

__all__ = ["DataFetcher", "EpochLoop", "PrefetchDataFetcher"]

# torch's optimizers reach these kernels through Python that costs more than the step of a small
# model, and take one learning rate for all parameters.
fused_adam = torch._fused_adam_
fused_adamw = torch._fused_adamw_
fused_sgd = torch._fused_sgd_


class EpochLoop(_TrainingEpochLoop):
    """Lightning's training epoch loop, whose class has no public name."""

    @override
    def _broadcast_sigterm_tensor(self) -> None:
        """Leave signals to the lab's own handlers; Lightning's ranks talk about them every step."""

    @property
    def stepped_batches(self) -> int:
        """The step that loggers are given, which is not ``trainer.global_step``."""
        return self._batches_that_stepped

    @stepped_batches.setter
    def stepped_batches(self, count: int) -> None:
        self._batches_that_stepped = count

    @property
    def is_last_step(self) -> bool:
        """Whether the epoch has no further batch, as ``max_steps`` or the data end it."""
        return self._num_ready_batches_reached()

    def begin_logging(self, batch: Any) -> None:
        """Have ``self.log`` know the batch, whose size weights what is logged."""
        self.trainer._logger_connector.on_batch_start(batch)

    def end_logging(self) -> bool:
        """End a batch's logging; return whether ``update_step_metrics`` has anything to send."""
        if any(value.meta.on_step for value in self._results.values()):
            self.trainer._logger_connector.on_batch_end()
            return True
        self._results.batch = self._results.batch_size = None
        return False

    def update_step_metrics(self) -> None:
        """Send the metrics of a step to the loggers."""
        self.trainer._logger_connector.update_train_step_metrics()


def set_current_hook(model: L.LightningModule, name: str) -> None:
    """Tell ``self.log`` which hook it is called from, as Lightning's own callers of hooks do.

    It goes by the name's place, as ``nn.Module.__setattr__`` takes a while to find what it is.
    """
    vars(model)["_current_fx_name"] = name


def set_progress(tracker: Any, count: int) -> None:
    """Set all counts of one of Lightning's progress trackers, which have no public setter."""
    for field in dataclasses.fields(tracker):
        setattr(tracker, field.name, count)


def keep_signal_handlers(trainer: L.Trainer) -> None:
    """Keep Lightning from replacing signal handlers, with which a terminated run exits with 0."""
    trainer._signal_connector.register_signal_handlers = lambda: None  # type: ignore[method-assign]


def starts_by_copying(trainer: L.Trainer) -> bool:
    """Return whether a trainer's ranks are copies of this process, forked or with pickled objects.

    Such a copy has the lab's lock and signal handlers, and outlives the command.
    """
    return isinstance(trainer.strategy.launcher, _MultiProcessingLauncher)


def is_from_loading(error: BaseException) -> bool:
    """Return whether Lightning raised an error while it restored or saved a checkpoint's state."""
    frames = (frame for frame, _ in traceback.walk_tb(error.__traceback__))
    return any(f.f_globals.get("__name__") == checkpoint_connector.__name__ for f in frames)


def put_back_averaging(trainer: L.Trainer) -> None:
    """Have StochasticWeightAveraging replace the schedule of a run resumed after its last step.

    It does that as an epoch begins in which it averages. One epoch more follows, in which batch
    norm's statistics are measured anew.
    """
    epochs = trainer.fit_loop.epoch_progress.current
    for callback in trainer.callbacks:  # type: ignore[attr-defined]
        if (
            isinstance(callback, StochasticWeightAveraging)
            and epochs.completed == callback.swa_end + 1
        ):
            epochs.completed -= 1
            callback.on_train_epoch_start(trainer, trainer.lightning_module)
            epochs.completed += 1


def set_purge_step(logger: TensorBoardLogger, step: int | None) -> None:
    """Have a running TensorBoard forget the points from a step on, as the run is resumed there.

    The logger takes ``purge_step`` only when it is built, which is before the step is known.
    """
    logger._kwargs["purge_step"] = step


def save_memory(callback: ModelCheckpoint) -> dict[str, Any]:
    """Return what a ModelCheckpoint goes by when it saves, and leaves out of its state."""
    return {
        "last": os.path.basename(callback._last_checkpoint_saved),
        "step": callback._last_global_step_saved,
        "is_deferred": callback._defer_save_until_validation,
    }


def set_save_memory(callback: ModelCheckpoint, memory: Mapping[str, Any], folder: Path) -> None:
    """Give a ModelCheckpoint what ``save_memory`` returned, its files being in a folder."""
    last = os.path.basename(memory["last"])
    callback._last_checkpoint_saved = str(folder / last) if last else ""
    callback._last_global_step_saved = memory["step"]
    callback._defer_save_until_validation = memory["is_deferred"]


def should_stop(early_stopping: EarlyStopping, value: float) -> bool:
    """Let early stopping judge a value without a trainer, which its hooks need."""
    stops, _ = early_stopping._evaluate_stopping_criteria(torch.tensor(value))
    return bool(stops)

"""Fits, validates and tests a stack's LightningModule with a Lightning Trainer."""

from collections.abc import Callable, Iterable, Sequence
from typing import Any

import lightning as L
import torch
from lightning.pytorch.callbacks import Timer
from lightning.pytorch.profilers import PassThroughProfiler
from lightning.pytorch.strategies import SingleDeviceStrategy
from omegaconf import DictConfig
from typing_extensions import override

from mnist_lab.config.allowlist import is_shipped_package
from mnist_lab.data import MNISTDataModule
from mnist_lab.models import Classifier
from mnist_lab.training.checkpoints.resume_state import Snapshot, put_back_position
from mnist_lab.training.epoch_loop import FastEpochLoop, use_fast_loop
from mnist_lab.training.lightning_internals import DataFetcher, PrefetchDataFetcher
from mnist_lab.training.shared_cores import gives_way
from mnist_lab.training.stacked.data import StackedData
from mnist_lab.training.stacked.module import Metrics, Stack

PARAMETERS_AT_ONCE = 4_000_000  # of a stack on a CPU, measured: 64 MLPs 784-65-65-10, 8 of 512-256
_STACKED_TARGETS = {"mnist_lab.data.MNISTDataModule"}
FEWEST, MOST = 8, 512  # trials of a stack
_BYTES = 16  # of a parameter: itself, its gradient and the two moments of Adam
_WITHIN_STEP = ("on_before_zero_grad", "on_before_backward", "on_after_backward")
_BEFORE_STEP = "on_before_optimizer_step"  # which the stack itself has
PRECISIONS = ("32-true", "bf16-mixed", "64-true")  # of stacks by torch.func; others have the first


def max_stack(model: Classifier, device: torch.device) -> int:
    """Return the size of a stack of a model's kind: on a CPU the one that trains fastest.

    There larger stacks fall out of the caches, and in smaller ones the overhead of a step counts.
    On a GPU the larger is the faster, and half of the memory that is free is the limit.
    """
    parameters = sum(parameter.numel() for parameter in model.parameters())
    if device.type == "cuda":
        most = torch.cuda.mem_get_info(device)[0] // 2 // (_BYTES * parameters)
    else:
        most = PARAMETERS_AT_ONCE // parameters
    return max(FEWEST, min(MOST, most))


def reason_config_is_not_stacked(config: DictConfig) -> str | None:
    """Return in one line why the trials of a config are not stacked, as far as it alone says."""
    if config.data._target_ not in _STACKED_TARGETS:
        return f"{config.data._target_} is not stacked"
    if config.get("freeze"):
        return "freeze is not stacked"
    if config.trainer.callbacks:
        return "trainer.callbacks is not stacked"
    if config.trainer.fast_dev_run:
        return "trainer.fast_dev_run is not stacked"
    return None


def reason_trainer_is_not_stacked(
    trainer: L.Trainer, precisions: Sequence[str] = PRECISIONS[:1]
) -> str | None:
    """Return in one line why a trainer cannot train a stack as it trains lone models."""
    if trainer.world_size > 1:
        return "several devices are not stacked"
    for part in (trainer, trainer.strategy, trainer.precision_plugin):
        if not is_shipped_package(type(part).__module__):
            return f"{type(part).__name__} is not stacked"
    if trainer.precision not in precisions:
        known = " or ".join(precisions)
        return f"trainer.precision={trainer.precision} is not stacked, only {known}"
    if trainer.accumulate_grad_batches != 1:
        return "trainer.accumulate_grad_batches is not stacked"
    if trainer.gradient_clip_val:
        return "trainer.gradient_clip_val is not stacked: the norm would be that of all trials"
    if trainer.val_check_interval != 1.0:
        return "trainer.val_check_interval is not stacked: trials are compared by epoch"
    if (trainer.min_epochs or 0) > 1 or trainer.min_steps:
        return "trainer.min_epochs and trainer.min_steps are not stacked"
    callbacks = trainer.callbacks  # type: ignore[attr-defined]
    if any(isinstance(callback, Timer) for callback in callbacks):
        return "trainer.max_time is not stacked: the time would be that of all trials"
    return None


class StackEpochLoop(FastEpochLoop):
    """The fast loop for a stack, which on a GPU replays its steps where it can.

    A replayed step is over when the hook before the optimizer's step is called.
    """

    @override
    def _is_simple(self, data_fetcher: DataFetcher) -> bool:
        return (
            type(self.trainer.strategy) is SingleDeviceStrategy
            and type(self.trainer.profiler) is PassThroughProfiler
            and type(data_fetcher) is PrefetchDataFetcher
            and reason_trainer_is_not_stacked(self.trainer, PRECISIONS) is None
        )

    @override
    def _step(self, batch: Any, batch_idx: int) -> dict[str, Any]:
        stack, hooks = self.trainer.lightning_module, self._hooks
        assert isinstance(stack, Stack)
        assert hooks is not None
        loss = None
        if not any(hooks[name] for name in _WITHIN_STEP) and len(hooks[_BEFORE_STEP]) == 1:
            context = self.trainer.precision_plugin.train_step_context
            loss = stack.replayed_step(batch, context)
        if loss is None:
            return super()._step(batch, batch_idx)
        counters = self.automatic_optimization.optim_progress.optimizer
        counters.step.increment_ready()
        for increment in ("ready", "started", "completed"):
            getattr(counters.zero_grad, f"increment_{increment}")()
        self._run(_BEFORE_STEP, self.trainer.optimizers[0])
        counters.step.increment_completed()
        return {"loss": loss}


def fit(
    stack: Stack,
    datamodule: MNISTDataModule,
    trainer: L.Trainer,
    on_epoch_end: Callable[[int, Metrics], Iterable[int]] | None = None,
    on_log: Callable[[int, Metrics], None] | None = None,
    position: Snapshot | None = None,
) -> None:
    """Train a stack.

    Args:
        stack: the trials.
        datamodule: the data module of any trial; they agree in all but their seeds.
        trainer: a trainer for which ``reason_trainer_is_not_stacked`` returns None.
        on_epoch_end: takes the number of an epoch and the metrics of each trial in the stack
            (train/loss, train/acc, time/epoch in seconds, val/loss and val/acc if it validated),
            and returns the trials that leave. It may call ``unstack``.
        on_log: takes a step and each trial's train/loss_step, train/acc_step and lr, every
            ``trainer.log_every_n_steps``.
        position: the end of the epoch that all trials are resumed from; None begins.

    Raises:
        ConfigError: a schedule or an optimizer cannot be built.
    """
    stack.on_epoch_end, stack.on_log = on_epoch_end, on_log
    use_fast_loop(trainer, StackEpochLoop)
    if position is not None:
        put_back_position(trainer, position)
    with gives_way():
        trainer.fit(stack, StackedData(datamodule, lambda: stack.streams))


def evaluate(stack: Stack, datamodule: MNISTDataModule, trainer: L.Trainer) -> Metrics:
    """Return each trial's metrics of validation, where there are images for it, and of test."""
    datamodule = StackedData(datamodule, lambda: stack.streams)
    if datamodule.val_size and trainer.limit_val_batches:
        trainer.validate(stack, datamodule, verbose=False)
    trainer.test(stack, datamodule, verbose=False)
    return {
        trial: {name: metrics[name] for name in metrics if name.startswith(("val/", "test/"))}
        for trial, metrics in stack.metrics.items()
    }

"""Lightning's loop over the steps of an epoch, with less between two of them.

Lightning reaches a step through some forty lookups, contexts and closures, which for a small MLP
cost half as much as the step itself. ``FastEpochLoop`` does the same in the same order, looking up
once an epoch what does not change within it. A run that uses anything it does not know
(several devices, gradient accumulation or clipping, a profiler, a scaler, hooks or a training step
of its own) goes through Lightning's code. The tests hold both to the same bits.
"""

import inspect
import os
from collections.abc import Callable, Sequence
from typing import Any

import lightning as L
import torch
from lightning.pytorch.core.hooks import DataHooks
from lightning.pytorch.plugins.precision import MixedPrecision, Precision
from lightning.pytorch.profilers import PassThroughProfiler
from lightning.pytorch.strategies import SingleDeviceStrategy
from lightning.pytorch.utilities.model_helpers import is_overridden
from lightning.pytorch.utilities.types import LRSchedulerConfig
from torch import Tensor
from typing_extensions import override

from mnist_lab.models import Classifier
from mnist_lab.training.lightning_internals import (
    DataFetcher,
    EpochLoop,
    PrefetchDataFetcher,
    set_current_hook,
    set_progress,
)

_Hook = Callable[..., Any]
_NVML_CHECK = "PYTORCH_NVML_BASED_CUDA_CHECK"
_STEP_HOOKS = (
    "on_train_batch_start",
    "on_before_zero_grad",
    "on_before_backward",
    "on_after_backward",
    "on_before_optimizer_step",
    "on_train_batch_end",
)
_MUST_BE_LIGHTNINGS = (
    "backward",
    "configure_gradient_clipping",
    "lr_scheduler_step",
    "optimizer_step",
    "on_before_batch_transfer",
    "on_after_batch_transfer",
    "transfer_batch_to_device",
)


def use_fast_loop(trainer: L.Trainer, kind: "type[FastEpochLoop] | None" = None) -> None:
    """Give a trainer that has not started yet the fast epoch loop, or a given kind of it.

    Importing Lightning sets a variable by which ``torch.cuda.is_available``, which every step of a
    torch with CUDA calls, loads NVIDIA's management library again each time: 0.15 ms. Training on
    a CPU turns it off for the rest of the process.
    """
    if trainer.strategy.root_device.type == "cpu":
        os.environ[_NVML_CHECK] = "0"
    old = trainer.fit_loop.epoch_loop
    trainer.fit_loop.epoch_loop = (kind or FastEpochLoop)(
        trainer, min_steps=old.min_steps, max_steps=old.max_steps
    )


class FastEpochLoop(EpochLoop):
    """Runs the steps of an epoch."""

    _hooks: dict[str, list[_Hook]] | None = None  # by name; None where Lightning's code runs
    _step_schedules: Sequence[LRSchedulerConfig] = ()  # that step every so many batches
    start_batch = 0  # batches of the first epoch that were done before the run was stopped
    before_epoch: Callable[[], None] | None = None  # called before the data of an epoch is begun
    before_batch: Callable[[int], None] | None = None  # called with the number of each batch

    @override
    def reset(self) -> None:
        super().reset()
        if done := self.start_batch:
            set_progress(self.batch_progress.current, done)

    @override
    def on_run_start(self, data_fetcher: DataFetcher) -> None:
        if self.before_epoch is not None:
            self.before_epoch()
        super().on_run_start(data_fetcher)
        if self.start_batch:
            self._skip_batches(data_fetcher)
            self.start_batch = 0
        self._hooks = self._find_hooks() if self._is_simple(data_fetcher) else None
        self._step_schedules = [
            config
            for config in self.trainer.lr_scheduler_configs
            if config.interval == "step" and not config.reduce_on_plateau
        ]

    def _skip_batches(self, data_fetcher: DataFetcher) -> None:
        """Begin where the run was stopped; a loader that is not the lab's is read up to there."""
        loaders = data_fetcher.combined_loader.flattened
        if all(hasattr(loader, "start_batch") for loader in loaders):
            for loader in loaders:
                loader.start_batch = self.start_batch
            return
        # A fetcher that knows the length counts what it has fetched; another one holds a batch.
        batches = data_fetcher.iterator if data_fetcher.length is not None else data_fetcher
        assert batches is not None
        for _ in range(self.start_batch):
            next(batches)

    def _is_simple(self, data_fetcher: DataFetcher) -> bool:
        trainer, model = self.trainer, self.trainer.lightning_module
        precision = trainer.precision_plugin
        return (
            type(trainer.strategy) is SingleDeviceStrategy
            and type(trainer.profiler) is PassThroughProfiler
            and type(data_fetcher) is PrefetchDataFetcher
            and (
                type(precision) is Precision
                or (type(precision) is MixedPrecision and precision.scaler is None)
            )
            and model.automatic_optimization
            and not any(map(_may_need_closure, trainer.optimizers))
            and trainer.accumulate_grad_batches == 1
            and not trainer.gradient_clip_val
            and not is_overridden("training_step", model, parent=Classifier)
            and not any(is_overridden(name, model) for name in _MUST_BE_LIGHTNINGS)
            and not any(
                is_overridden(name, trainer.datamodule, parent=DataHooks)
                for name in _MUST_BE_LIGHTNINGS[-3:]
            )
        )

    def _find_hooks(self) -> dict[str, list[_Hook]]:
        """Return the hooks that are overridden, bound: callbacks first, then the model's."""
        trainer, model = self.trainer, self.trainer.lightning_module
        hooks: dict[str, list[_Hook]] = {}
        for name in _STEP_HOOKS:
            hooks[name] = [
                _bound_to_run(getattr(callback, name), trainer)
                for callback in trainer.callbacks
                if is_overridden(name, callback)
            ]
            if is_overridden(name, model):
                hooks[name].append(getattr(model, name))
        return hooks

    @override
    def advance(self, data_fetcher: DataFetcher) -> None:
        if self.before_batch is not None:
            self.before_batch(self.batch_idx + 1)
        if self._hooks is None or self.restarting:
            super().advance(data_fetcher)
            return
        self.val_loop.restarting = False
        trainer, progress = self.trainer, self.batch_progress
        batch, _, _ = next(data_fetcher)
        batch_idx = self.batch_idx + 1
        progress.is_last_batch = data_fetcher.done
        if not _is_on(batch, trainer.strategy.root_device):
            batch = trainer.strategy.batch_to_device(batch, dataloader_idx=0)
        progress.increment_ready()
        self.begin_logging(batch)
        answers = self._run("on_train_batch_start", batch, batch_idx)
        if answers and self._is_skip(answers[-1]):
            progress.increment_by(0, is_last_batch=True)
            raise StopIteration
        progress.increment_started()
        outputs = self._step(batch, batch_idx)
        progress.increment_processed()
        for config in self._step_schedules:
            if (batch_idx + 1) % config.frequency == 0:
                self.scheduler_progress.increment_ready()
                config.scheduler.step()  # type: ignore[call-arg]
                self.scheduler_progress.increment_completed()
        if self.is_last_step:
            self.update_lr_schedulers("epoch", update_plateau_schedulers=False)
        self._run("on_train_batch_end", outputs, batch, batch_idx)
        has_step_metrics = self.end_logging()
        progress.increment_completed()
        if has_step_metrics:
            self.update_step_metrics()

    def _is_skip(self, answer: Any) -> bool:
        """Return whether the model, the last to be asked, skips the rest of the epoch."""
        if not isinstance(answer, int) or answer != -1:
            return False
        return bool(is_overridden("on_train_batch_start", self.trainer.lightning_module))

    def _step(self, batch: Any, batch_idx: int) -> dict[str, Any]:
        trainer, model = self.trainer, self.trainer.lightning_module
        counters = self.automatic_optimization.optim_progress.optimizer
        optimizer = trainer.optimizers[0]
        counters.step.increment_ready()
        set_current_hook(model, "training_step")
        with trainer.precision_plugin.train_step_context():
            loss = model.training_step(batch, batch_idx)
        counters.zero_grad.increment_ready()
        self._run("on_before_zero_grad", optimizer)
        counters.zero_grad.increment_started()
        model.optimizer_zero_grad(trainer.current_epoch, batch_idx, optimizer)
        counters.zero_grad.increment_completed()
        self._run("on_before_backward", loss)
        loss.backward()
        self._run("on_after_backward")
        self._run("on_before_optimizer_step", optimizer)
        optimizer.step()
        counters.step.increment_completed()
        return {"loss": loss.detach()}

    def _run(self, name: str, *arguments: Any) -> list[Any]:
        """Call the hooks of a name, each knowing its name as ``self.log`` needs it."""
        assert self._hooks is not None
        if not (hooks := self._hooks[name]):
            return []
        set_current_hook(self.trainer.lightning_module, name)
        return [hook(*arguments) for hook in hooks]


def _may_need_closure(optimizer: torch.optim.Optimizer) -> bool:
    """Return whether a step may evaluate the model again: that of L-BFGS, or one of one's own.

    One's own is given a closure by Lightning, and need not do without where it is optional.
    """
    step = type(optimizer).step
    closure = inspect.signature(step).parameters.get("closure")
    is_optional = closure is None or closure.default is not inspect.Parameter.empty
    return not (is_optional and step.__module__.startswith("torch.optim."))


def _is_on(batch: Any, device: torch.device) -> bool:
    """Return whether a batch is a tuple or list of tensors that are all on a device."""
    return isinstance(batch, tuple | list) and all(
        isinstance(part, Tensor) and part.device == device for part in batch
    )


def _bound_to_run(hook: _Hook, trainer: L.Trainer) -> _Hook:
    model = trainer.lightning_module
    return lambda *arguments: hook(trainer, model, *arguments)

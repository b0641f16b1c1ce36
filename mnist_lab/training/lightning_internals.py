"""Every private name of Lightning, torch and torchmetrics that the package relies on.

An upgrade of one is a review of this file: no other module may use one of their names that begin
with an underscore. Each one says why no public name does.
"""

import dataclasses
import os
import traceback
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import lightning as L
import torch
from lightning.fabric.utilities import move_data_to_device
from lightning.pytorch.callbacks import (
    EarlyStopping,
    ModelCheckpoint,
    StochasticWeightAveraging,
)
from lightning.pytorch.loggers import CSVLogger, TensorBoardLogger
from lightning.pytorch.loops.fetchers import _DataFetcher as DataFetcher
from lightning.pytorch.loops.fetchers import _PrefetchDataFetcher as PrefetchDataFetcher
from lightning.pytorch.loops.training_epoch_loop import _TrainingEpochLoop
from lightning.pytorch.strategies.launchers import _MultiProcessingLauncher
from lightning.pytorch.trainer.connectors import checkpoint_connector
from torch import nn
from torchmetrics import Metric, MetricCollection
from typing_extensions import override

__all__ = ["DataFetcher", "EpochLoop", "PrefetchDataFetcher"]
SUMS = ("value", "cumulated_batch_size", "_forward_cache")  # of what `self.log` keeps
_REDUCTIONS = {"mean": torch.mean, "sum": torch.sum, "max": torch.max, "min": torch.min}
LOG_SETTINGS = (
    *("fx", "name", "prog_bar", "logger", "on_step", "on_epoch", "enable_graph"),
    *("add_dataloader_idx", "metric_attribute"),
)
"""Arguments of ``self.log`` that are kept as they were given."""

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

    def logged(self) -> list[dict[str, Any]]:
        """Return what ``self.log`` was given in the epoch so far, as it keeps it for the means."""
        kept = [metric for metric in self._results.values() if not metric.has_reset]
        return [_logged(metric) for metric in kept if metric.meta.reduce_fx in _REDUCTIONS.values()]

    def put_back_logged(self, values: Sequence[Mapping[str, Any]]) -> None:
        """Continue the means from what ``logged`` returned, before an epoch's first step.

        Raises:
            KeyError: a value is of a metric that the model does not have.
        """
        modules = dict(self.trainer.lightning_module.named_modules())
        for value in values:
            meta = {**value["meta"], "reduce_fx": _REDUCTIONS[value["meta"]["reduce_fx"]]}
            attribute = meta["metric_attribute"]
            given = torch.zeros(()) if attribute is None else modules[attribute]
            if (key := f"{meta['fx']}.{meta['name']}") not in self._results:
                self._results.log(
                    **meta,
                    value=given,
                    batch_size=1,
                    sync_dist_fn=self.trainer.strategy.reduce,
                )
            metric = self._results[key]
            device = self.trainer.strategy.root_device
            for name, state in value["sums"].items():
                setattr(metric, name, state.to(device))
            metric.to(device)
        if values:  # else the first value that is logged resets them
            self.trainer._logger_connector._first_loop_iter = False


def _logged(metric: Any) -> dict[str, Any]:
    meta, sums = metric.meta, {}
    if metric.is_tensor:
        held = {name: getattr(metric, name, None) for name in SUMS}
        sums = {name: value.cpu() for name, value in held.items() if value is not None}
    settings = {name: getattr(meta, name) for name in LOG_SETTINGS}
    settings |= {"sync_dist": meta.sync.should, "rank_zero_only": meta.sync.rank_zero_only}
    return {"meta": {**settings, "reduce_fx": meta.reduce_fx.__name__}, "sums": sums}


def metric_states(model: L.LightningModule) -> dict[str, dict[str, Any]]:
    """Return the states of a model's torchmetrics metrics, which its ``state_dict`` lacks."""
    for module in model.modules():
        if isinstance(module, MetricCollection):
            module.values()  # has all of a group the state of the one that is updated
    return {
        name: {"count": metric.update_count, "states": dict(metric.metric_state)}
        for name, metric in model.named_modules()
        if isinstance(metric, Metric) and metric.update_count
    }


def set_metric_states(model: L.LightningModule, states: Mapping[str, dict[str, Any]]) -> None:
    """Give a model's metrics the states that ``metric_states`` returned.

    Raises:
        KeyError: they are of other metrics.
    """
    modules = dict(model.named_modules())
    for name, state in states.items():
        metric, values = modules.get(name), state["states"]
        if not isinstance(metric, Metric) or metric.metric_state.keys() != values.keys():
            raise KeyError(name)
        for key, value in values.items():
            if _form(value) != _form(metric._defaults[key]):
                raise KeyError(f"{name}.{key}")
            setattr(metric, key, move_data_to_device(value, metric.device))
        metric._update_count, metric._computed = state["count"], None


def _form(state: Any) -> object:
    return list if isinstance(state, list) else state.shape


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


def leave_out_of_logs(model: L.LightningModule, name: str) -> None:
    """Have loggers, which write a model's hyperparameters as YAML, not be given this one."""
    hyperparameters: Any = getattr(model, "_hparams_initial", {})  # of one that saves none
    hyperparameters.pop(name, None)


def set_version(logger: TensorBoardLogger | CSVLogger, version: int | str) -> None:
    """Have a logger use another version than the next one, which it chose when it was built."""
    logger._version = version


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


def has_hooks(model: nn.Module, *, forward: bool = False) -> bool:
    """Return whether gradients go through hooks, or with ``forward`` also activations.

    A parameter's hooks are neither public nor copied with it.
    """
    names = ["_backward_hooks", "_backward_pre_hooks", "_post_accumulate_grad_hooks"]
    if forward:
        names += ["_forward_hooks", "_forward_pre_hooks"]
    parts = (*model.modules(), *model.parameters())
    return any(getattr(part, name, None) for part in parts for name in names)


def should_stop(early_stopping: EarlyStopping, value: float) -> bool:
    """Let early stopping judge a value without a trainer, which its hooks need."""
    stops, _ = early_stopping._evaluate_stopping_criteria(torch.tensor(value))
    return bool(stops)

"""State besides Lightning's own that a checkpoint needs so that a run is resumed bit for bit.

A snapshot is taken where a training step is about to begin, or after the last one: nothing is half
done there. It holds the position in the data, each rank's random generators and running sums, the
metrics that callbacks look at, and the lengths of the log files. A resumed run's loops start at
that position as if they had arrived there themselves; Lightning's own way back into an epoch, which
repeats or skips parts of it, is not taken.
"""

import contextlib
import random
from collections.abc import Callable, Mapping
from dataclasses import dataclass, fields
from pathlib import Path
from typing import Any

import lightning as L
import numpy as np
import torch
from torch import Tensor

from mnist_lab.errors import InputError
from mnist_lab.models import Classifier
from mnist_lab.training.epoch_loop import FastEpochLoop
from mnist_lab.training.lightning_internals import (
    LOG_SETTINGS,
    SUMS,
    metric_states,
    set_metric_states,
    set_progress,
)
from mnist_lab.training.loggers.resume_logs import log_lengths

_NUMPY_WORDS = 624  # of the Mersenne Twister's state; its position is among them, or at their end
KEY = "mnist_lab"  # of the snapshot in a checkpoint


@dataclass(frozen=True)
class Snapshot:
    """The position and state of a run.

    Args:
        epoch: epochs that are done.
        batch: batches of the current epoch that are done.
        step: optimizer steps taken.
        total_batches: batches of all epochs that are done.
        logged_steps: the step that Lightning passes to loggers.
        is_finished: whether all steps were taken.
        ranks: for each rank its random generators, now and where the data of the epoch began, and
            the sums and states of its metrics.
        metrics: what callbacks look at, such as ``val/acc``, as tensors of one element.
        logs: for each logger the lengths of its files.
        is_best: whether the weights are the best so far.
        goes_further: whether the run's length has changed since.
    """

    epoch: int
    batch: int
    step: int
    total_batches: int
    logged_steps: int
    is_finished: bool
    ranks: list[dict[str, Any]]
    metrics: dict[str, Tensor]
    logs: list[dict[str, int]]
    is_best: bool
    goes_further: bool = False

    def to_dict(self) -> dict[str, Any]:
        """Return the form that is stored, of builtins and tensors."""
        return {field.name: getattr(self, field.name) for field in fields(self)}


def read_snapshot(path: Path, checkpoint: Mapping[str, Any]) -> Snapshot:
    """Return the snapshot in a checkpoint's content, which may come from others.

    Raises:
        InputError: it is missing or wrong.
    """
    refused = f"{path}: a run cannot be resumed from it"
    state = {"goes_further": False, **checkpoint.get(KEY, {})}  # which earlier versions lack
    values = {}
    for field in fields(Snapshot):
        with contextlib.suppress(Exception):  # whatever a wrong type leads to
            if _CHECKS[field.name](state[field.name]):
                values[field.name] = state[field.name]
                continue
        raise InputError(f"{refused}: {KEY}.{field.name} is missing or wrong")
    snapshot = Snapshot(**values)
    if snapshot.batch > snapshot.total_batches:
        raise InputError(f"{refused}: more batches in an epoch than in all")
    return snapshot


def take(
    trainer: L.Trainer,
    batch: int,
    is_finished: bool,
    is_best: bool,
    data_random: Mapping[str, Any] | None = None,
) -> Snapshot:
    """Return the snapshot of all ranks, each of which calls this, in or at the end of an epoch.

    ``data_random`` are the random generators where the data of the epoch began; None is the same as
    now.
    """
    epochs: Any = trainer.fit_loop.epoch_progress.current
    epoch_loop = trainer.fit_loop.epoch_loop
    assert isinstance(epoch_loop, FastEpochLoop)
    ranks: list[Any] = [None] * trainer.world_size
    if trainer.world_size > 1:
        torch.distributed.all_gather_object(ranks, _rank_state(trainer, data_random))
    else:
        ranks[0] = _rank_state(trainer, data_random)
    return Snapshot(
        epoch=epochs.processed,
        batch=batch,
        step=trainer.global_step,
        total_batches=epoch_loop.batch_progress.total.completed,
        logged_steps=epoch_loop.stepped_batches,
        is_finished=is_finished,
        ranks=ranks,
        metrics={name: value.detach().cpu() for name, value in trainer.callback_metrics.items()},
        logs=log_lengths(trainer.loggers) if trainer.is_global_zero else [],
        is_best=is_best,
    )


def _rank_state(trainer: L.Trainer, data_random: Mapping[str, Any] | None) -> dict[str, Any]:
    model, epoch_loop = trainer.lightning_module, trainer.fit_loop.epoch_loop
    assert isinstance(epoch_loop, FastEpochLoop)
    running = model.running_state() if isinstance(model, Classifier) else None
    optional = {
        "data_random": data_random,
        "logged": epoch_loop.logged(),
        "metrics": metric_states(model),
    }
    state = {"random": random_state(model.device), "running": running}
    return state | {name: value for name, value in optional.items() if value}


def further(state: Mapping[str, Any]) -> dict[str, Any]:
    """Return a stored snapshot for a run that has become longer, which the snapshot may have ended.

    The sums of its last epoch are not those of the next.
    """
    over: dict[str, Any] = {"running": None, "logged": []} if state["is_finished"] else {}
    ranks = [{**rank, **over} for rank in state["ranks"]]
    return {**state, "ranks": ranks, "is_finished": False, "goes_further": True}


def put_back_position(trainer: L.Trainer, snapshot: Snapshot) -> None:
    """Have a trainer that has not started yet begin at a snapshot's position."""
    loop, epoch_loop = trainer.fit_loop, trainer.fit_loop.epoch_loop
    assert isinstance(epoch_loop, FastEpochLoop)
    for tracker in (loop.epoch_progress.total, loop.epoch_progress.current):
        set_progress(tracker, snapshot.epoch)
    set_progress(epoch_loop.batch_progress.total, snapshot.total_batches)
    optimizer = epoch_loop.automatic_optimization.optim_progress.optimizer
    set_progress(optimizer.step.total, snapshot.step)
    set_progress(optimizer.zero_grad.total, snapshot.step)
    set_progress(epoch_loop.manual_optimization.optim_step_progress.total, snapshot.step)
    epoch_loop.stepped_batches = snapshot.logged_steps
    epoch_loop.start_batch = snapshot.batch
    trainer.should_stop = snapshot.is_finished


def put_back_rank(trainer: L.Trainer, snapshot: Snapshot) -> None:
    """Restore this rank's random generators and sums where the first step is about to begin.

    There are none to restore with another number of ranks than the snapshot's, or no step left.
    """
    trainer.callback_metrics.update(snapshot.metrics)
    if snapshot.is_finished or len(snapshot.ranks) != trainer.world_size:
        return
    model, state = trainer.lightning_module, snapshot.ranks[trainer.global_rank]
    if isinstance(model, Classifier) and state["running"] is not None:
        model.restore_running_state(state["running"])
    epoch_loop = trainer.fit_loop.epoch_loop
    assert isinstance(epoch_loop, FastEpochLoop)
    try:
        epoch_loop.put_back_logged(state.get("logged", []))
        set_metric_states(model, state.get("metrics", {}))
    except KeyError as error:
        raise InputError(
            f"{trainer.ckpt_path}: has sums of the metric {error}, which the model lacks"
        ) from error
    _set_random_state(state["random"], model.device)


def put_back_data(trainer: L.Trainer, snapshot: Snapshot) -> None:
    """Restore this rank's random generators where the data of the snapshot's epoch begins.

    Loaders of one's own draw its order from them.
    """
    if len(snapshot.ranks) == trainer.world_size:
        state = snapshot.ranks[trainer.global_rank]
        _set_random_state(
            state.get("data_random", state["random"]), trainer.lightning_module.device
        )


def random_state(device: torch.device) -> dict[str, Any]:
    """Return the state of all random generators that training on a device draws from."""
    numpy_state: Any = np.random.get_state()  # noqa: NPY002 - other code draws from it
    name, keys, *rest = numpy_state
    state: dict[str, Any] = {
        "python": random.getstate(),
        "numpy": (name, torch.from_numpy(keys.astype(np.int64)), *rest),
        "torch": torch.get_rng_state(),
    }
    if device.type == "cuda":
        state["cuda"] = torch.cuda.get_rng_state(device)
    elif device.type == "mps":
        state["mps"] = torch.mps.get_rng_state()
    return state


def _set_random_state(state: dict[str, Any], device: torch.device) -> None:
    random.setstate(state["python"])
    name, keys, *rest = state["numpy"]
    np.random.set_state((name, keys.numpy().astype(np.uint32), *rest))  # noqa: NPY002
    torch.set_rng_state(state["torch"])
    if device.type == "cuda" and "cuda" in state:
        torch.cuda.set_rng_state(state["cuda"], device)
    elif device.type == "mps" and "mps" in state:
        torch.mps.set_rng_state(state["mps"])


def is_count(value: Any) -> bool:
    """Return whether a value that was read is a whole number of plausible size."""
    return type(value) is int and 0 <= value < 2**53


def _is_rank(state: Any) -> bool:
    """Return whether a rank's state is one that its random generators and its model take."""
    running = state["running"]
    if not all(map(_are_generators, (state["random"], state.get("data_random", state["random"])))):
        return False
    if not _are_metrics(state.get("logged", {}), state.get("metrics", {})):
        return False
    if not running:
        return running is None or running == {}
    sums, recent = running["sums"], running["recent"]
    return (
        sums.shape == (3,) and recent.dim() == 2 and len(recent) == 3 and sums.is_floating_point()
    )


def _are_generators(generators: Any) -> bool:
    random.Random().setstate(generators["python"])
    name, keys, *rest = generators["numpy"]
    if len(keys) != _NUMPY_WORDS or not 0 <= rest[0] <= _NUMPY_WORDS:  # numpy takes any position
        return False
    np.random.RandomState().set_state((name, keys.numpy().astype(np.uint32), *rest))
    torch.Generator().set_state(generators["torch"])
    return True


def _are_metrics(logged: Any, metrics: Any) -> bool:
    """Return whether states are those of ``EpochLoop.logged`` and ``metric_states``."""
    states = [value for one in metrics.values() for value in one["states"].values()]
    return (
        all(map(_is_logged, logged))
        and all(is_count(one["count"]) for one in metrics.values())
        and all(isinstance(value, Tensor | list) for value in states)
    )


def _is_logged(value: Any) -> bool:
    sums, meta = value["sums"], dict(value["meta"])
    texts = meta.pop("fx"), meta.pop("name"), meta.pop("reduce_fx")
    attribute = meta.pop("metric_attribute")
    return (
        all(isinstance(text, str) for text in (*texts, "" if attribute is None else attribute))
        and all(isinstance(setting, bool) for setting in meta.values())
        and meta.keys() <= {*LOG_SETTINGS, "sync_dist", "rank_zero_only"}
        and all(isinstance(state, Tensor) and state.numel() == 1 for state in sums.values())
        and sums.keys() <= set(SUMS)
    )


def _are_lengths(value: Any) -> bool:
    return isinstance(value, dict) and all(
        isinstance(name, str) and Path(name).name == name and is_count(length)
        for name, length in value.items()
    )


_CHECKS: dict[str, Callable[[Any], bool]] = {
    **dict.fromkeys(("epoch", "batch", "step", "total_batches", "logged_steps"), is_count),
    **dict.fromkeys(
        ("is_finished", "is_best", "goes_further"), lambda value: isinstance(value, bool)
    ),
    "ranks": lambda value: isinstance(value, list) and value != [] and all(map(_is_rank, value)),
    "metrics": lambda value: all(metric.numel() == 1 for metric in value.values()),
    "logs": lambda value: isinstance(value, list) and all(map(_are_lengths, value)),
}

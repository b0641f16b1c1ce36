"""What a checkpoint needs besides Lightning's own so that a run goes on bit for bit.

A snapshot is taken where a training step is about to begin, or where all have been taken: nothing
is half done there. It holds the position in the data, the random generators and what the epoch has
gathered of each rank, the metrics that callbacks look at, and how long the log files were. Going
on, the loops start at that position as if they had come there themselves; Lightning's own way back
into an epoch, which repeats or skips parts of it, is not taken.
"""

import os
import random
from collections.abc import Iterable
from pathlib import Path
from typing import Any

import lightning as L
import numpy as np
import torch
from lightning.pytorch.loggers import CSVLogger, Logger, TensorBoardLogger

from mnist_lab.errors import InputError
from mnist_lab.files.atomic import write_atomic
from mnist_lab.files.tensorboard import EVENTS
from mnist_lab.models import Classifier
from mnist_lab.training.epoch_loop import FastEpochLoop
from mnist_lab.training.lightning_internals import set_progress, set_purge_step

KEY = "mnist_lab"  # of the snapshot in a checkpoint
_CSV_KEPT = ".metrics.csv.kept"


def take(trainer: L.Trainer, batch: int, is_finished: bool) -> dict[str, Any]:
    """Return the snapshot of all ranks, each of which has to call this.

    Args:
        trainer: what trains.
        batch: batches of the current epoch that are done.
        is_finished: whether all steps were taken.
    """
    epochs: Any = trainer.fit_loop.epoch_progress.current
    epoch_loop = trainer.fit_loop.epoch_loop
    assert isinstance(epoch_loop, FastEpochLoop)
    ranks: list[Any] = [None] * trainer.world_size
    if trainer.world_size > 1:
        torch.distributed.all_gather_object(ranks, _rank_state(trainer))
    else:
        ranks[0] = _rank_state(trainer)
    return {
        "epoch": epochs.processed,
        "batch": batch,
        "step": trainer.global_step,
        "total_batches": epoch_loop.batch_progress.total.completed,
        "logged_steps": epoch_loop.stepped_batches,
        "is_finished": is_finished,
        "ranks": ranks,
        "metrics": {name: value.detach().cpu() for name, value in trainer.callback_metrics.items()},
        "logs": log_lengths(trainer.loggers) if trainer.is_global_zero else [],
    }


def _rank_state(trainer: L.Trainer) -> dict[str, Any]:
    model = trainer.lightning_module
    running = model.running_state() if isinstance(model, Classifier) else None
    return {"random": random_state(model.device), "running": running}


def put_back_position(trainer: L.Trainer, snapshot: dict[str, Any]) -> None:
    """Have a trainer that has not started yet begin at a snapshot's position."""
    loop, epoch_loop = trainer.fit_loop, trainer.fit_loop.epoch_loop
    for tracker in (loop.epoch_progress.total, loop.epoch_progress.current):
        set_progress(tracker, snapshot["epoch"])
    set_progress(epoch_loop.batch_progress.total, snapshot["total_batches"])
    optimizer = epoch_loop.automatic_optimization.optim_progress.optimizer
    set_progress(optimizer.step.total, snapshot["step"])
    set_progress(optimizer.zero_grad.total, snapshot["step"])
    assert isinstance(epoch_loop, FastEpochLoop)
    epoch_loop.stepped_batches = snapshot["logged_steps"]
    epoch_loop.start_batch = snapshot["batch"]
    trainer.should_stop = snapshot["is_finished"]


def put_back_rank(trainer: L.Trainer, snapshot: dict[str, Any]) -> None:
    """Give this rank's random generators and sums back where the first step is about to begin.

    There are none to give with another number of ranks than the snapshot's, or no step left.
    """
    trainer.callback_metrics.update(snapshot["metrics"])
    if snapshot["is_finished"] or len(snapshot["ranks"]) != trainer.world_size:
        return
    model, state = trainer.lightning_module, snapshot["ranks"][trainer.global_rank]
    if isinstance(model, Classifier) and state["running"] is not None:
        model.restore_running_state(state["running"])
    _set_random_state(state["random"], model.device)


def random_state(device: torch.device) -> dict[str, Any]:
    """Return the state of all random generators that training on a device draws from."""
    numpy_state: Any = np.random.get_state()  # noqa: NPY002 - the state of others' code is kept
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


def log_lengths(loggers: Iterable[Logger]) -> list[dict[str, int]]:
    """Return for each logger the bytes of its event files, or the rows of its CSV file."""
    lengths: list[dict[str, int]] = []
    for logger in loggers:
        found: dict[str, int] = {}
        if isinstance(logger, TensorBoardLogger):
            logger.experiment.flush()
            for path in Path(logger.log_dir).glob(EVENTS):
                with open(path, "rb") as file:
                    os.fsync(file.fileno())
                found[path.name] = path.stat().st_size
        elif isinstance(logger, CSVLogger):
            logger.save()
            path = Path(logger.log_dir, logger.experiment.NAME_METRICS_FILE)
            if path.exists():
                content = path.read_bytes()
                found[path.name] = len(content.splitlines())
                # Lightning writes the file anew, in place, whenever there is a new column.
                write_atomic(path.with_name(_CSV_KEPT), content)
        lengths.append(found)
    return lengths


def drop_kept(loggers: Iterable[Logger]) -> None:
    """Remove what was kept for a run to go on with, once it has ended."""
    for logger in loggers:
        if isinstance(logger, CSVLogger):
            Path(logger.log_dir, _CSV_KEPT).unlink(missing_ok=True)


def rewind(loggers: Iterable[Logger], snapshot: dict[str, Any] | None) -> None:
    """Cut off what was logged after the snapshot, all of it where there is none.

    It comes before anything is logged, and is done by rank 0 alone.

    Raises:
        InputError: the snapshot has no logs that fit the loggers.
    """
    for number, logger in enumerate(loggers):
        lengths = snapshot["logs"][number] if snapshot else {}
        if not all(isinstance(one, int) and one >= 0 for one in lengths.values()):
            raise InputError("the lengths of log files must be whole numbers")
        if isinstance(logger, TensorBoardLogger):
            for path in Path(logger.log_dir).glob(EVENTS):
                if path.name not in lengths:
                    path.unlink()
                elif path.stat().st_size > lengths[path.name]:
                    os.truncate(path, lengths[path.name])
            # A TensorBoard that is running has read what is cut off; this has it forget that.
            set_purge_step(logger, snapshot["step"] if snapshot else None)
        elif isinstance(logger, CSVLogger):
            _rewind_csv(logger, lengths)


def _rewind_csv(logger: CSVLogger, lengths: dict[str, int]) -> None:
    """Keep the first rows of a CSV file, which Lightning would delete when the logger starts."""
    folder = Path(logger.log_dir)
    path, kept = folder / "metrics.csv", folder / _CSV_KEPT
    source = kept if kept.exists() else path
    if not source.exists():
        return
    lines = source.read_bytes().splitlines(keepends=True)[: lengths.get(path.name, 0)]
    content = b"".join(lines)
    write_atomic(kept, content)
    writer = logger.experiment
    if lines:
        write_atomic(path, content)
        writer.metrics_keys = lines[0].decode().strip().split(",")
    else:
        kept.unlink()

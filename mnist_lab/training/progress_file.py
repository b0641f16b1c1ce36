"""Writes ``progress.json`` while a run trains, for whoever watches from another process."""

import contextlib
import json
import math
import time
from collections.abc import Iterable
from dataclasses import asdict
from pathlib import Path
from typing import Any

import lightning as L
from typing_extensions import override

from mnist_lab.files.atomic import write_atomic
from mnist_lab.runs.directory import PROGRESS
from mnist_lab.runs.progress import Beat
from mnist_lab.training.fit import own_checkpoint

_EVERY = 0.2  # seconds


class Heartbeat(L.Callback):
    """Writes ``progress.json`` in the run's directory, five times a second while it trains.

    Epochs are numbered from 1; the metrics are those of the last epoch. ``folder`` is
    where the file is, if not in the run's directory.
    """

    def __init__(self, folder: Path | None = None) -> None:
        self._folder = folder
        self._begun = self._written = 0.0
        self._first_step = self._batches = 0  # the step that training began at, and batches since
        self._metrics: dict[str, float] = {}

    @override
    def on_train_start(self, trainer: L.Trainer, pl_module: L.LightningModule) -> None:
        self._begun = time.monotonic()
        self._first_step, self._batches = trainer.global_step, 0
        self._write(trainer)

    @override
    def on_train_batch_end(self, trainer: L.Trainer, *arguments: Any) -> None:
        self._batches += 1
        if time.monotonic() - self._written >= _EVERY:
            self._write(trainer)

    @override
    def on_train_epoch_end(self, trainer: L.Trainer, pl_module: L.LightningModule) -> None:
        values = {name: float(value) for name, value in trainer.callback_metrics.items()}
        self._metrics = {
            name: value
            for name, value in values.items()
            if math.isfinite(value) and "class_" not in name
        }
        checkpoint = own_checkpoint(trainer)
        if checkpoint is not None and checkpoint.best_score is not None:
            self._metrics[f"best/{checkpoint.monitor}"] = checkpoint.best_score

    @override
    def on_train_end(self, trainer: L.Trainer, pl_module: L.LightningModule) -> None:
        if trainer.is_global_zero:
            with contextlib.suppress(OSError):
                self._path(trainer).unlink(missing_ok=True)

    @override
    def on_exception(self, trainer: L.Trainer, pl_module: L.LightningModule, *_: Any) -> None:
        self.on_train_end(trainer, pl_module)

    def _path(self, trainer: L.Trainer) -> Path:
        return Path(self._folder or trainer.default_root_dir, PROGRESS)

    def _write(self, trainer: L.Trainer) -> None:
        self._written = time.monotonic()
        if not trainer.is_global_zero or trainer.barebones:
            return
        seconds = max(self._written - self._begun, 1e-9)
        steps = trainer.global_step - self._first_step
        left = seconds * _times_left(trainer, self._batches, steps)
        batches = trainer.num_training_batches
        beat = Beat(
            epoch=trainer.current_epoch + 1,
            max_epochs=trainer.max_epochs,
            share=min((trainer.fit_loop.batch_idx + 1) / max(batches, 1), 1.0),
            steps_per_second=steps / seconds,
            seconds_left=left if math.isfinite(left) else None,
            metrics=self._metrics,
            trials=len(getattr(trainer.lightning_module, "trials", ())) or None,
        )
        with contextlib.suppress(OSError):  # a disk that is full ends the run elsewhere
            text = json.dumps(asdict(beat))
            write_atomic(self._path(trainer), text.encode(), is_durable=False)


class StackHeartbeat(Heartbeat):
    """Writes the progress of a stack of trials in the sweep's directory."""

    @override
    def on_train_epoch_end(self, trainer: L.Trainer, pl_module: L.LightningModule) -> None:
        """Leave the metrics to ``note``: those of the last epoch are of trials that may leave."""

    def note(self, monitor: str, mode: str, values: Iterable[float]) -> None:
        """Keep the best value of the monitored metric, with those of an epoch's trials."""
        name = f"best/{monitor}"
        known = [value for value in [*values, self._metrics.get(name)] if value is not None]
        if known := list(filter(math.isfinite, known)):
            self._metrics = {name: min(known) if mode == "min" else max(known)}


def _times_left(trainer: L.Trainer, batches: int, steps: int) -> float:
    """Return how many times as much is left as so many batches and steps were; inf if not known.

    A step may take several batches, and a batch several steps, of as many optimizers.
    """
    lefts = [math.inf]
    if batches and trainer.max_epochs is not None and trainer.max_epochs >= 0:
        epochs = trainer.max_epochs - trainer.current_epoch
        left = epochs * trainer.num_training_batches - trainer.fit_loop.batch_idx - 1
        lefts.append(left / batches)
    if steps and trainer.max_steps >= 0:
        lefts.append((trainer.max_steps - trainer.global_step) / steps)
    return max(min(lefts), 0.0)

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
        self._first_step = 0
        self._metrics: dict[str, float] = {}

    @override
    def on_train_start(self, trainer: L.Trainer, pl_module: L.LightningModule) -> None:
        self._begun = time.monotonic()
        self._first_step = trainer.global_step
        self._write(trainer)

    @override
    def on_train_batch_end(self, trainer: L.Trainer, *arguments: Any) -> None:
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
        rate = (trainer.global_step - self._first_step) / max(self._written - self._begun, 1e-9)
        left = _steps_left(trainer)
        batches = trainer.num_training_batches
        beat = Beat(
            epoch=trainer.current_epoch + 1,
            max_epochs=trainer.max_epochs,
            share=min((trainer.fit_loop.batch_idx + 1) / max(batches, 1), 1.0),
            steps_per_second=rate,
            seconds_left=left / rate if rate > 0 and math.isfinite(left) else None,
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


def _steps_left(trainer: L.Trainer) -> float:
    """Return how many steps are left, infinitely many where there is no limit."""
    epochs = trainer.max_epochs if trainer.max_epochs is not None else -1
    of_epochs = epochs * trainer.num_training_batches if epochs >= 0 else math.inf
    of_steps = trainer.max_steps if trainer.max_steps >= 0 else math.inf
    return max(min(of_epochs, of_steps) - trainer.global_step, 0)

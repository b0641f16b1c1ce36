"""Trains trials of a sweep as one stack, and leaves an ordinary run directory for each."""

import contextlib
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import lightning as L
from omegaconf import DictConfig, OmegaConf

from mnist_lab.config.hydra_internals import build
from mnist_lab.errors import Diverged, Paused, Pruned, Stopped
from mnist_lab.runs import signals
from mnist_lab.runs.manifest import TORCH_FUNC
from mnist_lab.training.checkpoints.plugin import AtomicCheckpointIO
from mnist_lab.training.data_dimensions import follow_data
from mnist_lab.training.fit import wait_for_step
from mnist_lab.training.observer import Observer
from mnist_lab.training.progress_file import StackHeartbeat
from mnist_lab.training.sealed_test import reads_test
from mnist_lab.training.stacked.data import Stream
from mnist_lab.training.stacked.fit import evaluate, fit
from mnist_lab.training.stacked.module import Metrics, Stack
from mnist_lab.training.stacked.network import EXACT
from mnist_lab.training.stacked.run import StackedRun
from mnist_lab.training.threads import threads_of
from mnist_lab.training.trainer import build_trainer, machine


def train_stack(
    configs: Sequence[DictConfig],
    observers: Sequence[Observer],
    environment: Mapping[str, Any],
    folder: Path,
    ending: contextlib.AbstractContextManager[None] | None = None,
) -> None:
    """Train trials whose configs fit together, and test those that reach their end.

    Trials that are resumed all have checkpoints of the end of the same epoch. ``progress.json`` is
    written in the sweep's folder; within ``ending`` observers are told of those that reach their
    end.

    Raises:
        Exception: of the whole stack; trials that have ended before it keep their results.
    """
    start = time.monotonic()
    datamodule = build(configs[0].data)
    configs = [follow_data(config, datamodule) for config in configs]
    storage = AtomicCheckpointIO(folder)
    runs = [StackedRun(config, storage) for config in configs]
    heartbeat = StackHeartbeat(folder)
    trainer = _quiet_trainer(runs[0], [heartbeat])
    kind = {} if type(runs[0].model) in EXACT else {"stack": TORCH_FUNC}
    with threads_of(configs[0]), contextlib.ExitStack() as stack:
        for run in runs:
            stack.enter_context(run.recorded({**environment, **machine(trainer), **kind}))
        network = Stack(
            [run.model for run in runs],
            [_stream(config) for config in configs],
            [run.random["torch"] for run in runs],
            [run.start for run in runs if run.start is not None],
            [run.phases for run in runs],
        )
        guide = _Guide(network, trainer, runs, observers, heartbeat)
        with wait_for_step(trainer):  # which is the end of the epoch here
            fit(
                network,
                datamodule,
                trainer,
                guide.on_epoch_end,
                guide.on_log,
                position=runs[0].snapshot,
            )
        guide.on_end()
        finished = guide.finished
        if not finished:
            return
        for number in finished:
            runs[number].load_best()
        tested = Stack(
            [runs[number].model for number in finished],
            [_stream(configs[number]) for number in finished],
        )
        metrics = evaluate(tested, datamodule, _quiet_trainer(runs[finished[0]]))
        seconds = (time.monotonic() - start + runs[0].seconds_before) / len(runs)
        with ending or contextlib.nullcontext():
            for place, number in enumerate(finished):
                result = runs[number].finish(metrics[place], seconds, datamodule)
                observers[number].finished(result)


@dataclass
class _Guide:
    """Decides after each epoch which trials leave a stack, and has their metrics and checkpoints.

    ``finished`` are the trials to be tested.
    """

    network: Stack
    trainer: L.Trainer
    runs: Sequence[StackedRun]
    observers: Sequence[Observer]
    heartbeat: StackHeartbeat
    finished: list[int] = field(default_factory=list)

    def on_log(self, step: int, metrics: Metrics) -> None:
        for number, its_metrics in metrics.items():
            for logger in self.runs[number].loggers:
                logger.log_metrics(its_metrics, step=step)

    def on_epoch_end(self, epoch: int, metrics: Metrics) -> list[int]:
        """Log an epoch, save what is due, and return the trials that leave.

        Raises:
            Stopped: a signal ended the stack.
        """
        config = self.runs[0].config
        values = [its[config.monitor] for its in metrics.values() if config.monitor in its]
        self.heartbeat.note(config.monitor, config.mode, values)
        signum = signals.noted()
        gone = [number for number in metrics if self._leaves(number, epoch, metrics[number])]
        staying = [number for number in metrics if number not in gone]
        if signum or any(self.runs[number].is_time for number in staying):
            for number in staying:  # all, so that they are resumed as one stack
                self._save(number, is_finished=False)
        if signum:
            raise Stopped(signum)
        return gone

    def _leaves(self, number: int, epoch: int, metrics: dict[str, float]) -> bool:
        run, steps = self.runs[number], self.trainer.global_step
        run.log(metrics, steps - 1, epoch)
        run.metrics, run.epochs = run.metrics | metrics, epoch + 1
        if run.is_best(metrics, steps):
            run.best = self.network.unstack(number)
        is_last = epoch + 1 == self.trainer.max_epochs
        observer = self.observers[number]
        try:
            observer.end_epoch(metrics, epoch, str(run.config.monitor), is_last)
        except (Diverged, Paused, Pruned) as error:
            if isinstance(error, Paused):
                self._save(number, is_finished=False)
            observer.ended_early(error)
            run.ended_by = error
            return True
        if is_last or run.stops(metrics):
            self._save(number, is_finished=True)
            return not is_last
        return False

    def _save(self, number: int, is_finished: bool) -> None:
        run, batches = self.runs[number], int(self.trainer.num_training_batches)
        state = run.best  # which may be of this very step
        if state is None or state.steps != self.trainer.global_step:
            state = self.network.unstack(number)
        run.save(state, batches, is_finished)
        if is_finished:
            self.finished.append(number)

    def on_end(self) -> None:
        """Finish the trials whose training has ended within an epoch, as by ``max_steps``."""
        for number in self.network.trials:
            if number not in self.finished:
                self._save(number, is_finished=True)


def _stream(config: DictConfig) -> Stream:
    return config.data.seed, config.data.get("fold")


def _quiet_trainer(run: StackedRun, callbacks: Sequence[L.Callback] = ()) -> L.Trainer:
    """Build the trainer of a stack, whose trials have loggers and callbacks of their own."""
    config: Any = OmegaConf.to_container(run.config)
    config = OmegaConf.create(config | {"logger": {}, "callbacks": {}})
    validates, tests = config.data.val_size != 0, reads_test(config)
    return build_trainer(config, run.model, validates, callbacks, is_quiet=True, tests=tests)

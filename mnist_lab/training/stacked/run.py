"""The run directory of a trial that is trained in a stack: what a lone run leaves, it leaves."""

import contextlib
import time
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import lightning as L
import torch
from lightning.pytorch.callbacks import EarlyStopping
from omegaconf import DictConfig

from mnist_lab.config.hydra_internals import build
from mnist_lab.errors import Diverged, Pruned
from mnist_lab.files.checkpoint import sha256_of
from mnist_lab.runs.directory import BEST, LAST, PREVIOUS
from mnist_lab.training.checkpoint_callback import Checkpoint
from mnist_lab.training.checkpoint_io import AtomicCheckpointIO
from mnist_lab.training.fit import fit_metrics
from mnist_lab.training.lightning_internals import checkpoint_of, should_stop
from mnist_lab.training.resume_logs import log_lengths
from mnist_lab.training.resume_state import KEY, Snapshot, random_state
from mnist_lab.training.run import begin_logs, finish_run, recorded
from mnist_lab.training.stacked.module import TrialState
from mnist_lab.training.trainer import build_loggers, build_model


class StackedRun:
    """One trial of a stack, from its config to its result.

    Args:
        config: the resolved config.
    """

    def __init__(self, config: DictConfig) -> None:
        self.config = config
        self.run_dir = Path(config.run_dir)
        L.seed_everything(config.seed, workers=True, verbose=False)
        self.model = build_model(config)
        self.random = random_state(torch.device("cpu"))  # as a lone run begins with
        callbacks = config.callbacks or {}
        self.checkpoint: Checkpoint | None = None
        if "checkpoint" in callbacks and config.trainer.enable_checkpointing is not False:
            self.checkpoint = build(callbacks["checkpoint"])
        self.early_stopping: EarlyStopping | None = None
        if "early_stopping" in callbacks:
            self.early_stopping = build(callbacks["early_stopping"])
        self.loggers = build_loggers(config)
        self.best: TrialState | None = None
        self.last: TrialState | None = None
        self.metrics: dict[str, float] = {}
        self.epochs = 0
        self.ended_by: Pruned | Diverged | None = None  # what has taken it from the stack early
        self.has_result = False
        self._saved_at = time.monotonic()

    @contextlib.contextmanager
    def recorded(self, environment: Mapping[str, Any]) -> Iterator[None]:
        """Keep in the directory what the trial is, and what becomes of it."""
        raised: BaseException | None = None
        early = contextlib.suppress(Pruned, Diverged)
        with early, recorded(self.run_dir, self.config, environment):
            begin_logs(self.config, self.loggers, None)
            try:
                yield
            except BaseException as error:  # of the stack, when this trial may have left it
                if self.ended_by is None and not self.has_result:
                    raise
                raised = error
            finally:
                for logger in self.loggers:
                    logger.finalize("success")
            if self.ended_by is not None:
                raise self.ended_by
        if raised is not None:
            raise raised

    def log(self, metrics: Mapping[str, float], step: int, epoch: int) -> None:
        """Log metrics as a lone run does."""
        for logger in self.loggers:
            logger.log_metrics({**metrics, "epoch": epoch}, step=step)

    def is_best(self, metrics: Mapping[str, float], step: int) -> bool:
        """Return whether an epoch was the best so far, and remember it if it was."""
        return self.checkpoint is not None and self.checkpoint.judges_best(metrics, step)

    def stops(self, metrics: Mapping[str, float]) -> bool:
        """Return whether early stopping ends the trial after an epoch."""
        if self.early_stopping is None or self.early_stopping.monitor not in metrics:
            return False
        return should_stop(self.early_stopping, metrics[self.early_stopping.monitor])

    @property
    def is_time(self) -> bool:
        """Whether its checkpoint is due by the clock."""
        every = self.checkpoint.every_n_seconds if self.checkpoint else None
        return every is not None and time.monotonic() - self._saved_at >= every

    def save(self, state: TrialState, batches: int, is_finished: bool) -> None:
        """Write its last checkpoint, and its best if that is another, as a lone run has them.

        Args:
            state: where it is, between two epochs.
            batches: of an epoch.
            is_finished: whether no step is left.
        """
        self.last = state
        if self.checkpoint is None:
            return
        storage = AtomicCheckpointIO()
        is_best = self.best is not None and self.best.steps == state.steps
        content = self._content(state, batches, is_finished, is_best)
        storage.save_checkpoint(content, self.run_dir / LAST, self.run_dir / PREVIOUS)
        best = self.best if self.best is not None else state if is_finished else None
        if best is not None:
            content = (
                content if best is state or is_best else self._content(best, batches, False, True)
            )
            storage.save_checkpoint(content, self.run_dir / BEST)
        self._saved_at = time.monotonic()

    def _content(
        self, state: TrialState, batches: int, is_finished: bool, is_best: bool
    ) -> dict[str, Any]:
        epoch = state.steps // batches
        callbacks: dict[str, Any] = {}
        for one in (self.checkpoint, self.early_stopping):
            if one is not None:
                callbacks[one.state_key] = one.state_dict()
        generators = {**self.random, "torch": state.rng}
        snapshot = Snapshot(
            epoch=epoch,
            batch=0,
            step=state.steps,
            total_batches=state.steps,
            logged_steps=state.steps,
            is_finished=is_finished,
            ranks=[{"random": generators, "running": state.running}],
            metrics={name: torch.tensor(value) for name, value in self.metrics.items()},
            logs=log_lengths(self.loggers),
            is_best=is_best,
        )
        content = checkpoint_of(
            self.model,
            state.state_dict,
            epoch=epoch,
            step=state.steps,
            callbacks=callbacks,
            optimizer=state.optimizer,
            schedule=state.schedule,
        )
        return content | {KEY: snapshot.to_dict()}

    def finish(
        self, found: Mapping[str, float], seconds: float, data: Mapping[str, str]
    ) -> dict[str, float]:
        """Write the result of a trial that was trained to its end and tested; return it.

        Args:
            found: metrics of validation and test, with the best weights.
            seconds: its share of the stack's time.
            data: hashes of the images and labels.
        """
        assert self.last is not None
        tested = self.best or self.last
        steps = self.last.steps
        metrics = fit_metrics(self.model, self.epochs, steps, seconds, self.metrics)
        metrics |= {"time/total": seconds, **found}
        test = {name: value for name, value in found.items() if name.startswith("test/")}
        self.log(test, steps, self.epochs)
        weights = {"model": sha256_of(tested.state_dict)}
        if self.checkpoint is not None:
            weights["last"] = sha256_of(self.last.state_dict)
            weights["optimizer"] = sha256_of([self.last.optimizer])
        finish_run(self.run_dir, metrics, loggers=self.loggers, data=data, weights=weights)
        self.has_result = True
        return metrics

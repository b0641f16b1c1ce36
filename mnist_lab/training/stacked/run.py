"""The run directory of a trial that is trained in a stack, with all that a lone run leaves."""

import contextlib
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import lightning as L
import torch
from lightning.pytorch.callbacks import EarlyStopping
from omegaconf import DictConfig

from mnist_lab.config.hydra_internals import build
from mnist_lab.errors import Diverged, Pruned
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
        self.ended_by: Pruned | Diverged | None = None  # why it left the stack early
        self.has_result = False

    @contextlib.contextmanager
    def recorded(self, environment: Mapping[str, Any]) -> Iterator[None]:
        """Record the trial's config and how it ends, early or with the stack."""
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
        """Whether a checkpoint is due by the clock."""
        return self.checkpoint is not None and self.checkpoint.is_time

    def save(self, state: TrialState, batches: int, is_finished: bool) -> None:
        """Write the last checkpoint and the best one, as a lone run has them."""
        self.last = state
        if self.best is None and is_finished:
            self.best = state
        if self.checkpoint is None:
            return
        storage = AtomicCheckpointIO(self.run_dir)
        is_best = self.best is not None and self.best.steps == state.steps
        content = self._content(state, batches, is_finished, is_best)
        storage.save_checkpoint(content, self.run_dir / LAST, self.run_dir / PREVIOUS)
        if self.best is not None:
            if not is_best:
                content = self._content(self.best, batches, is_finished=False, is_best=True)
            storage.save_checkpoint(content, self.run_dir / BEST)
        self.checkpoint.note_saved(state.steps)

    def _content(
        self, state: TrialState, batches: int, is_finished: bool, is_best: bool
    ) -> dict[str, Any]:
        epoch = state.steps // batches
        callbacks = {
            callback.state_key: callback.state_dict()
            for callback in (self.checkpoint, self.early_stopping)
            if callback is not None
        }
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

    def load_best(self) -> None:
        """Put the best weights of a trial that has reached its end into its model."""
        assert self.best is not None
        self.model.load_state_dict(self.best.state_dict)

    def finish(
        self, tested: Mapping[str, float], seconds: float, datamodule: L.LightningDataModule
    ) -> dict[str, float]:
        """Write the result of a trial that has reached its end, and return it.

        Args:
            tested: metrics of validation and test, of the weights that ``load_best`` has loaded.
            seconds: the trial's share of the stack's time.
            datamodule: the data.
        """
        assert self.last is not None
        steps = self.last.steps
        metrics = fit_metrics(self.model, self.epochs, steps, seconds, self.metrics)
        metrics |= {"time/total": seconds, **tested}
        test = {name: value for name, value in tested.items() if name.startswith("test/")}
        self.log(test, steps, self.epochs)
        finish_run(self.run_dir, metrics, self.model, datamodule, self.loggers)
        self.has_result = True
        return metrics

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
from mnist_lab.errors import Diverged, Paused, Pruned
from mnist_lab.runs.directory import BEST, LAST, PREVIOUS
from mnist_lab.training.checkpoints.callback import Checkpoint
from mnist_lab.training.checkpoints.newest import newest
from mnist_lab.training.checkpoints.plugin import EARLIER_BEST, AtomicCheckpointIO
from mnist_lab.training.checkpoints.resume_state import KEY, Snapshot, random_state, read_snapshot
from mnist_lab.training.fit import fit_metrics
from mnist_lab.training.lightning_internals import should_stop
from mnist_lab.training.loggers.resume_logs import close_logs, log_lengths
from mnist_lab.training.phases import Phases
from mnist_lab.training.run import begin_logs, finish_run, note_machine, recorded
from mnist_lab.training.stacked.module import TrialState
from mnist_lab.training.trainer import build_loggers, build_model


class StackedRun:
    """One trial of a stack, from its config to its result.

    A run that has a checkpoint is resumed from it, which has to be of the end of an epoch.

    Args:
        config: the resolved config.
        storage: writes the checkpoints of the stack.

    Raises:
        InputError: its checkpoints are corrupt, or of another run.
        UntrustedError: a checkpoint names code.
    """

    def __init__(self, config: DictConfig, storage: AtomicCheckpointIO) -> None:
        self.config = config
        self._storage = storage
        self.run_dir = Path(config.run_dir)
        L.seed_everything(config.seed, workers=True, verbose=False)
        self.model = build_model(config)
        self.random = random_state(torch.device("cpu"))  # as a lone run begins with
        if str(config.trainer.precision).startswith("64"):
            self.model.double()  # before a checkpoint is read, whose weights would be rounded
        callbacks = config.callbacks or {}
        self.checkpoint: Checkpoint | None = None
        if "checkpoint" in callbacks and config.trainer.enable_checkpointing is not False:
            self.checkpoint = build(callbacks["checkpoint"])
        self.early_stopping: EarlyStopping | None = None
        if "early_stopping" in callbacks:
            self.early_stopping = build(callbacks["early_stopping"])
        self.phases: Phases | None = None
        if "phases" in callbacks:
            self.phases = build(callbacks["phases"])
            self.phases.check(self.model)
        self.loggers = build_loggers(config)
        self.best: TrialState | None = None
        self._written_best: int | None = None  # steps of the state that is known to be in BEST
        self.last: TrialState | None = None
        self.metrics: dict[str, float] = {}
        self.epochs = 0
        self.ended_by: Diverged | Paused | Pruned | None = None  # why it left the stack early
        self.has_result = False
        self.snapshot: Snapshot | None = None  # that it is resumed from, and the state in it
        self.start: TrialState | None = None
        if (newest_one := newest(self.run_dir, self.model)) is not None:
            self._resume(*newest_one)

    def _resume(self, path: Path, content: dict[str, Any]) -> None:
        """Take up the state in a checkpoint's content."""
        self.snapshot = read_snapshot(path, content)
        self.start = _trial_state(content, self.snapshot)
        self.model.load_state_dict(self.start.state_dict)
        self.random = self.snapshot.ranks[0]["random"]
        self.epochs = self.snapshot.epoch
        self.metrics = {name: value.item() for name, value in self.snapshot.metrics.items()}
        for callback in (self.checkpoint, self.early_stopping):
            if callback is not None and callback.state_key in content["callbacks"]:
                callback.load_state_dict(content["callbacks"][callback.state_key])
        if self.snapshot.is_best:
            self.best = self.start
        elif (best := content.get(EARLIER_BEST)) is not None:
            self.best = _trial_state(best, read_snapshot(path, best))
        elif self.checkpoint is not None:
            best = self.checkpoint.saved_best(self.run_dir / BEST)
            if best is not None:
                self.best = _trial_state(best, read_snapshot(self.run_dir / BEST, best))
                self._written_best = self.best.steps

    @contextlib.contextmanager
    def recorded(self, environment: Mapping[str, Any]) -> Iterator[None]:
        """Record the trial's config and how it ends, early or with the stack."""
        raised: BaseException | None = None
        early = contextlib.suppress(Diverged, Paused, Pruned)
        steps = self.start.steps if self.start else 0
        with early, recorded(self.run_dir, self.config, environment, steps):
            if self.snapshot is not None:
                note_machine(self.run_dir, environment, is_new=False)
            begin_logs(self.config, self.loggers, self.snapshot)
            try:
                yield
            except BaseException as error:  # of the stack, when this trial may have left it
                if self.ended_by is None and not self.has_result:
                    raise
                raised = error
            finally:
                for logger in self.loggers:
                    logger.finalize("success")
                close_logs(self.loggers)
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
        """Write the last checkpoint and the best one, as a lone run has them.

        A kill between the two loses none: the last one is the best, or has a new best one in it.
        """
        self.last = state
        if self.best is None and is_finished:
            self.best = state
        if self.checkpoint is None:
            return
        is_best = self.best is not None and self.best.steps == state.steps
        content = self._content(state, batches, is_finished, is_best)
        best = None  # what is to be written
        if self.best is not None and self.best.steps != self._written_best:
            best = content
            if not is_best:
                best = self._content(self.best, batches, is_finished=False, is_best=True)
                content = content | {EARLIER_BEST: best}
        self._storage.save_checkpoint(content, self.run_dir / LAST, self.run_dir / PREVIOUS)
        if self.best is not None and best is not None:
            self._storage.save_checkpoint(best, self.run_dir / BEST)
            self._written_best = self.best.steps
        self.checkpoint.note_saved(state.steps)

    def _content(
        self, state: TrialState, batches: int, is_finished: bool, is_best: bool
    ) -> dict[str, Any]:
        """Return a checkpoint as ``trainer.save_checkpoint`` writes it for a lone run."""
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
        return {
            "epoch": epoch,
            "global_step": state.steps,
            "pytorch-lightning_version": L.__version__,
            "state_dict": state.state_dict,
            "callbacks": callbacks,
            "optimizer_states": [state.optimizer],
            "lr_schedulers": [] if state.schedule is None else [state.schedule],
            "hparams_name": "kwargs",
            "hyper_parameters": dict(self.model.hparams),
            KEY: snapshot.to_dict(),
        }

    @property
    def seconds_before(self) -> float:
        """Seconds that its stack took in processes before this one."""
        return self.checkpoint.seconds_before if self.checkpoint is not None else 0.0

    def load_best(self) -> None:
        """Put the best weights of a trial that has reached its end into its model."""
        assert self.best is not None
        self.model.load_state_dict(self.best.state_dict)

    def finish(
        self, tested: Mapping[str, float], seconds: float, datamodule: L.LightningDataModule
    ) -> dict[str, float]:
        """Write the result of a trial that has reached its end, and return it.

        ``tested`` are the metrics of the weights that ``load_best`` has loaded, ``seconds`` its
        share of the stack's.
        """
        assert self.last is not None
        steps = self.last.steps
        metrics = fit_metrics(self.model, self.epochs, steps, seconds, self.metrics)
        metrics |= {"time/total": seconds, **tested}
        test = {name: value for name, value in tested.items() if name.startswith("test/")}
        self.log(test, steps, self.epochs)
        last = None
        if self.checkpoint is not None:
            last = {"state_dict": self.last.state_dict, "optimizer_states": [self.last.optimizer]}
        finish_run(self.run_dir, metrics, self.model, datamodule, self.loggers, last)
        self.has_result = True
        return metrics


def _trial_state(content: Mapping[str, Any], snapshot: Snapshot) -> TrialState:
    """Return the state in a checkpoint's content."""
    (rank,), schedules = snapshot.ranks, content["lr_schedulers"]
    return TrialState(
        state_dict=content["state_dict"],
        optimizer=content["optimizer_states"][0],
        schedule=schedules[0] if schedules else None,
        rng=rank["random"]["torch"],
        running=rank["running"],
        steps=snapshot.step,
    )

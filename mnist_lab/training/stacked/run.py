"""The run directory of a trial that is trained in a stack: what a lone run leaves, it leaves."""

import contextlib
import time
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import lightning as L
import torch
from hydra.utils import instantiate
from lightning.pytorch.callbacks import EarlyStopping
from omegaconf import DictConfig, OmegaConf

from mnist_lab.config.saved import portable
from mnist_lab.errors import Diverged, Pruned
from mnist_lab.files.atomic import remove_partials
from mnist_lab.models import Classifier
from mnist_lab.runs import directory, manifest
from mnist_lab.training import resume_state
from mnist_lab.training.checkpoint_callback import Checkpoint
from mnist_lab.training.checkpoints import BEST, LAST, PREVIOUS, AtomicCheckpointIO, sha256_of
from mnist_lab.training.hparams import log_config
from mnist_lab.training.stacked.module import TrialState
from mnist_lab.training.trainer import build_model


class StackedRun:
    """One trial of a stack, from its config to its result.

    Args:
        config: the resolved config.
    """

    def __init__(self, config: DictConfig) -> None:
        self.config = config
        self.run_dir = Path(config.run_dir)
        L.seed_everything(config.seed, workers=True, verbose=False)
        self.model: Classifier = build_model(config)
        self.random = resume_state.random_state(torch.device("cpu"))  # as a lone run begins with
        callbacks = config.callbacks or {}
        self.checkpoint: Checkpoint | None = None
        if "checkpoint" in callbacks and config.trainer.enable_checkpointing is not False:
            self.checkpoint = instantiate(callbacks["checkpoint"])
        self.early_stopping: EarlyStopping | None = None
        if "early_stopping" in callbacks:
            self.early_stopping = instantiate(callbacks["early_stopping"])
        self.loggers = [instantiate(one) for one in (config.logger or {}).values()]
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
        if not (self.run_dir / directory.MANIFEST).exists():
            directory.write(self.run_dir / directory.CONFIG, portable(self.config))
        remove_partials(self.run_dir)
        raised: BaseException | None = None
        early = contextlib.suppress(Pruned, Diverged)
        with early, manifest.attempt(self.run_dir, environment, from_step=0):
            settings: Any = OmegaConf.to_container(self.config)
            resume_state.rewind(self.loggers, None)
            for logger in self.loggers:
                if isinstance(logger, L.pytorch.loggers.TensorBoardLogger):
                    log_config(logger, settings, portable(self.config))
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
        value = torch.tensor(metrics[self.early_stopping.monitor])
        should_stop, _ = self.early_stopping._evaluate_stopping_criteria(value)
        return bool(should_stop)

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
        python_and_numpy = {name: self.random[name] for name in ("python", "numpy")}
        own = {
            "epoch": epoch,
            "batch": 0,
            "step": state.steps,
            "total_batches": state.steps,
            "logged_steps": state.steps,
            "is_finished": is_finished,
            "is_best": is_best,
            "ranks": [
                {"random": {**python_and_numpy, "torch": state.rng}, "running": state.running}
            ],
            "metrics": {name: torch.tensor(value) for name, value in self.metrics.items()},
            "logs": resume_state.log_lengths(self.loggers),
        }
        return {
            "epoch": epoch,
            "global_step": state.steps,
            "pytorch-lightning_version": L.__version__,
            "state_dict": state.state_dict,
            "callbacks": callbacks,
            "optimizer_states": [state.optimizer],
            "lr_schedulers": [state.schedule] if state.schedule is not None else [],
            "hparams_name": "kwargs",
            "hyper_parameters": dict(self.model.hparams),
            resume_state.KEY: own,
        }

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
        train = {name: self.metrics[name] for name in ("train/loss", "train/acc")}
        metrics = {
            "time/fit": seconds,
            "time/total": seconds,
            "epochs": float(self.epochs),
            "steps": float(self.last.steps),
            "num_params": float(sum(one.numel() for one in self.model.parameters())),
            **train,
            **found,
        }
        steps = self.last.steps
        test = {name: value for name, value in found.items() if name.startswith("test/")}
        self.log(test, steps, self.epochs)
        best = {f"best/{name}": value for name, value in found.items() if name.startswith("val/")}
        for logger in self.loggers if best else []:
            logger.log_metrics(best, steps)
        directory.write_metrics(self.run_dir, metrics)
        sha256 = {"model": sha256_of(tested.state_dict)}
        if self.checkpoint is not None:
            sha256["last"] = sha256_of(self.last.state_dict)
            sha256["optimizer"] = sha256_of([self.last.optimizer])
        manifest.update_manifest(self.run_dir, data=data, sha256=sha256)
        resume_state.drop_kept(self.loggers)
        self.has_result = True
        return metrics

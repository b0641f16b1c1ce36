"""Saving of the best checkpoint and the last two, each of which resumes a run bit for bit."""

import logging
import math
import time
from collections.abc import Mapping
from functools import partial
from pathlib import Path
from typing import Any

import lightning as L
import torch
from lightning.pytorch.callbacks import Checkpoint as LightningCheckpoint
from lightning.pytorch.trainer.states import TrainerFn
from typing_extensions import override

from mnist_lab.errors import ConfigError, InputError, Stopped
from mnist_lab.files.checkpoint import read_checkpoint, write_checkpoint
from mnist_lab.runs import signals
from mnist_lab.runs.directory import BEST, LAST, PREVIOUS, check_place, place_of
from mnist_lab.runs.summary import not_logged
from mnist_lab.training.checkpoints import model_checkpoints, resume_state
from mnist_lab.training.checkpoints.callback_states import check_states
from mnist_lab.training.checkpoints.plugin import EARLIER_BEST, name_best, separate
from mnist_lab.training.checkpoints.resume_point import PutBack, check_validates_between_steps
from mnist_lab.training.checkpoints.resume_state import Snapshot
from mnist_lab.training.epoch_loop import FastEpochLoop
from mnist_lab.training.judged_weights import JUDGED, JudgedWeights, are_same, judge
from mnist_lab.training.lightning_internals import put_back_averaging
from mnist_lab.training.observer import current_observer

_log = logging.getLogger(__name__)
STEPS_BETWEEN_TALKS = 10  # of several ranks, about whether to save: it costs them a device sync


class Checkpoint(LightningCheckpoint):
    """Saves ``checkpoints/last.ckpt`` and ``best.ckpt`` in the trainer's ``default_root_dir``.

    It saves before a step, when so many steps or seconds have passed, after a validation (or, with
    a monitor that begins with ``train``, an epoch) that was the best so far, when a signal asks the
    run to end, and after the last step. The last checkpoint before that is kept as
    ``previous.ckpt``.

    Args:
        monitor: metric that chooses the best, such as ``val/acc``; with None the last is the best.
        mode: whether ``max`` or ``min`` of it is better.
        every_n_steps: optimizer steps between two saves, at least 1; None does not count them.
        every_n_seconds: seconds between two saves; None does not look at the clock.

    Raises:
        ConfigError: training begins by another way than ``mnist_lab.train``.
    """

    def __init__(
        self,
        monitor: str | None = "val/acc",
        mode: str = "max",
        every_n_steps: int | None = None,
        every_n_seconds: float | None = 20.0,
    ) -> None:
        super().__init__()
        self.monitor = monitor
        self.sign = 1.0 if mode == "max" else -1.0
        self.every_n_steps = every_n_steps
        self.every_n_seconds = every_n_seconds
        self.best_score: float | None = None
        self.is_restored = True  # whether nothing of a checkpoint is left to restore
        self._snapshot: Snapshot | None = None  # that is saved now, or resumed from
        self._put_back: PutBack | None = None
        self._judged = JudgedWeights()
        self._is_best = False  # whether the best weights so far are not saved yet
        self.best_step: int | None = None
        self.is_asked = False  # whether to save before the next step, whatever the clock says
        self.seconds_before = 0.0  # of training, in processes before this one
        self._started = self._saved_at = time.monotonic()
        self._saved_step = 0
        self._place = (0, 0)  # of the run's directory
        self._data_random: dict[str, Any] | None = None  # where the data of the epoch began
        self._has_validated = False
        self._has_looked = False  # whether the monitored metric is among those that are logged

    @override
    def on_load_checkpoint(
        self, trainer: L.Trainer, pl_module: L.LightningModule, checkpoint: dict[str, Any]
    ) -> None:
        """Take the place of Lightning's way back into an epoch."""
        if trainer.state.fn == TrainerFn.FITTING:
            checkpoint.pop("loops", None)
            check_states(trainer, checkpoint)
            self._snapshot = resume_state.read_snapshot(Path(str(trainer.ckpt_path)), checkpoint)
            model_checkpoints.rewind(trainer, checkpoint)
            goes_further = self._snapshot.goes_further
            self._put_back = PutBack(trainer, checkpoint, self.state_key, goes_further)
            self.is_restored = False
            resume_state.put_back_position(trainer, self._snapshot)

    @override
    def state_dict(self) -> dict[str, Any]:
        seconds = self.seconds_before + time.monotonic() - self._started
        return {"best_score": self.best_score, "best_step": self.best_step, "seconds": seconds}

    @override
    def load_state_dict(self, state_dict: dict[str, Any]) -> None:
        self.best_score, self.best_step = state_dict["best_score"], state_dict["best_step"]
        self.seconds_before = state_dict["seconds"]

    @override
    def on_fit_start(self, trainer: L.Trainer, pl_module: L.LightningModule) -> None:
        self._started = self._saved_at = time.monotonic()
        self._has_validated = self._has_looked = False
        if trainer.is_global_zero:
            self._place = place_of(Path(trainer.default_root_dir))
        if not self.is_restored:
            self._settle_best(trainer, Path(str(trainer.ckpt_path)))

    def _settle_best(self, trainer: L.Trainer, path: Path) -> None:
        """Ensure that the best checkpoint is the one that was best when the run was stopped."""
        folder = Path(trainer.default_root_dir)
        assert self._snapshot is not None
        content = read_checkpoint(path)
        # The run may have been killed before its best one was written.
        if self._snapshot.is_best:
            self._make_best(trainer, path, JUDGED in content)
        elif EARLIER_BEST not in content:
            self.saved_best(folder / BEST)
        elif trainer.is_global_zero:  # a trial's that was saved in a stack
            write_checkpoint(folder / BEST, content[EARLIER_BEST], root=folder)

    def saved_best(self, path: Path) -> dict[str, Any] | None:
        """Return the content of the best checkpoint so far; None, with a warning, if it is lost.

        What follows replaces a best one that is lost.
        """
        if self.best_step is None:
            return None
        try:
            content = read_checkpoint(path)
            if self.best_step == content[resume_state.KEY]["step"]:
                return content
            lost = f"{path}: not the checkpoint of step {self.best_step}"
        except (InputError, KeyError) as error:
            lost = str(error)
        _log.warning("%s; the best of the epochs that follow replaces it", lost)
        self.best_score = self.best_step = None
        return None

    @override
    def on_train_start(self, trainer: L.Trainer, pl_module: L.LightningModule) -> None:
        self._saved_step = trainer.global_step
        epoch_loop = trainer.fit_loop.epoch_loop
        if not isinstance(epoch_loop, FastEpochLoop):
            raise ConfigError(
                "Checkpoint: saves between two steps, where trainer.fit calls nothing; call "
                "mnist_lab.train(model, datamodule, trainer) instead"
            )
        epoch_loop.before_epoch = partial(self._before_epoch, trainer)
        epoch_loop.before_batch = partial(self._before_batch, trainer)
        check_validates_between_steps(trainer)
        if not self.is_restored:
            put_back_averaging(trainer)
        done = 0 if self.is_restored or self._snapshot is None else self._snapshot.batch
        if done and done >= (batches := trainer.num_training_batches):
            raise InputError(
                f"{trainer.ckpt_path}: resumes after {done} batches of an epoch, which has "
                f"{batches}"
            )

    def _before_epoch(self, trainer: L.Trainer) -> None:
        """Note or restore what loaders that are not the lab's draw an epoch's order from."""
        loaders = trainer.train_dataloader
        if hasattr(loaders, "start_batch"):
            return
        if not self.is_restored and self._snapshot is not None:
            resume_state.put_back_data(trainer, self._snapshot)
        self._data_random = resume_state.random_state(trainer.lightning_module.device)

    def _before_batch(self, trainer: L.Trainer, batch_idx: int) -> None:
        """Restore or save where no hook of a batch has run yet, nor a batch been read."""
        self._restore(trainer)
        if batch_idx % trainer.accumulate_grad_batches:
            return  # no checkpoint holds accumulated gradients
        signum, is_time = signals.noted(), self.is_time
        if trainer.world_size > 1:
            signum, is_time = self._agreed(trainer, batch_idx, signum, is_time)
        steps = trainer.global_step - self._saved_step
        enough_steps = steps >= self.every_n_steps if self.every_n_steps else False
        if self._is_best or is_time or enough_steps or signum or self.is_asked:
            self._save(trainer, batch_idx)
        if signum:
            raise Stopped(signum)

    @property
    def is_time(self) -> bool:
        """Whether a save is due by the clock."""
        seconds = self.every_n_seconds
        return seconds is not None and time.monotonic() - self._saved_at >= seconds

    def note_saved(self, step: int) -> None:
        """Count steps and seconds to the next save from here."""
        self._saved_at, self._saved_step = time.monotonic(), step

    def _agreed(
        self, trainer: L.Trainer, batch_idx: int, signum: int, is_time: bool
    ) -> tuple[int, bool]:
        """Return what any of the ranks knows, now and then."""
        if batch_idx % STEPS_BETWEEN_TALKS:
            return 0, False
        known = torch.tensor([signum, is_time], device=trainer.strategy.root_device)
        signum, is_time = trainer.strategy.reduce(known, reduce_op="max").tolist()
        return signum, bool(is_time)

    @override
    def on_train_epoch_start(self, trainer: L.Trainer, pl_module: L.LightningModule) -> None:
        if self._has_validated:  # the model has also logged the metrics of its last epoch
            self._look_for_metric(trainer)

    def _look_for_metric(self, trainer: L.Trainer) -> None:
        """Warn once of a monitored metric that nothing logs; a sweep does it for all its trials."""
        if self.monitor is None or self._has_looked or current_observer() is not None:
            return
        self._has_looked = True
        names = trainer.callback_metrics  # asked on every rank, as it may talk to the others
        if self.monitor not in names and trainer.is_global_zero:
            _log.warning("%s", not_logged(self.monitor, names))

    @override
    def on_validation_batch_end(
        self, trainer: L.Trainer, pl_module: Any, outputs: Any, batch: Any, batch_idx: int, *_: Any
    ) -> None:
        if batch_idx == 0 and trainer.state.fn == TrainerFn.FITTING and self.monitor:
            self._judged.see(trainer)

    @override
    def on_validation_end(self, trainer: L.Trainer, pl_module: L.LightningModule) -> None:
        is_fitting = trainer.state.fn == TrainerFn.FITTING and not trainer.sanity_checking
        self._has_validated = self._has_validated or is_fitting
        if is_fitting and not self._judges_training:
            self._judge(trainer)

    @property
    def _judges_training(self) -> bool:
        """Whether the metric is one of the training, which is known at the end of an epoch."""
        return self.monitor is not None and self.monitor.startswith("train")

    def _judge(self, trainer: L.Trainer) -> None:
        metrics = {name: value.item() for name, value in trainer.callback_metrics.items()}
        if trainer.world_size > 1:  # a model may log each rank's own
            metrics = trainer.strategy.broadcast(metrics)
        if self.judges_best(metrics, trainer.global_step):
            self._is_best = True
            self._judged.choose(trainer)

    def judges_best(self, metrics: Mapping[str, float], step: int) -> bool:
        """Return whether metrics are the best so far, and remember them if they are."""
        score = metrics.get(self.monitor, math.nan) if self.monitor else math.nan
        if math.isnan(score):
            return False
        if self.best_score is not None and self.sign * score <= self.sign * self.best_score:
            return False
        self.best_score, self.best_step = score, step
        return True

    @override
    def on_train_epoch_end(self, trainer: L.Trainer, pl_module: L.LightningModule) -> None:
        if self._judges_training:
            self._judge(trainer)
        if self.monitor:  # asking fit_loop.done whether it is the last epoch would count it
            self._judged.note_trained(trainer)

    @override
    def on_train_end(self, trainer: L.Trainer, pl_module: L.LightningModule) -> None:
        is_none_to_come = trainer.limit_val_batches and not trainer.enable_validation
        if self._has_validated or is_none_to_come:  # nor was validation turned off
            self._look_for_metric(trainer)
        if self.best_step is None:
            self.best_step, self._is_best = trainer.global_step, True
        elif self._judged.has_unseen(trainer):  # those of weight averaging, for example
            judge(trainer)
        self._save(trainer, 0, is_finished=True)
        if trainer.is_global_zero:
            folder = Path(trainer.default_root_dir)
            separate(folder / BEST, folder)
        trainer.strategy.barrier("best")  # which the other ranks read to test

    @override
    def on_fit_end(self, trainer: L.Trainer, pl_module: L.LightningModule) -> None:
        self._restore(trainer)  # there may have been no step left

    @override
    def on_exception(self, *_: Any) -> None:
        if self._put_back is not None:  # there was no step yet
            self._put_back.unmute()

    def _restore(self, trainer: L.Trainer) -> None:
        if not self.is_restored:
            assert self._snapshot is not None
            assert self._put_back is not None
            self._put_back.end(trainer)
            resume_state.put_back_rank(trainer, self._snapshot)
            self._snapshot = self._put_back = None
            self.is_restored = True

    def _save(self, trainer: L.Trainer, batch: int, is_finished: bool = False) -> None:
        folder = Path(trainer.default_root_dir)
        if trainer.is_global_zero:
            check_place(folder, self._place)
        data_random = None if is_finished else self._data_random
        self._snapshot = resume_state.take(trainer, batch, is_finished, self._is_best, data_random)
        trainer.save_checkpoint(folder / LAST, False, storage_options=folder / PREVIOUS)
        if self._is_best:
            self._make_best(trainer, folder / LAST, self._judged.best is not None)
        self._snapshot, self._judged.best, self._is_best = None, None, False
        self.is_asked = False
        self.note_saved(trainer.global_step)

    def _make_best(self, trainer: L.Trainer, path: Path, has_judged: bool) -> None:
        folder = Path(trainer.default_root_dir)
        if trainer.is_global_zero:
            name_best(path, folder, JUDGED if has_judged else None)

    @override
    def on_save_checkpoint(
        self, trainer: L.Trainer, pl_module: L.LightningModule, checkpoint: dict[str, Any]
    ) -> None:
        if self._snapshot is None:
            return  # another callback saves
        checkpoint[resume_state.KEY] = self._snapshot.to_dict()
        checkpoint[model_checkpoints.KEY] = model_checkpoints.files(trainer)
        best = self._judged.best if self._is_best else None
        if best is not None and are_same(best, checkpoint["state_dict"]):
            best = self._judged.best = None
        if best is not None:
            checkpoint[JUDGED] = best

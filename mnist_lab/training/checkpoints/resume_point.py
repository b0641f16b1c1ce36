"""Takes the state of a run within training; puts it back once more after Lightning has done so.

Lightning restores it before a run starts. After that come the hooks of a start and of an epoch's
start, which ran before the state was taken: they change weights, learning rates and counts again,
and log again what is in the log files. The point is where a training step is about to begin.
"""

import contextlib
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import lightning as L
from lightning.pytorch.utilities.model_helpers import is_overridden

from mnist_lab.config.allowlist import is_shipped_package
from mnist_lab.errors import ConfigError, InputError
from mnist_lab.files.checkpoint import read_checkpoint
from mnist_lab.models import Classifier
from mnist_lab.models.arguments import OVER_THE_RUN
from mnist_lab.models.optimizers import advance
from mnist_lab.training.judged_weights import muted

_CURRENT = "current_model_state"  # of Lightning's WeightAveraging, whose state_dict is the average


class PutBack:
    """What is left to restore of a checkpoint.

    Args:
        trainer: the trainer, whose loggers are given no metrics until then.
        checkpoint: the content, which Lightning restores now.
        done: key of the callback's state that is restored once.
        goes_further: whether the run has become longer since, and so its schedule another.
    """

    def __init__(
        self, trainer: L.Trainer, checkpoint: dict[str, Any], done: str, goes_further: bool
    ) -> None:
        self._steps = 0  # of a schedule over the new length
        if goes_further and checkpoint["lr_schedulers"] and _goes_by_length(trainer):
            self._steps = int(checkpoint["lr_schedulers"][0]["last_epoch"])
            checkpoint["lr_schedulers"] = []
        self._checkpoint = dict(checkpoint)
        self._callbacks = {**checkpoint["callbacks"], done: None}
        quiet = contextlib.ExitStack()
        quiet.enter_context(muted(trainer))
        self.unmute = quiet.close  # also called if there is no step

    def end(self, trainer: L.Trainer) -> None:
        """Restore all that Lightning has restored."""
        self.unmute()
        content = self._given_to_hooks(trainer)
        weights = content.get(_CURRENT, content["state_dict"])
        strict = trainer.lightning_module.strict_loading
        trainer.strategy.load_model_state_dict({"state_dict": weights}, strict=strict)
        trainer.strategy.load_optimizer_state_dict(self._checkpoint)
        schedules = self._checkpoint["lr_schedulers"]
        for config, state in zip(trainer.lr_scheduler_configs, schedules, strict=False):
            config.scheduler.load_state_dict(state)
        if self._steps and self._steps > trainer.estimated_stepping_batches:
            raise InputError(f"{trainer.ckpt_path}: its schedule is beyond the end of the run")
        if self._steps:
            advance(trainer.lr_scheduler_configs[0].scheduler, self._steps)
        for callback in trainer.callbacks:  # type: ignore[attr-defined]
            if state := self._callbacks.get(callback.state_key):
                callback.load_state_dict(state)

    def _given_to_hooks(self, trainer: L.Trainer) -> Mapping[str, Any]:
        """Give what a user's own hooks have saved back to them; return the checkpoint's content.

        They may change it, and so get it as it is in the file.
        """
        model: L.LightningModule = trainer.lightning_module
        own = [
            callback
            for callback in trainer.callbacks  # type: ignore[attr-defined]
            if not is_shipped_package(type(callback).__module__)
            and is_overridden("on_load_checkpoint", callback)
        ]
        has_hook = is_overridden("on_load_checkpoint", model)
        content = read_checkpoint(Path(str(trainer.ckpt_path))) if own or has_hook else None
        if content is not None:
            model.on_load_checkpoint(content)
            for callback in own:
                callback.on_load_checkpoint(trainer, model, content)
        return self._checkpoint if content is None else content


def _goes_by_length(trainer: L.Trainer) -> bool:
    """Return whether the learning rate goes by the length of the whole run."""
    model = trainer.lightning_module
    return (
        isinstance(model, Classifier)
        and type(model).configure_optimizers is Classifier.configure_optimizers
        and model.scheduler_settings["name"] in OVER_THE_RUN
    )


def check_validates_between_steps(trainer: L.Trainer) -> None:
    """Check that no validation comes while gradients are accumulated, which no checkpoint holds.

    Raises:
        ConfigError: one does.
    """
    steps, batches = trainer.accumulate_grad_batches, trainer.num_training_batches
    every: Any = trainer.val_check_batch
    if not trainer.enable_validation or steps == 1 or not every % batches:
        return
    if trainer.check_val_every_n_epoch is not None and every > batches:
        return
    across = trainer.check_val_every_n_epoch is None and batches % steps
    if every % steps or across:
        raise ConfigError(
            f"trainer.val_check_interval={trainer.val_check_interval}: validates after {every} "
            f"batches, within a step of trainer.accumulate_grad_batches={steps}, which no "
            "checkpoint could resume; must be a multiple of it, or whole epochs"
        )

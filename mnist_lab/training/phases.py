"""Settings that change at the start of certain epochs, such as those of a population's winner."""

from collections.abc import Mapping, Sequence
from typing import Any

import lightning as L
from lightning.pytorch.trainer.states import TrainerFn
from torch import nn
from torch.optim import Optimizer
from typing_extensions import override

from mnist_lab.errors import ConfigError
from mnist_lab.models import Classifier
from mnist_lab.models.arguments import DROPOUT, LABEL_SMOOTHING, Range

_RANGES = {
    "optimizer.lr": Range(above=0),
    "optimizer.weight_decay": Range(low=0),
    "optimizer.momentum": Range(above=0, below=1),
    "model.dropout": Range(above=0, below=DROPOUT.below),
    "model.label_smoothing": LABEL_SMOOTHING,
}
_PLACE = "callbacks.phases"


class Phases(L.Callback):
    """Sets the optimizer's and the model's settings at the start of certain epochs.

    A setting stays until another phase sets it; before the first it is that of the config. A run
    that is resumed takes up the phase that it is in.

    Args:
        phases: for each its first ``epoch``, from 0 and rising, and what it sets: ``optimizer.lr``,
            ``optimizer.weight_decay``, ``optimizer.momentum``, ``model.dropout`` (of all layers)
            or ``model.label_smoothing``. Momentum and dropout are above 0, as the run begins with
            some.

    Raises:
        ConfigError: a phase has no epoch, an epoch is not above the one before, or a setting is
            unknown or out of its range.
    """

    def __init__(self, phases: Sequence[Mapping[str, Any]]) -> None:
        super().__init__()
        self.phases = [dict(phase) for phase in phases]
        self._epoch: int | None = None  # whose settings are set
        before = -1
        for phase in self.phases:
            epoch = phase.get("epoch")
            if type(epoch) is not int or epoch <= before:
                raise ConfigError(
                    f"{_PLACE}: epoch={epoch}: must be a whole number of at least {before + 1}, "
                    "the epoch in which the phase begins"
                )
            before = epoch
            for key in phase.keys() - {"epoch"}:
                if key not in _RANGES:
                    raise ConfigError(f"{_PLACE}: {key}: must be one of {', '.join(_RANGES)}")
                if phase[key] not in _RANGES[key]:
                    raise ConfigError(
                        f"{_PLACE}: {key}={phase[key]}: must be a number {_RANGES[key]}"
                    )

    def check(self, model: L.LightningModule) -> None:
        """Check that a model has what the phases set.

        Raises:
            ConfigError: it has not, or a schedule changes the learning rate as well.
        """
        keys = {key for phase in self.phases for key in phase}
        if not isinstance(model, Classifier):
            raise ConfigError(f"{_PLACE}: needs a model that is an mnist_lab.models.Classifier")
        if any(key.startswith("optimizer.") for key in keys):
            schedule = model.scheduler_settings["name"]
            if schedule != "none":
                raise ConfigError(
                    f"scheduler={schedule}: must be none with {_PLACE}, which sets the optimizer"
                )
        if "optimizer.momentum" in keys and not model.optimizer_settings.get("momentum"):
            raise ConfigError(
                f"{_PLACE}: optimizer.momentum: the run must begin with one above 0, and with "
                "optimizer=sgd"
            )
        has_dropout = any(isinstance(layer, nn.Dropout) for layer in model.modules())
        if "model.dropout" in keys and not has_dropout:
            raise ConfigError(f"{_PLACE}: model.dropout: the run must begin with one above 0")

    def set(self, epoch: int, model: Classifier, optimizer: Optimizer) -> None:
        """Set what an epoch is trained with, unless it is set already."""
        if epoch == self._epoch:
            return
        self._epoch = epoch
        for phase in self.phases:
            if phase["epoch"] <= epoch:
                for key in phase.keys() - {"epoch"}:
                    _set(key, phase[key], model, optimizer)

    @override
    def setup(self, trainer: L.Trainer, pl_module: L.LightningModule, stage: str) -> None:
        if stage == TrainerFn.FITTING:
            self.check(pl_module)
            self._epoch = None

    @override
    def on_train_batch_start(
        self, trainer: L.Trainer, pl_module: L.LightningModule, batch: Any, batch_idx: int
    ) -> None:
        # Not at the epoch's start: only now is a run that is resumed where it was.
        assert isinstance(pl_module, Classifier)
        self.set(trainer.current_epoch, pl_module, trainer.optimizers[0])


def _set(key: str, value: float, model: Classifier, optimizer: Optimizer) -> None:
    if key == "model.label_smoothing":
        model.label_smoothing = value
    elif key == "model.dropout":
        for layer in model.modules():
            if isinstance(layer, nn.Dropout):
                layer.p = value
    else:
        for group in optimizer.param_groups:
            group[key.partition(".")[2]] = value

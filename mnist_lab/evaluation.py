"""Evaluates a run's best checkpoint from its directory, or a model in memory."""

import logging
from pathlib import Path
from typing import cast

import lightning as L
import torch
from hydra.utils import get_class, instantiate

from mnist_lab.checkpoints import BEST, LAST, read_checkpoint
from mnist_lab.config import stored_config
from mnist_lab.data import MNISTDataModule
from mnist_lab.errors import InputError, first_line
from mnist_lab.models import Classifier
from mnist_lab.trainer import build_trainer
from mnist_lab.training import can_compute, evaluate_on, quiet_trainer

_log = logging.getLogger(__name__)


def evaluate(
    model: Classifier | str | Path,
    datamodule: L.LightningDataModule | None = None,
    trainer: L.Trainer | None = None,
) -> dict[str, float]:
    """Return flat metrics of validation, where there are images for it, and of test.

    Args:
        model: a model, or a run's directory, whose best checkpoint is evaluated.
        datamodule: the data; None is what the run was trained on, or for a model MNIST.
        trainer: what evaluates; None is a quiet trainer on one device.

    Raises:
        InputError: the run's directory or its checkpoint cannot be read.
    """
    if isinstance(model, Classifier):
        trainer = trainer or quiet_trainer(model)
        return evaluate_on(trainer, model, datamodule or MNISTDataModule())
    return evaluate_run(Path(model), [], datamodule, trainer)


def evaluate_run(
    run_dir: Path,
    overrides: list[str],
    datamodule: L.LightningDataModule | None = None,
    trainer: L.Trainer | None = None,
) -> dict[str, float]:
    """Evaluate a run's best checkpoint on its own data, or on others that overrides name.

    Args:
        run_dir: the run's directory.
        overrides: Hydra overrides of the data and trainer groups.
        datamodule: data to use instead.
        trainer: what evaluates instead of the trainer group.

    Raises:
        ConfigError: an override is wrong or of another group.
        InputError: the run's directory or its checkpoint cannot be read.
    """
    config = stored_config(run_dir, overrides)
    precision = str(config.trainer.precision)
    is_the_runs = not any(text.startswith("trainer.precision=") for text in overrides)
    if is_the_runs and not can_compute(precision, config.trainer.accelerator):
        _log.warning("%s: %s is not for this device; precision is auto", run_dir, precision)
        config.trainer.precision = "auto"
    model = load_model(run_dir, config.model._target_)
    datamodule = datamodule or instantiate(config.data, _convert_="all")
    trainer = trainer or build_trainer(config, model, validates=False)
    return evaluate_on(trainer, model, datamodule)


def load_model(run_dir: Path, target: str) -> Classifier:
    """Rebuild a run's model with the weights of its best checkpoint, else its last, on the CPU.

    Args:
        run_dir: the run's directory.
        target: dotted name of the model's class, checked already.

    Raises:
        InputError: there is no checkpoint, or it is damaged or another model's.
    """
    path = next((run_dir / one for one in (BEST, LAST) if (run_dir / one).exists()), None)
    if path is None:
        raise InputError(f"{run_dir}: no checkpoint in it; is it a run's directory?")
    checkpoint = read_checkpoint(path)
    settings, weights = checkpoint.get("hyper_parameters", {}), checkpoint["state_dict"]
    model_class = cast(type[Classifier], get_class(target))
    try:
        with torch.device("meta"):  # costs nothing, whatever sizes the file asks for
            needed = model_class(**settings).state_dict()
        shapes = {name: tensor.shape for name, tensor in weights.items()}
        if shapes != {name: tensor.shape for name, tensor in needed.items()}:
            raise ValueError("its weights have other names or shapes")
        model = model_class(**settings)
        model.load_state_dict(weights)
    except Exception as error:
        reason = first_line(error)
        raise InputError(f"{path}: not a checkpoint of {target} that loads: {reason}") from error
    return model

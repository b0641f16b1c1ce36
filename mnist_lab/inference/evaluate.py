"""Evaluates a run's best checkpoint from its directory, or a model in memory."""

import logging
from collections.abc import Sequence
from pathlib import Path
from typing import Any, cast

import lightning as L
import torch
from hydra.errors import InstantiationException
from hydra.utils import get_class, instantiate
from torch import Tensor

from mnist_lab.config.messages import explain
from mnist_lab.config.saved import stored_config
from mnist_lab.data import MNISTDataModule
from mnist_lab.errors import ConfigError, InputError, first_line
from mnist_lab.files.checkpoint import read_checkpoint
from mnist_lab.inference.predictions import Answers
from mnist_lab.models import Classifier
from mnist_lab.runs.directory import BEST
from mnist_lab.training.checkpoints import check_weights, newest
from mnist_lab.training.fit import evaluate_on, quiet_trainer
from mnist_lab.training.precision import can_compute
from mnist_lab.training.trainer import build_trainer

_MAX_SETTINGS = 10_000
_MAX_CLASSES = 1_000
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
    try:
        trainer = trainer or build_trainer(config, model, validates=False)
    except InstantiationException as error:
        raise ConfigError(explain(error)) from error
    return evaluate_on(trainer, model, datamodule)


def load_model(run_dir: Path, target: str) -> Classifier:
    """Rebuild a run's model with the weights of its best checkpoint, else its newest, on the CPU.

    Args:
        run_dir: the run's directory.
        target: dotted name of the model's class, checked already.

    Raises:
        InputError: there is no checkpoint, or it is damaged or another model's.
        UntrustedError: a checkpoint names code.
    """
    path = run_dir / BEST
    if path.exists():
        checkpoint = read_checkpoint(path)
    elif found := newest(run_dir, is_to_resume=False):
        path, checkpoint = found
    else:
        raise InputError(f"{run_dir}: no checkpoint in it; is it a run's directory?")
    settings, weights = checkpoint.get("hyper_parameters", {}), checkpoint["state_dict"]
    model_class = cast(type[Classifier], get_class(target))
    try:
        if _count(settings) > _MAX_SETTINGS:
            raise ValueError("it has more hyper_parameters than any model")
        with torch.device("meta"):  # costs nothing, whatever sizes the file asks for
            needed = model_class(**settings)
        check_weights(path, checkpoint, needed)
        if needed.num_classes > _MAX_CLASSES:  # its metrics have a number for each pair of them
            raise ValueError(f"it has {needed.num_classes} classes")
        model = model_class(**settings)
        model.load_state_dict(weights)
    except InputError:
        raise
    except Exception as error:
        reason = first_line(error)
        raise InputError(f"{path}: not a checkpoint of {target} that loads: {reason}") from error
    return model


def _count(settings: Any) -> int:
    """Return how many values there are in nested mappings and lists."""
    if isinstance(settings, dict):
        return sum(map(_count, settings.values()))
    return sum(map(_count, settings)) if isinstance(settings, list | tuple) else 1


def answers(run_dir: Path, overrides: Sequence[str] = ()) -> Answers:
    """Return what a run's best checkpoint answers to the test images of the run's data.

    Args:
        run_dir: the run's directory.
        overrides: ``allow_targets``, where the model is the user's own.

    Raises:
        InputError: the run's directory or its checkpoint cannot be read, or the model gives no
            probabilities.
        UntrustedError: the config or a checkpoint names code.
    """
    config = stored_config(run_dir, overrides)
    precision = str(config.trainer.precision)
    if not can_compute(precision, config.trainer.accelerator):
        config.trainer.precision = "auto"
    config.trainer.devices = 1
    model = load_model(run_dir, config.model._target_)
    datamodule = instantiate(config.data, _convert_="all")
    trainer = build_trainer(config, model, validates=False)
    found = trainer.predict(model, datamodule=datamodule)
    images, labels, _ = datamodule.split(train=False)
    probs = torch.cat([one for one in found or [] if isinstance(one, Tensor)] or [torch.empty(0)])
    if probs.ndim != 2 or len(probs) != len(labels):
        raise InputError(f"{run_dir}: its model gives no probabilities for each test image")
    return Answers(images, labels, probs.float().nan_to_num(0.0).cpu())

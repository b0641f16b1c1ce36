"""Evaluation of a run's best checkpoint, or of a model in memory, and its predictions."""

import logging
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import lightning as L
import torch
from hydra.errors import InstantiationException
from hydra.utils import get_class
from omegaconf import DictConfig, OmegaConf
from torch import Tensor

from mnist_lab.config.allowlist import is_the_labs
from mnist_lab.config.hydra_internals import build
from mnist_lab.config.messages import explain
from mnist_lab.config.saved import stored_config
from mnist_lab.data import MNISTDataModule
from mnist_lab.data.sets import OWN, checked_names, class_names_of
from mnist_lab.errors import ConfigError, InputError, LabError, first_line
from mnist_lab.inference.predictions import Predictions, logits_in_batches
from mnist_lab.models import Classifier
from mnist_lab.models.arguments import NUM_CLASSES
from mnist_lab.runs.directory import MANIFEST
from mnist_lab.runs.manifest import CLASS_NAMES, read_manifest
from mnist_lab.training.checkpoints.newest import best_of, check_weights, weights_of
from mnist_lab.training.fit import default_trainer, evaluate_on, tests
from mnist_lab.training.precision import can_compute
from mnist_lab.training.sealed_test import count_reading
from mnist_lab.training.trainer import build_model, build_trainer

_MAX_SETTINGS = 10_000
_log = logging.getLogger(__name__)


def evaluate(
    model: L.LightningModule | str | Path,
    datamodule: L.LightningDataModule | None = None,
    trainer: L.Trainer | None = None,
) -> dict[str, float]:
    """Return the metrics of the validation split, where there is one, and of the test split.

    Args:
        model: a model, or a run's directory, whose best checkpoint is evaluated.
        datamodule: the data; by default the run's own, or MNIST for a model.
        trainer: the trainer; by default the run's own, or one on one device for a model.

    Raises:
        InputError: the run's directory or its checkpoint cannot be read.
        UntrustedError: the run names code that is not the lab's.
    """
    if isinstance(model, L.LightningModule):
        trainer = trainer or default_trainer(model)
        return evaluate_on(trainer, model, datamodule or MNISTDataModule())
    return evaluate_run(Path(model), [], datamodule, trainer)


def evaluate_run(
    run_dir: Path,
    overrides: list[str],
    datamodule: L.LightningDataModule | None = None,
    trainer: L.Trainer | None = None,
    callbacks: Sequence[L.Callback] = (),
) -> dict[str, float]:
    """Evaluate a run's best checkpoint on the run's data, or on other data that overrides name.

    Raises:
        ConfigError: an override is wrong or of another group.
        InputError: the run's directory or its checkpoint cannot be read.
        UntrustedError: the run names code that is not the lab's and was not allowed.
    """
    config = _config_for_this_device(run_dir, overrides)
    model = load_model(run_dir, config)
    datamodule = datamodule or _data_of(run_dir, config, overrides)
    try:
        trainer = trainer or build_trainer(config, model, validates=False, callbacks=callbacks)
    except InstantiationException as error:
        raise ConfigError(explain(error)) from error
    if trainer.precision != "64-true":
        model.float()
    if trainer.limit_test_batches != 0 and tests(model, datamodule):
        count_reading(run_dir, config, model, datamodule, "evaluate")
    return evaluate_on(trainer, model, datamodule)


def _config_for_this_device(run_dir: Path, overrides: Sequence[str]) -> DictConfig:
    """Return a run's config, with automatic precision where this device lacks the run's own."""
    config = stored_config(run_dir, overrides)
    precision = str(config.trainer.precision)
    is_overridden = any(text.startswith("trainer.precision=") for text in overrides)
    if not is_overridden and not can_compute(precision, config.trainer.accelerator):
        _log.warning("%s: this device lacks %s; precision is auto", run_dir, precision)
        config.trainer.precision = "auto"
    return config


def _data_of(run_dir: Path, config: DictConfig, overrides: Sequence[str]) -> Any:
    """Build the data of a run.

    Raises:
        InputError: a folder or a file that only the run's directory names is not the run's data.
    """
    datamodule = build(config.data)
    if not isinstance(datamodule, MNISTDataModule) or datamodule.dataset not in OWN:
        return datamodule
    if any(text.startswith(("data=", "data.root=")) for text in overrides):
        if (trained := class_names_in(run_dir)) != (names := class_names_of(datamodule)):
            _log.warning("%s: its classes are %s, the run's %s", datamodule.root, names, trained)
    else:
        recorded = read_manifest(run_dir).get("data") or {}
        if recorded.get("test") != datamodule.split(train=False).sha256:
            raise InputError(
                f"{datamodule.root}: has other content than {run_dir} was tested on; data.root="
                "<place> evaluates it on other data"
            )
    return datamodule


def load_model(run_dir: Path, config: DictConfig) -> Any:
    """Rebuild a run's model with the weights of its best checkpoint, else its newest, on the CPU.

    Args:
        run_dir: the run's directory.
        config: the run's; the caller has checked that its model may be built. A LightningModule
            that is no ``Classifier`` is built as it says, any other as the checkpoint does.

    Raises:
        InputError: there is no checkpoint, or it is corrupt or another model's.
        UntrustedError: a checkpoint names code.
    """
    path, checkpoint = best_of(run_dir)
    settings = checkpoint.get("hyper_parameters", {})
    target = str(config.model._target_)
    model_class: Any = get_class(target)
    if not issubclass(model_class, Classifier):
        model = build_model(config)
        weights = weights_of(checkpoint, model)
        check_weights(path, weights, model)
        model.load_state_dict(weights)
        return model
    try:
        if _count(settings) > _MAX_SETTINGS:
            raise ValueError(f"it has more than {_MAX_SETTINGS:,} hyperparameters")
        plain: Any = OmegaConf.to_container(config.model)
        if is_the_labs(target) and settings.get("net") != plain.get("net"):
            raise ValueError("its net is not the model.net of config.yaml, which alone is built")
        with torch.device("meta"):  # costs nothing, whatever sizes the file asks for
            expected = model_class(**settings)
        check_weights(path, weights_of(checkpoint, expected), expected)
        if expected.num_classes > NUM_CLASSES.high:  # its confusion matrix has their square
            raise ValueError(f"it has more than {NUM_CLASSES.high:,} classes")
        model = model_class(**settings)
        weights = weights_of(checkpoint, model)
        if any(weight.dtype == torch.float64 for weight in weights.values()):
            model.double()  # else they are rounded
        model.load_state_dict(weights)
    except InputError:
        raise
    except Exception as error:
        reason = first_line(error)
        raise InputError(f"{path}: not a checkpoint of {target} that loads: {reason}") from error
    return model


def _count(settings: Any) -> int:
    if isinstance(settings, dict):
        return sum(map(_count, settings.values()))
    return sum(map(_count, settings)) if isinstance(settings, list | tuple) else 1


def predict_test_images(
    run_dir: Path, overrides: Sequence[str] = (), by: str = "predict", needs_grey: bool = False
) -> Predictions:
    """Return the predictions of a run's best checkpoint on the test images of the run's data.

    Args:
        run_dir: the run's directory.
        overrides: as ``evaluate_run`` takes them.
        by: what reads the test images, for the count of a sealed run.
        needs_grey: whether other images than ``(N, 1, H, W)`` uint8 are refused.

    Raises:
        InputError: the run's directory or its checkpoint cannot be read, its data has no test
            batches of images and labels, or the model gives no logits for them.
        UntrustedError: the config or a checkpoint names code.
    """
    config = _config_for_this_device(run_dir, overrides)
    config.trainer.devices = 1
    model = load_model(run_dir, config)
    datamodule = _data_of(run_dir, config, overrides)
    trainer = build_trainer(config, model, validates=False)
    datamodule.trainer = trainer  # as Lightning does, so that a folder of data is only read
    images, labels = _test_images(datamodule)
    if needs_grey and (images.dtype != torch.uint8 or images.shape[1] != 1):
        kind = str(images.dtype).removeprefix("torch.")
        raise InputError(
            f"{run_dir}: {by} needs grey test images (N, 1, H, W) uint8; found {kind} "
            f"{tuple(images.shape)}"
        )
    count_reading(run_dir, config, model, datamodule, by)
    if isinstance(model, Classifier) and isinstance(datamodule, MNISTDataModule):
        batches = trainer.predict(model, datamodule=datamodule) or []
        parts = [probs for probs in batches if isinstance(probs, Tensor)]
        probs = torch.cat(parts or [torch.empty(0)])
        if probs.ndim != 2 or len(probs) != len(labels):
            raise InputError(f"{run_dir}: the model gives no probabilities for each test image")
        names = class_names_of(datamodule)
        return Predictions(images, labels, probs.float().nan_to_num(0.0).cpu(), names)
    logits = logits_in_batches(model.float().to(trainer.strategy.root_device), images)
    if (last := int(labels.max())) >= logits.shape[1]:
        raise InputError(
            f"{run_dir}: the model gives {logits.shape[1]} logits, and its data has the label "
            f"{last}; at least {last + 1} are required"
        )
    return Predictions.of_logits(images, labels, logits, datamodule)


def _test_images(datamodule: L.LightningDataModule) -> tuple[Tensor, Tensor]:
    """Return the test images ``(N, C, H, W)`` and labels ``(N,)`` of any data module, on the CPU.

    Raises:
        InputError: its test batches are others.
    """
    if isinstance(datamodule, MNISTDataModule):
        images, labels, _ = datamodule.split(train=False)
        return images, labels
    place = f"data._target_={type(datamodule).__name__}: test_dataloader"
    try:
        datamodule.prepare_data()
        datamodule.setup("test")
        batches = [(batch[0].cpu(), batch[1].cpu()) for batch in datamodule.test_dataloader()]
        images, labels = (torch.cat(parts) for parts in zip(*batches, strict=True))
    except LabError:
        raise
    except Exception as error:
        raise InputError(
            f"{place}: batches of images and labels are required: {first_line(error)}"
        ) from error
    are_classes = labels.shape == images.shape[:1] and not labels.is_floating_point()
    if images.ndim != 4 or not are_classes:
        raise InputError(
            f"{place}: images (B, C, H, W) and whole labels (B,) are required; found "
            f"{tuple(images.shape)} and {labels.dtype} {tuple(labels.shape)}"
        )
    return images, labels


def class_names_in(run_dir: Path) -> tuple[str, ...]:
    """Return the names of the classes that a run was trained on; none where they are numbers.

    Raises:
        InputError: its manifest has something else in their place.
    """
    path = run_dir / MANIFEST
    names = read_manifest(run_dir).get(CLASS_NAMES) if path.exists() else None
    try:
        return checked_names(names or [])
    except ValueError as error:
        raise InputError(f"{path}: {CLASS_NAMES}: {error}") from None

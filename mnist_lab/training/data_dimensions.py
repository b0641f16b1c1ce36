"""Numbers of a model that follow its data: classes and the images' channels, height and width."""

import copy
from pathlib import Path
from typing import Any

import lightning as L
import torch
from hydra.utils import get_class
from omegaconf import DictConfig, open_dict
from torch import Tensor

from mnist_lab.config.saved import read_stored
from mnist_lab.errors import ConfigError
from mnist_lab.models import Classifier
from mnist_lab.models.named import takes
from mnist_lab.runs.directory import CONFIG

NUMBERS = ("num_classes", "in_shape")


def follow_data(config: DictConfig, datamodule: L.LightningDataModule) -> DictConfig:
    """Return a config whose model has the numbers of its data, where it takes and lacks them.

    A data module says them as ``num_classes`` and ``in_shape``. One that does not is asked for a
    batch, which tells the shape of its images.

    Raises:
        ConfigError: the batch has no images, or the model fewer classes than the data.
    """
    built = get_class(str(config.model._target_))
    if not issubclass(built, Classifier):
        return config
    lacking = [name for name in NUMBERS if config.model.get(name) is None and takes(built, name)]
    numbers: dict[str, Any] = {name: getattr(datamodule, name, None) for name in lacking}
    count, most = config.model.get("num_classes"), getattr(datamodule, "num_classes", None)
    if count and most and count < most:
        raise ConfigError(f"model.num_classes={count}: must be at least {most}, the data's classes")
    if "in_shape" in lacking and numbers["in_shape"] is None:
        numbers["in_shape"] = _shape_of_a_batch(datamodule)
    if shape := numbers.pop("in_shape", None):
        numbers["in_shape"] = None if tuple(shape) == (1, 28, 28) else list(shape)  # the default
    return _with_numbers(config, numbers)


def follow_run(config: DictConfig, run_dir: Path) -> DictConfig:
    """Return a config whose model has the numbers that a run took from its data before."""
    if not (run_dir / CONFIG).exists():
        return config
    stored = read_stored(run_dir / CONFIG).get("model") or {}
    lacking = [name for name in NUMBERS if config.model.get(name, 0) is None]
    return _with_numbers(config, {name: stored.get(name) for name in lacking})


def _with_numbers(config: DictConfig, numbers: dict[str, Any]) -> DictConfig:
    if all(number is None for number in numbers.values()):
        return config
    config = copy.deepcopy(config)
    with open_dict(config.model):
        config.model.update({name: number for name, number in numbers.items() if number})
    return config


def _shape_of_a_batch(datamodule: L.LightningDataModule) -> list[int]:
    """Return the shape of an image, with all random generators of torch as they were."""
    with torch.random.fork_rng():
        datamodule.prepare_data()
        datamodule.setup("fit")
        batch: Any = next(iter(datamodule.train_dataloader()))
    images = batch[0] if isinstance(batch, tuple | list) and batch else None
    if not isinstance(images, Tensor) or images.ndim != 4:
        found = getattr(images, "shape", type(images).__name__)
        raise ConfigError(
            f"data._target_={type(datamodule).__name__}: its batches must begin with images "
            f"(B, C, H, W); found {found}"
        )
    return list(images.shape[1:])

"""Resolves the interpolations of a composed config, and finds the directory that it runs in."""

import contextlib
import pickle
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from hydra.core.hydra_config import HydraConfig
from hydra.types import RunMode
from omegaconf import DictConfig, OmegaConf, flag_override

from mnist_lab.config.allowlist import is_the_labs
from mnist_lab.data.sets import num_classes_of


@contextlib.contextmanager
def reading(config: DictConfig) -> Iterator[None]:
    """Have ``${hydra:...}`` read from a config, instead of the one that Hydra has set."""
    instance: Any = HydraConfig.instance()
    before = instance.cfg
    try:
        instance.cfg = config  # of which set_config would make a copy
        yield
    finally:
        instance.cfg = before


def run_dir_of(config: DictConfig) -> Path:
    """Return the directory that Hydra gives a run or, once its number is set, a trial."""
    with reading(config):
        if config.hydra.mode == RunMode.RUN:
            return Path(str(config.hydra.run.dir))
        return Path(str(config.hydra.sweep.dir), str(config.hydra.sweep.subdir))


def resolve(config: DictConfig, number: int = 0, *, is_whole: bool = False) -> None:
    """Resolve the interpolations of a config before its directory is known, which is a dot.

    Args:
        config: changed in place.
        number: the job's place in its sweep.
        is_whole: whether its ``hydra`` node is resolved as well.
    """
    with flag_override(config, ["struct", "readonly"], [False, False]):
        OmegaConf.set_readonly(config.hydra, False)
        config.hydra.runtime.output_dir = "."
        config.hydra.job.update(num=number, id=str(number))
        with reading(config):
            if is_whole:
                OmegaConf.resolve(config)
                return
            for name in config:
                if name == "hydra" or OmegaConf.is_missing(config, name):
                    continue
                value = config[name]
                if OmegaConf.is_interpolation(config, str(name)):
                    config[name] = value
                if OmegaConf.is_config(value):
                    OmegaConf.resolve(config[name])


def follow_data(config: DictConfig) -> None:
    """Give the model of a composed config the classes of the lab's data, where it has no number."""
    is_known = is_the_labs(OmegaConf.select(config, "data._target_"))
    if is_known and OmegaConf.select(config, "model.num_classes", default=0) is None:
        data = config.data
        config.model.num_classes = num_classes_of(data.get("dataset"), data.get("split"))


def resolved(config: DictConfig, number: int = 0, *, is_whole: bool = False) -> DictConfig:
    """Return a copy whose interpolations are resolved, as ``resolve`` does."""
    config = pickle.loads(pickle.dumps(config))  # several times as fast as a deep copy
    resolve(config, number, is_whole=is_whole)
    return config

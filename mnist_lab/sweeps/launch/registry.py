"""Checks of ``hydra.launcher``, and the lab's launchers by it."""

import functools
import importlib
from collections.abc import Callable

from hydra.plugins.launcher import Launcher
from omegaconf import DictConfig

from mnist_lab.config.extras import require
from mnist_lab.config.knob import shown
from mnist_lab.config.sweep_schema import LAUNCHERS, Fused, Parallel, Ray, Slurm
from mnist_lab.errors import ConfigError
from mnist_lab.sweeps.settings import checked_node

_NEEDS: dict[type, str] = {Parallel: "submitit", Slurm: "submitit", Ray: "ray"}
"""The module that each launcher needs, which the extra of its name installs."""


def is_launcher_of_the_lab(node: DictConfig) -> bool:
    """Return whether a ``hydra.launcher`` node is of the lab's launchers, not of Hydra's."""
    return _schema_of(node) is not None


def _schema_of(node: DictConfig) -> type | None:
    schemas = {schema._target_: schema for schema in LAUNCHERS.values()}  # type: ignore[attr-defined]
    return schemas.get(str(node._target_))


def own_launcher(node: DictConfig) -> Callable[[], Launcher] | None:
    """Check a ``hydra.launcher`` node, and return what builds the launcher if it is the lab's.

    Raises:
        ConfigError: a value is out of its range, or a package is missing.
    """
    schema = _schema_of(node)
    if schema is None:
        return None
    plain = checked_node("hydra.launcher", schema, node)
    if schema is Slurm and not isinstance(plain["parameters"], dict | None):
        raise ConfigError(
            f"hydra.launcher.parameters={shown(plain['parameters'])}: must be a mapping, "
            "{partition: gpu, time: 60}"
        )
    if module := _NEEDS.get(schema):
        require(module, module, by="hydra.launcher")
    name = "fused" if schema is Fused else "processes"
    file = importlib.import_module(f"mnist_lab.sweeps.launch.{name}")
    launcher: type[Launcher] = getattr(file, plain.pop("_target_").rpartition(".")[2])
    return functools.partial(launcher, **plain)

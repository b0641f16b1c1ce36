"""Checks of ``hydra.launcher``, and registration of the launcher that it names."""

import importlib
from dataclasses import fields
from importlib.util import find_spec
from typing import Any

from omegaconf import DictConfig, OmegaConf

from mnist_lab.config.field import check_knob, shown
from mnist_lab.config.sweep_schema import LAUNCHERS, Fused, Parallel, Ray, Slurm
from mnist_lab.errors import ConfigError
from mnist_lab.sweeps.launch.plugins import register

_NEEDS = {Parallel: ("submitit", "submitit"), Slurm: ("submitit", "submitit"), Ray: ("ray", "ray")}
"""The module that each launcher needs, and the extra that installs it."""


def prepare_launcher(node: DictConfig) -> None:
    """Check a ``hydra.launcher`` node, and register the launcher if it is the lab's.

    Raises:
        ConfigError: a value is out of its range, or a package is missing.
    """
    schemas = {schema._target_: schema for schema in LAUNCHERS.values()}  # type: ignore[attr-defined]
    schema = schemas.get(str(node._target_))
    if schema is None:
        return
    plain: Any = OmegaConf.to_container(node, resolve=True)
    for field in fields(schema):
        if field.metadata:
            check_knob(f"hydra.launcher.{field.name}", field, plain)
    if schema is Slurm and not isinstance(plain["parameters"], dict | None):
        raise ConfigError(
            f"hydra.launcher.parameters={shown(plain['parameters'])}: must be a mapping, "
            "{partition: gpu, time: 60}"
        )
    module, extra = _NEEDS.get(schema, ("", ""))
    if module and find_spec(module) is None:
        raise ConfigError(
            f"hydra.launcher: needs {module}, which is not installed; pip install "
            f"mnist_lab[{extra}]"
        )
    name = "fused" if schema is Fused else "processes"
    file = importlib.import_module(f"mnist_lab.sweeps.launch.{name}")
    register(getattr(file, schema._target_.rpartition(".")[2]))  # type: ignore[attr-defined]

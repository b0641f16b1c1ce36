"""What ``hydra/launcher=`` can choose besides Hydra's own ``basic``."""

import importlib
from dataclasses import dataclass, fields
from importlib.util import find_spec
from typing import Any

from omegaconf import DictConfig, OmegaConf

from mnist_lab.config.field import check_knob, knob, shown
from mnist_lab.errors import ConfigError
from mnist_lab.sweeps.launch.plugins import PACKAGE, register


@dataclass
class Fused:
    """Trials of one network side by side, as one program."""

    _target_: str = f"{PACKAGE}.FusedLauncher"
    max_stack: int | None = knob(
        None, "most trials in a stack; null is by the size of the network, 8 to 512", low=1
    )


@dataclass
class Engine:
    """What all launchers take that hand trials to other processes."""

    fused: bool = knob(False, "whether a process trains its trials as one program")
    per_job: int | None = knob(
        None,
        "trials of a process; null is 1, for fused an equal share of them or 64 on a cluster",
        low=1,
    )


@dataclass
class Parallel(Engine):
    """Processes on this machine."""

    _target_: str = f"{PACKAGE}.ParallelLauncher"
    workers: int | None = knob(
        None, "processes at a time; null is one for each GPU, without one for each core", low=1
    )
    threads: int | None = knob(None, "of each process; null is an equal share of the cores", low=1)


@dataclass
class Slurm(Engine):
    """Jobs of SLURM."""

    _target_: str = f"{PACKAGE}.SlurmLauncher"
    parameters: Any = knob(
        None, "of Submitit's SlurmExecutor, {partition: gpu, time: 60, gpus_per_node: 1}"
    )


@dataclass
class Ray(Engine):
    """Tasks of a Ray cluster."""

    _target_: str = f"{PACKAGE}.RayLauncher"
    address: str | None = knob(None, "the cluster's; null is one that is started here")
    num_cpus: float = knob(1, "of each task", low=0)
    num_gpus: float = knob(0, "of each task", low=0)


LAUNCHERS: dict[str, type] = {"fused": Fused, "parallel": Parallel, "slurm": Slurm, "ray": Ray}
_NEEDS = {Parallel: ("submitit", "submitit"), Slurm: ("submitit", "submitit"), Ray: ("ray", "ray")}
"""The module that a launcher needs, and the extra that installs it."""


def prepare_launcher(node: DictConfig) -> None:
    """Check the settings of a ``hydra.launcher`` node, and let Hydra build it if it is ours.

    Raises:
        ConfigError: a value is out of its range, or a package is missing.
    """
    schemas = {schema._target_: schema for schema in LAUNCHERS.values()}  # type: ignore[attr-defined]
    schema = schemas.get(str(node._target_))
    if schema is None:
        return
    plain: Any = OmegaConf.to_container(node, resolve=True)
    for one in fields(schema):
        if one.metadata:
            check_knob(f"hydra.launcher.{one.name}", one, plain)
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

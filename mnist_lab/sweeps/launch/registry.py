"""Checks of ``hydra.launcher``, and registration of the lab's plugins with Hydra."""

import contextlib
import importlib
import sys
from types import ModuleType

from hydra.core.plugins import Plugins
from hydra.plugins.plugin import Plugin
from omegaconf import DictConfig

from mnist_lab.config.extras import require
from mnist_lab.config.knob import shown
from mnist_lab.config.sweep_schema import LAUNCHERS, PACKAGE, Fused, Parallel, Ray, Slurm
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


def prepare_launcher(node: DictConfig) -> None:
    """Check a ``hydra.launcher`` node, and register the launcher if it is the lab's.

    Raises:
        ConfigError: a value is out of its range, or a package is missing.
    """
    schema = _schema_of(node)
    if schema is None:
        return
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
    register(getattr(file, schema._target_.rpartition(".")[2]))  # type: ignore[attr-defined]


def register(plugin: type[Plugin]) -> None:
    """Let Hydra build a plugin as ``hydra_plugins.mnist_lab.<its name>``.

    Hydra looks the name up among modules. There is one in memory, since a folder hydra_plugins
    would have to lie beside mnist_lab.
    """
    plugins = Plugins.instance()  # which looks through the package that is there, if one is
    parent, _, name = PACKAGE.partition(".")
    if PACKAGE not in sys.modules:
        with contextlib.suppress(ModuleNotFoundError):
            importlib.import_module(parent)
        package = sys.modules.setdefault(parent, ModuleType(parent))
        sys.modules[PACKAGE] = ModuleType(PACKAGE, __doc__)
        setattr(package, name, sys.modules[PACKAGE])
    plugin.__module__ = PACKAGE
    setattr(sys.modules[PACKAGE], plugin.__name__, plugin)
    plugins.register(plugin)

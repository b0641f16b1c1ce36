"""Registration of the lab's plugins below hydra_plugins, the only package where Hydra looks."""

import contextlib
import importlib
import sys
from types import ModuleType

from hydra.core.plugins import Plugins
from hydra.plugins.plugin import Plugin

from mnist_lab.config.sweep_schema import PACKAGE


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

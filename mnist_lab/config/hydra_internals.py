"""Every private name of Hydra, OmegaConf and Optuna that the lab uses.

To admit another version of one of them is to review this file. It also evens out what Hydra 1.3
and 1.4 call by different names.
"""

from collections.abc import Callable, Iterator, Sequence
from typing import Any

from hydra import version
from hydra._internal import config_loader_impl
from hydra._internal.callbacks import Callbacks
from hydra._internal.config_loader_impl import ConfigLoaderImpl
from hydra._internal.core_plugins.basic_launcher import BasicLauncher
from hydra._internal.core_plugins.basic_sweeper import BasicSweeper
from hydra._internal.hydra import Hydra
from hydra._internal.utils import create_config_search_path, get_args_parser
from hydra.core.override_parser.types import Override
from hydra.utils import instantiate
from omegaconf import DictConfig, ListConfig, OmegaConf, open_dict

__all__ = [
    "BasicLauncher",
    "BasicSweeper",
    "Callbacks",
    "ConfigLoaderImpl",
    "Hydra",
    "apply_overrides",
    "build",
    "create_config_search_path",
    "get_args_parser",
    "register_resolver",
    "set_overrides",
    "set_version_base",
]
_HAS_VERSION_BASE = hasattr(version, "base_at_least")  # Hydra 1.3; deprecated in 1.4


def set_version_base() -> None:
    """Choose the defaults of Hydra 1.3, which 1.4 has without being told."""
    if _HAS_VERSION_BASE:
        version.setbase("1.3")


def register_resolver(name: str, resolver: Callable[..., Any]) -> None:
    """Register a resolver of interpolations whose values each config keeps."""
    register = getattr(
        OmegaConf, "register_resolver", "set_overrides", OmegaConf.register_new_resolver
    )
    register(name, resolver, use_cache=True, replace=True)


def apply_overrides(config: DictConfig, overrides: Sequence[Override]) -> None:
    """Apply overrides of values to a composed config in place, as Hydra does while it composes.

    Raises:
        ConfigCompositionException: a key does not exist, or a value does not fit.
    """
    ConfigLoaderImpl._apply_overrides_to_config(list(overrides), config)


def set_overrides(config: DictConfig, overrides: Sequence[Override]) -> None:
    """Have the ``hydra`` node of a config name the overrides that it was composed with."""
    job = config.hydra.job
    with open_dict(config.hydra):
        config.hydra.overrides.task = [str(override.input_line) for override in overrides]
        if hasattr(config_loader_impl, "get_overrides_dirname"):  # an interpolation in Hydra 1.4
            options = job.config.override_dirname
            job.override_dirname = config_loader_impl.get_overrides_dirname(
                overrides=list(overrides),
                kv_sep=options.kv_sep,
                item_sep=options.item_sep,
                exclude_keys=options.exclude_keys,
            )


def build(node: Any, **arguments: Any) -> Any:
    """Build the object that a checked config names.

    Args:
        node: a mapping with a ``_target_``, or a list of them.
        arguments: besides those of the node.

    Raises:
        InstantiationException: the object does not take its arguments.
    """
    if not _HAS_VERSION_BASE:  # Hydra 1.4 asks for a list, which 1.3 has not
        arguments["_execution_whitelist_"] = sorted(set(_targets(node)))
    return instantiate(node, _convert_="all", **arguments)


def _targets(node: Any) -> Iterator[str]:
    if isinstance(node, dict | DictConfig):
        if "_target_" in node:
            yield str(node["_target_"])
        for value in node.values():
            yield from _targets(value)
    elif isinstance(node, list | ListConfig):
        for value in node:
            yield from _targets(value)

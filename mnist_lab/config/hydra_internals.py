"""Every private name of Hydra, OmegaConf and Optuna that the lab uses.

To admit another version of one of them is to review this file. It also evens out what Hydra 1.3
and 1.4 call by different names.
"""

import contextlib
import copyreg
import functools
import marshal
import re
from collections.abc import Callable, Iterator, Sequence
from contextlib import AbstractContextManager
from pathlib import Path
from typing import Any, cast

import yaml  # type: ignore[import-untyped]
from hydra import utils as hydra_utils
from hydra import version
from hydra._internal import config_loader_impl
from hydra._internal.callbacks import Callbacks
from hydra._internal.config_loader_impl import ConfigLoaderImpl
from hydra._internal.config_repository import ConfigRepository
from hydra._internal.core_plugins.basic_launcher import BasicLauncher
from hydra._internal.core_plugins.basic_sweeper import BasicSweeper
from hydra._internal.hydra import Hydra
from hydra._internal.utils import create_config_search_path, get_args_parser
from hydra.core.override_parser.types import Override
from hydra.core.utils import configure_log as hydra_configure_log
from hydra.errors import InstantiationException
from hydra.types import HydraContext, RunMode
from omegaconf import DictConfig, OmegaConf, flag_override
from omegaconf._utils import get_omega_conf_dumper

from mnist_lab.config.paths import check_utf8
from mnist_lab.errors import LabError

__all__ = [  # of what others import from here; the functions below need no entry
    "BasicLauncher",
    "BasicSweeper",
    "ConfigLoaderImpl",
    "ConfigRepository",
    "Hydra",
    "create_config_search_path",
    "get_args_parser",
]
_IS_1_3 = hasattr(version, "base_at_least")  # and not 1.4
_YAML_KEY = re.compile(r"[\w./@-]{1,60}", re.ASCII)
_UTILS: Any = hydra_utils  # some of whose names are only in 1.4


if not _IS_1_3:
    from hydra._internal.execution_policy import _DeferredTarget  # type: ignore[import-not-found]

    def _as_partial(deferred: Any) -> Any:
        """Pickle a node with ``_partial_`` as what it was in 1.3; else Lightning takes it away."""
        partial = functools.partial(deferred.func, *deferred.args, **deferred.keywords)
        return partial.__reduce__()

    copyreg.pickle(_DeferredTarget, _as_partial)


def set_version_base() -> None:
    """Choose the defaults of Hydra 1.3, which 1.4 has without being told."""
    if _IS_1_3:
        version.setbase("1.3")


def register_resolver(name: str, resolver: Callable[..., Any], use_cache: bool = True) -> None:
    """Register a resolver of interpolations; each config keeps the values of one with a cache."""
    omegaconf: Any = OmegaConf  # whose register_resolver takes other arguments in 2.4
    register = omegaconf.register_new_resolver if _IS_1_3 else omegaconf.register_resolver
    register(name, resolver, use_cache=use_cache, replace=True)


def apply_overrides(config: DictConfig, overrides: Sequence[Override]) -> None:
    """Apply overrides of values to a composed config in place, as Hydra does while it composes.

    Raises:
        ConfigCompositionException: a key does not exist, or a value does not fit.
    """
    ConfigLoaderImpl._apply_overrides_to_config(list(overrides), config)


def set_overrides(config: DictConfig, overrides: Sequence[Override]) -> None:
    """Have the ``hydra`` node of a config name the overrides that it was composed with."""
    job = config.hydra.job
    with flag_override(config.hydra, ["struct", "readonly"], [False, False]):
        config.hydra.overrides.task = [str(override.input_line) for override in overrides]
        if hasattr(config_loader_impl, "get_overrides_dirname"):  # an interpolation in Hydra 1.4
            options = job.config.override_dirname
            job.override_dirname = config_loader_impl.get_overrides_dirname(
                overrides=list(overrides),
                kv_sep=options.kv_sep,
                item_sep=options.item_sep,
                exclude_keys=options.exclude_keys,
            )


def job_context(loader: ConfigLoaderImpl, config: DictConfig) -> HydraContext:
    """Return what Hydra hands to jobs and launchers, with the callbacks of a checked config.

    Raises:
        ConfigError: Hydra cannot write the config into a directory of this name.
    """
    if not _IS_1_3:
        mode = "sweep" if config.hydra.mode == RunMode.MULTIRUN else "run"
        place = str(Path(str(config.hydra[mode].dir)).absolute())
        check_utf8(place, "OmegaConf 2.4", f"take another {mode} directory")
    with _unchecked_by_hydra():
        context: Any = HydraContext(config_loader=loader, callbacks=Callbacks(config))
    if not _IS_1_3:
        context.execution_whitelist = _UTILS.UNSAFE_DISABLE_EXECUTION_CHECKS
    return cast(HydraContext, context)


def configure_log(config: DictConfig) -> None:
    """Log as the ``hydra.hydra_logging`` of a checked config says."""
    with _unchecked_by_hydra():
        hydra_configure_log(config.hydra.hydra_logging, config.hydra.verbose)


def to_yaml(plain: Any) -> str:
    """Return plain values as YAML from which OmegaConf reads the very same values.

    Parts that were dumped before are not dumped again: the configs of trials differ in few.
    """
    try:
        text = "".join(_yaml_parts((), plain)) if plain and isinstance(plain, dict) else ""
    except ValueError:  # a value or a key is no builtin of a config
        text = ""
    text = text or _dumped(plain)
    # PyYAML writes U+0085 as it is, and reads it as the end of a line.
    return _dumped(plain, allow_unicode=False) if "\x85" in text else text


def _yaml_parts(path: tuple[str, ...], node: dict[str, Any]) -> Iterator[str]:
    """Yield the lines of each value of a mapping, as they are in the whole."""
    for key, value in node.items():
        if not isinstance(key, str) or not _YAML_KEY.fullmatch(key):
            raise ValueError(key)
        is_group = isinstance(value, dict) and bool(value)
        text = _yaml_part(marshal.dumps((path, key, {"": 0} if is_group else value), 0))
        if is_group:
            yield text[: text.index("\n") + 1]
            yield from _yaml_parts((*path, key), value)
        else:
            yield text


@functools.lru_cache(maxsize=10_000)
def _yaml_part(content: bytes) -> str:
    path, key, value = marshal.loads(content)
    node = {key: value}
    for name in reversed(path):
        node = {name: node}
    return _dumped(node).split("\n", len(path))[-1]


def _dumped(plain: Any, allow_unicode: bool = True) -> str:
    dumper = get_omega_conf_dumper()
    text: str = yaml.dump(plain, sort_keys=False, Dumper=dumper, allow_unicode=allow_unicode)
    return text


@contextlib.contextmanager
def one_transaction(storage: Any) -> Iterator[None]:
    """Have a database of Optuna's commit what is written within at once, or nothing of it.

    Args:
        storage: an ``optuna.storages.RDBStorage``, whose sessions commit at each write.
    """
    sessions = storage.scoped_session
    with storage.engine.begin() as connection:
        sessions.remove()
        sessions.configure(bind=connection)
        try:
            yield
        finally:
            sessions.remove()
            sessions.configure(bind=storage.engine)


def build(node: Any, **arguments: Any) -> Any:
    """Build the object that a checked config names.

    Args:
        node: a mapping with a ``_target_``, or a list of them.
        arguments: besides those of the node.

    Raises:
        InstantiationException: the object does not take its arguments.
    """
    with _unchecked_by_hydra(), wrapped_errors():
        return _UTILS.instantiate(node, _convert_="all", **arguments)


@contextlib.contextmanager
def wrapped_errors() -> Iterator[None]:
    """Raise what an object says as it is built as Hydra 1.3 does; 1.4 has the key in a note.

    Raises:
        InstantiationException: the object does not take its arguments.
    """
    try:
        yield
    except (InstantiationException, LabError):
        raise
    except Exception as error:
        notes = "\n".join(getattr(error, "__notes__", ()))
        raise InstantiationException(f"{error!r}\n{notes}") from error


def _unchecked_by_hydra() -> AbstractContextManager[Any]:
    """Leave the check of what may be built, which Hydra 1.4 asks for, to the lab's own."""
    if _IS_1_3:
        return contextlib.nullcontext()
    unchecked = _UTILS.execution_whitelist(_UTILS.UNSAFE_DISABLE_EXECUTION_CHECKS)
    return cast(AbstractContextManager[Any], unchecked)

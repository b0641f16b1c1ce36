"""What Hydra composes: registering the schemas, and configs without untrusted code."""

import copy
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import yaml  # type: ignore[import-untyped]
from hydra import version
from hydra._internal.config_loader_impl import ConfigLoaderImpl
from hydra._internal.config_repository import ConfigRepository
from hydra._internal.utils import create_config_search_path
from hydra.core.config_search_path import SearchPathQuery
from hydra.core.config_store import ConfigStore
from hydra.core.hydra_config import HydraConfig
from hydra.core.object_type import ObjectType
from hydra.core.override_parser.overrides_parser import OverridesParser
from hydra.core.override_parser.types import Override
from hydra.core.utils import setup_globals
from hydra.errors import HydraException
from hydra.plugins.config_source import ConfigResult
from hydra.types import RunMode
from omegaconf import DictConfig, OmegaConf, flag_override
from omegaconf.errors import OmegaConfBaseException

from mnist_lab.config.allowlist import check_hydra_targets, check_targets
from mnist_lab.config.interpolations import bounded_interpolations
from mnist_lab.config.messages import explain
from mnist_lab.config.options import CONF
from mnist_lab.config.schema import SCHEMAS, Train
from mnist_lab.config.sweep_schema import LAUNCHERS, Settings
from mnist_lab.config.validate import check
from mnist_lab.config.write_paths import check_folders, check_hydra_places, check_run_places
from mnist_lab.errors import ConfigError, InputError, LabError, UntrustedError, first_line
from mnist_lab.files.yaml import check_yaml, problem_in
from mnist_lab.runs.directory import new_name

_FROZEN = ("callbacks", "launcher", "sweeper", "hydra_logging", "job_logging", "output_subdir")


def register() -> None:
    """Give Hydra the schemas and the resolver that names runs."""
    version.setbase("1.3")
    setup_globals()
    store = ConfigStore.instance()
    store.store(name="train_schema", node=Train)
    for group, schemas in SCHEMAS.items():
        for name, schema in schemas.items():
            store.store(group=group, name=f"{name}_schema", node=schema)
    store.store(group="hydra/sweeper", name="study", node=Settings, provider="mnist_lab")
    for name, schema in LAUNCHERS.items():
        store.store(group="hydra/launcher", name=name, node=schema, provider="mnist_lab")
    OmegaConf.register_new_resolver("run_name", new_name, use_cache=True, replace=True)


class Loader(ConfigLoaderImpl):
    """Composes configs for Hydra, and lets none out that names untrusted code.

    Args:
        overrides: what configs are composed with.
        config_dir: the user's own conf folder, besides the lab's.
        typed: overrides that were typed, which alone can open targets; None is all of them.

    Raises:
        ConfigError: there is no such folder, or an override cannot be read.
    """

    def __init__(
        self,
        overrides: Sequence[str],
        config_dir: str | None = None,
        typed: Sequence[str] | None = None,
    ) -> None:
        register()
        search_path = create_config_search_path(str(CONF))
        if config_dir is not None:
            folder = Path(config_dir).absolute()
            if not folder.is_dir():
                raise ConfigError(f"--config-dir {config_dir}: must be a folder; there is none")
            search_path.prepend(
                "command-line", f"file://{folder}", anchor=SearchPathQuery(provider="schema")
            )
        super().__init__(search_path)
        self.repository = _Repository(search_path)
        self.is_from_file = typed is not None
        typed = overrides if typed is None else typed
        self.allowed = opened_targets(typed)
        self.typed = {one.key_or_group for one in _parsed(typed)}
        self.claimed: DictConfig | None = None  # whose names and times later configs have too

    def load_configuration(self, *arguments: Any, **options: Any) -> DictConfig:
        """Compose a config whose ``hydra`` node holds nothing that could change later.

        Raises:
            ConfigError: an override or a file is wrong.
            UntrustedError: a target is neither the lab's nor opened by ``allow_targets``.
        """
        try:
            with bounded_interpolations():
                config = super().load_configuration(*arguments, **options)
            if self.claimed is not None:
                OmegaConf.copy_cache(from_config=self.claimed, to_config=config)
            check_run_places(OmegaConf.to_container(config), self.typed)
            self._check_code(config)
        except (HydraException, OmegaConfBaseException) as error:
            raise ConfigError(explain(error)) from error
        except RecursionError:
            raise ConfigError("the config is nested too deeply, or without an end") from None
        return config

    def _check_code(self, config: DictConfig) -> None:
        """Check every target, and leave below ``hydra`` the very values that were checked."""
        plain = OmegaConf.to_container(resolved(config))
        assert isinstance(plain, dict)
        hydra = plain.pop("hydra")
        if plain.get("allow_targets", []) != self.allowed:
            raise UntrustedError(
                "allow_targets: is taken from the command line only, not from a file"
            )
        check_hydra_targets(hydra, self.allowed)
        check_hydra_places(hydra, self.typed)
        check_targets(plain, self.allowed)
        if self.is_from_file:
            check_folders(plain, Path())
        with flag_override(config, ["struct", "readonly"], [False, False]):
            for name in _FROZEN:
                config.hydra[name] = _in_output_dir(hydra[name])
            config.hydra.job.env_set = hydra["job"]["env_set"]

    def get_group_options(self, *arguments: Any, **options: Any) -> list[str]:
        """Return what can be chosen; a schema is a part of the choices, not one of them."""
        found = super().get_group_options(*arguments, **options)
        return [name for name in found if not name.endswith("_schema")]

    def compose(self, overrides: Sequence[str], mode: RunMode = RunMode.RUN) -> DictConfig:
        """Compose the primary config, with sweep overrides left out where it is for a sweep."""
        return self.load_configuration(
            config_name="train",
            overrides=list(overrides),
            run_mode=mode,
            validate_sweep_overrides=mode == RunMode.RUN,
        )


def opened_targets(overrides: Sequence[str]) -> list[str]:
    """Return what ``allow_targets`` opens on the command line.

    Raises:
        ConfigError: an override cannot be read.
    """
    opened: list[str] = []
    for override in _parsed(overrides):
        if override.key_or_group != "allow_targets":
            continue
        value = override.value()
        if not isinstance(value, list):
            raise ConfigError(f"allow_targets={value}: must be a list, as in [my_package.]")
        opened = [str(one) for one in value]
    return opened


def _parsed(overrides: Sequence[str]) -> list[Override]:
    try:
        return OverridesParser.create().parse_overrides(list(overrides))
    except HydraException as error:
        raise ConfigError(explain(error)) from error
    except (RecursionError, ValueError) as error:  # the latter: a number of thousands of digits
        raise ConfigError(f"an override cannot be read: {first_line(error)}") from error


def _in_output_dir(node: Any, name: Any = None) -> Any:
    """Have log files that were checked as beside the run's config be so wherever that will be."""
    if isinstance(node, dict):
        return {key: _in_output_dir(value, key) for key, value in node.items()}
    if name == "filename" and isinstance(node, str) and not Path(node).is_absolute():
        return f"${{hydra.runtime.output_dir}}/{Path(node)}"
    return node


class _Repository(ConfigRepository):
    """Reads the YAML of a user's own folder only after a look at what it would become."""

    def load_config(self, config_path: str) -> ConfigResult | None:
        """Return a config with its defaults list.

        Raises:
            ConfigError: the file cannot be read.
            UntrustedError: it asks for objects, or stands for too much.
        """
        source = self._find_object_source(config_path, ObjectType.CONFIG)
        path = None
        if source is not None and source.scheme() == "file" and source.path != str(CONF):
            path = Path(source.path, source._normalize_file_name(config_path))
        try:
            if path is not None:
                check_yaml(path, takes_aliases=True)
            return super().load_config(config_path)
        except InputError as error:
            raise ConfigError(str(error)) from error
        except (OSError, ValueError, yaml.YAMLError) as error:
            if isinstance(error, LabError | OmegaConfBaseException):
                raise
            raise ConfigError(
                f"{path or config_path}: cannot be read: {problem_in(error)}"
            ) from error


def resolved(config: DictConfig, number: int = 0) -> DictConfig:
    """Return a copy with every interpolation resolved, before Hydra knows the run's directory.

    Args:
        config: what to copy.
        number: the job's place in its sweep.
    """
    config = copy.deepcopy(config)
    instance = HydraConfig.instance()
    before = instance.cfg
    try:
        with flag_override(config, ["struct", "readonly"], [False, False]):
            config.hydra.runtime.output_dir = "."
            config.hydra.job.update(num=number, id=str(number))
        instance.set_config(config)
        OmegaConf.set_readonly(config.hydra, False)
        with bounded_interpolations():
            OmegaConf.resolve(config)
    finally:
        instance.cfg = before
    return config


def compose_config(overrides: Sequence[str]) -> DictConfig:
    """Compose and check a config outside a Hydra job.

    Raises:
        ConfigError: an override is wrong.
        UntrustedError: a target is neither the lab's nor opened by ``allow_targets``.
    """
    config = Loader(overrides).compose(overrides)
    config = resolved(config)
    with flag_override(config, ["struct", "readonly"], [False, False]):
        del config["hydra"]
    check(config)
    return config

"""What Hydra composes: registering the schemas, and configs without untrusted code."""

import copy
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from hydra import version
from hydra._internal.config_loader_impl import ConfigLoaderImpl
from hydra._internal.utils import create_config_search_path
from hydra.core.config_search_path import SearchPathQuery
from hydra.core.config_store import ConfigStore
from hydra.core.hydra_config import HydraConfig
from hydra.core.override_parser.overrides_parser import OverridesParser
from hydra.core.utils import setup_globals
from hydra.errors import HydraException
from hydra.types import RunMode
from omegaconf import DictConfig, OmegaConf, flag_override
from omegaconf.errors import OmegaConfBaseException

from mnist_lab.checks import check
from mnist_lab.errors import ConfigError, InputError, LabError, UntrustedError, first_line
from mnist_lab.explain import explain
from mnist_lab.groups import CONF
from mnist_lab.runs import CONFIG, MANIFEST, new_name, read_json
from mnist_lab.schemas import SCHEMAS, Train
from mnist_lab.targets import check_hydra_targets, check_targets

_QUIET = ["logger=none", "callbacks=none", "trainer.enable_progress_bar=false"]


def register() -> None:
    """Give Hydra the schemas and the resolver that names runs."""
    version.setbase("1.3")
    setup_globals()
    store = ConfigStore.instance()
    store.store(name="train_schema", node=Train)
    for group, schemas in SCHEMAS.items():
        for name, schema in schemas.items():
            store.store(group=group, name=f"{name}_schema", node=schema)
    OmegaConf.register_new_resolver("run_name", new_name, use_cache=True, replace=True)


class Loader(ConfigLoaderImpl):
    """Composes configs for Hydra, and lets none out that names untrusted code.

    Args:
        overrides: the command line's, which alone can open targets.
        config_dir: the user's own conf folder, besides the lab's.

    Raises:
        ConfigError: there is no such folder, or an override cannot be read.
    """

    def __init__(self, overrides: Sequence[str], config_dir: str | None = None) -> None:
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
        self.allowed = opened_targets(overrides)
        self.claimed: DictConfig | None = None  # whose names and times later configs have too

    def load_configuration(self, *arguments: Any, **options: Any) -> DictConfig:
        """Compose a config whose ``hydra`` node holds nothing that could change later.

        Raises:
            ConfigError: an override or a file is wrong.
            UntrustedError: a target is neither the lab's nor opened by ``allow_targets``.
        """
        try:
            config = super().load_configuration(*arguments, **options)
            if self.claimed is not None:
                OmegaConf.copy_cache(from_config=self.claimed, to_config=config)
            _check_code(config, self.allowed)
        except (HydraException, OmegaConfBaseException) as error:
            raise ConfigError(explain(error)) from error
        return config

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
    try:
        for override in OverridesParser.create().parse_overrides(list(overrides)):
            value = override.value()
            if override.key_or_group == "allow_targets" and isinstance(value, list):
                opened = [str(one) for one in value]
    except HydraException as error:
        raise ConfigError(explain(error)) from error
    return opened


def _check_code(config: DictConfig, allowed: Sequence[str]) -> None:
    """Check every target, and leave below ``hydra`` the very values that were checked."""
    plain = OmegaConf.to_container(resolved(config))
    assert isinstance(plain, dict)
    hydra = plain.pop("hydra")
    if plain.get("allow_targets", []) != list(allowed):
        raise UntrustedError("allow_targets: is taken from the command line only, not from a file")
    check_hydra_targets(hydra, allowed)
    check_targets(plain, allowed)
    with flag_override(config, ["struct", "readonly"], [False, False]):
        for name in ("callbacks", "launcher", "sweeper"):
            config.hydra[name] = hydra[name]


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


def stored_config(run_dir: Path, overrides: Sequence[str]) -> DictConfig:
    """Return a run's config with other data or another trainer, for evaluation.

    The data are the run's own where no override says otherwise; the trainer is ``auto`` with the
    run's precision, since the machine may be another.

    Raises:
        ConfigError: an override is wrong or of another group.
        InputError: the run's config cannot be read.
        UntrustedError: a target is neither the lab's nor opened by ``allow_targets``.
    """
    path = run_dir / CONFIG
    stored = _read_stored(path)
    chosen = [text.partition("=")[0].lstrip("+~") for text in overrides]
    for text, key in zip(overrides, chosen, strict=True):
        if key.partition(".")[0] not in ("data", "trainer", "allow_targets"):
            raise ConfigError(f"{text}: only data and trainer can be chosen for a trained model")
    try:
        dataset = [] if "data" in chosen else [f"data={stored.data.dataset}"]
        config = compose_config([*dataset, *_QUIET, *overrides])
        config.run_dir = str(run_dir)
        config.model = stored.model
        for name, value in stored.data.items():
            if name not in ("_target_", "dataset", "augment") and f"data.{name}" not in chosen:
                config.data[name] = value
        if "trainer.precision" not in chosen:
            config.trainer.precision = read_json(run_dir / MANIFEST).get("precision", "auto")
        OmegaConf.resolve(config)
    except (OmegaConfBaseException, AttributeError) as error:
        raise InputError(f"{path}: not a run's config: {first_line(error)}") from error
    check_targets(OmegaConf.to_container(config), config.allow_targets)
    return config


def run_config(run_dir: Path, allowed: Sequence[str], place: Path | None = None) -> DictConfig:
    """Return the config of a run as it was, to go on with it or to run it again.

    Args:
        run_dir: the run's directory, wherever it is now.
        allowed: targets that the command line opened; those of the file open none.
        place: the directory to run in; None is the run's own.

    Raises:
        ConfigError: this version of the lab does not take a value, or the machine lacks the device.
        InputError: the run's config cannot be read.
        UntrustedError: a target is neither the lab's nor opened.
    """
    register()
    path = run_dir / CONFIG
    stored = _read_stored(path)
    try:
        check_targets(OmegaConf.to_container(stored), allowed)
        config: DictConfig = OmegaConf.structured(Train)
        for name, node in stored.items():
            config[name] = _typed(str(name), node)
        folder = str(place or run_dir)
        config.run_dir = config.trainer.default_root_dir = folder
        config.allow_targets = list(allowed)
        for logger in (config.logger or {}).values():
            if logger.get("save_dir") == ".":
                logger.save_dir = folder
        OmegaConf.resolve(config)
        check_targets(OmegaConf.to_container(config), allowed)
    except (OmegaConfBaseException, AttributeError, TypeError, ValueError) as error:
        if isinstance(error, LabError):
            raise
        raise InputError(f"{path}: not a run's config: {first_line(error)}") from error
    check(config)
    return config


def _typed(group: str, node: Any) -> Any:
    """Give a group of a run's config the types of the schema that it was composed with."""
    if group == "callbacks" and node is not None:
        return {name: _merged(SCHEMAS[group].get(str(name)), one) for name, one in node.items()}
    schemas = SCHEMAS.get(group, {}).values()
    key = "name" if group in ("optimizer", "scheduler") else "_target_"
    fitting = [one for one in schemas if getattr(one, key, None) == node.get(key)]
    return _merged(fitting[0] if fitting else None, node)


def _merged(schema: type[Any] | None, node: Any) -> Any:
    return OmegaConf.merge(OmegaConf.structured(schema), node) if schema else node


def _read_stored(path: Path) -> DictConfig:
    try:
        stored = OmegaConf.load(path)
    except FileNotFoundError:
        raise InputError(f"{path}: no such file; is {path.parent} a run's directory?") from None
    except Exception as error:
        raise InputError(f"{path}: cannot be read: {first_line(error)}") from error
    if not isinstance(stored, DictConfig):
        raise InputError(f"{path}: not a run's config: a mapping is required")
    return stored

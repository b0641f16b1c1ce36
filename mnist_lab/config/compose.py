"""Composes configs by Hydra, each run and each trial once, and lets none out that is not admitted.

A ``Loader`` composes a run, or a sweep and then its trials, and checks which code they name.
``run`` and ``sweep`` hand the very config that was checked to Hydra's jobs, where ``hydra.main``
would compose it again.
"""

import contextlib
import copy
import functools
import pickle
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Any

import yaml  # type: ignore[import-untyped]
from hydra.core.config_search_path import SearchPathQuery
from hydra.core.config_store import ConfigStore
from hydra.core.hydra_config import HydraConfig
from hydra.core.override_parser.overrides_parser import OverridesParser
from hydra.core.override_parser.types import Override
from hydra.core.plugins import Plugins
from hydra.core.utils import JobRuntime, run_job, setup_globals
from hydra.errors import HydraException
from hydra.plugins.config_source import ConfigResult
from hydra.types import RunMode
from omegaconf import DictConfig, OmegaConf, flag_override
from omegaconf.errors import OmegaConfBaseException

from mnist_lab.config import hydra_internals
from mnist_lab.config.allowlist import check_hydra_targets, check_targets
from mnist_lab.config.messages import explain
from mnist_lab.config.options import CONF
from mnist_lab.config.schema import SCHEMAS, Train
from mnist_lab.config.sweep_schema import LAUNCHERS, Settings
from mnist_lab.config.validate import check
from mnist_lab.config.write_paths import check_folders, check_run_places
from mnist_lab.errors import ConfigError, LabError, UntrustedError, first_line
from mnist_lab.files.yaml import problem_in
from mnist_lab.runs.directory import new_name

_PRIMARY = "train"  # the config that Hydra starts from, conf/train.yaml
_SHIPPED = ("callbacks", "hydra_logging", "job_logging", "output_subdir", "job.env_set")
"""Keys below ``hydra`` that a folder of choices, where a sweep's file names it, cannot set."""


def register() -> None:
    """Give Hydra the schemas and the resolver that names runs."""
    hydra_internals.set_version_base()
    setup_globals()
    JobRuntime.instance().set("name", _PRIMARY)
    hydra_internals.register_resolver("run_name", new_name)
    _register_schemas()


@functools.cache  # Hydra 1.4 takes a schema once
def _register_schemas() -> None:
    store = ConfigStore.instance()
    store.store(name="train_schema", node=Train)
    for group, schemas in SCHEMAS.items():
        for name, schema in schemas.items():
            store.store(group=group, name=f"{name}_schema", node=schema)
    store.store(group="hydra/sweeper", name="study", node=Settings, provider="mnist_lab")
    for name, schema in LAUNCHERS.items():
        store.store(group="hydra/launcher", name=name, node=schema, provider="mnist_lab")


class Loader(hydra_internals.ConfigLoaderImpl):
    """Composes a run, or a sweep and its trials, and refuses code that is not admitted.

    Args:
        overrides: what is composed with.
        config_dir: the user's own conf folder, besides the lab's.
        typed: the overrides that were typed, where the others are from a sweep's file; only these
            can open targets. None is all of them.

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
        search_path = hydra_internals.create_config_search_path(str(CONF))
        if config_dir is not None:
            folder = Path(config_dir).absolute()
            if not folder.is_dir():
                raise ConfigError(f"--config-dir {config_dir}: must be a folder; there is none")
            search_path.prepend(
                "command-line", f"file://{folder}", anchor=SearchPathQuery(provider="schema")
            )
        super().__init__(search_path)
        self.repository = _Repository(search_path)
        self._file_dir = config_dir if typed is not None else None
        self._is_from_file = typed is not None
        typed = overrides if typed is None else typed
        self.allowed = opened_targets(typed)
        self._typed = {override.key_or_group for override in parse_overrides(typed)}
        self.bases: dict[tuple[str, ...], bytes] = {}  # by the choices of files
        self.composed: dict[tuple[str, ...], bytes] = {}  # by all overrides

    def compose(self, overrides: Sequence[str], mode: RunMode = RunMode.RUN) -> DictConfig:
        """Compose the config of a run or a sweep; ``hydra.mode`` says which it is.

        The name of its directory is settled, so that each copy has the same.

        Args:
            overrides: besides the defaults.
            mode: what the command asks for, which a config may ask for as well.

        Raises:
            ConfigError: an override or a file is wrong.
            UntrustedError: a target is neither the lab's nor opened by ``allow_targets``.
        """
        with _one_line_errors():
            config = self._from_files(overrides)
            mode = RunMode.MULTIRUN if config.hydra.mode == RunMode.MULTIRUN else mode
            config.hydra.mode = mode
            _check_sweeps(parse_overrides(overrides), mode)
            with reading(config):
                str(config.hydra.run.dir if mode == RunMode.RUN else config.hydra.sweep.dir)
            check_run_places(config, self._typed)
            self._check_code(config)
        return config

    def _from_files(self, overrides: Sequence[str]) -> DictConfig:
        return self.load_configuration(
            config_name=_PRIMARY,
            overrides=list(overrides),
            run_mode=RunMode.MULTIRUN,  # in which several values of a key are no error
            validate_sweep_overrides=False,
        )

    def _check_code(self, config: DictConfig) -> None:
        plain: Any = OmegaConf.to_container(resolved(config, is_whole=True))
        hydra = plain.pop("hydra")
        if plain.get("allow_targets", []) != self.allowed:
            raise UntrustedError(
                "allow_targets: is taken from the command line only, not from a file"
            )
        check_hydra_targets(hydra, self.allowed)
        check_targets(plain, self.allowed, is_typed=not self._is_from_file)
        if self._is_from_file:
            check_folders(plain, Path())
        if self._file_dir is not None:
            shipped = self._from_files([])
            for key in _SHIPPED:
                if OmegaConf.select(config.hydra, key) != OmegaConf.select(shipped.hydra, key):
                    raise UntrustedError(
                        f"hydra.{key}: is taken from {self._file_dir} only where --config-dir is "
                        "typed; give the command that started the sweep"
                    )

    def trial(self, master: DictConfig, overrides: Sequence[str], number: int = 0) -> DictConfig:
        """Compose a trial, keep it for the launcher, and return a copy with its values resolved.

        Args:
            master: the sweep's config.
            overrides: all of the trial's.
            number: its place in the sweep.

        Raises:
            ConfigError: an override does not fit.
            UntrustedError: a target is neither the lab's nor opened by ``allow_targets``.
        """
        with _one_line_errors():
            config = self._composed_trial(master, overrides)
            check_run_places(config, ())
            self.composed[tuple(overrides)] = pickle.dumps(config)
            resolve(config, number)
            plain: Any = OmegaConf.to_container(config)
        plain.pop("hydra")
        check_targets(plain, self.allowed, is_typed=not self._is_from_file)
        return config

    def _composed_trial(self, master: DictConfig, overrides: Sequence[str]) -> DictConfig:
        """Apply a trial's values to the config that its choice of files makes.

        Hydra takes 80 ms for a config, more than a minute for a grid of a thousand; so each choice
        of files is composed by Hydra once, the sweep's own not again.
        """
        parsed = parse_overrides(overrides)
        fixed = parse_overrides(list(master.hydra.overrides.task))
        known = {_key_and_value(one) for one in fixed if not one.is_sweep_override()}
        new = [override for override in parsed if _key_and_value(override) not in known]
        groups = [one for one in new if self.repository.group_exists(one.key_or_group)]
        values = [one for one in new if one not in groups]
        key = tuple(str(override.input_line) for override in groups)
        if key not in self.bases:
            base = master
            if groups:
                texts = [str(one.input_line) for one in parsed if one not in values]
                base = super().load_sweep_config(master, texts)
            self.bases[key] = pickle.dumps(base)
        config: DictConfig = pickle.loads(self.bases[key])
        hydra_internals.apply_overrides(config, values)
        OmegaConf.set_readonly(config.hydra, False)
        config.hydra.mode = RunMode.MULTIRUN
        hydra_internals.set_overrides(config, parsed)
        return config

    def load_sweep_config(
        self, master_config: DictConfig, sweep_overrides: list[str]
    ) -> DictConfig:
        """Return a trial's config to a launcher: the one that was checked, if there is one."""
        key = tuple(sweep_overrides)
        if key not in self.composed:
            self.trial(master_config, sweep_overrides)
        config: DictConfig = pickle.loads(self.composed[key])
        return config

    def only(self, trials: Sequence[Sequence[str]]) -> "Loader":
        """Return a copy that keeps the configs of some trials, for another process."""
        loader = copy.copy(self)
        loader.bases = {}
        loader.composed = {tuple(one): self.composed[tuple(one)] for one in trials}
        return loader

    def get_group_options(self, *arguments: Any, **options: Any) -> list[str]:
        """Return what can be chosen; a schema is a part of the choices, not one of them."""
        names = super().get_group_options(*arguments, **options)
        return [name for name in names if not name.endswith("_schema")]


def _key_and_value(override: Override) -> tuple[str, str]:
    """Return an override in the spelling that sweepers give it."""
    return override.get_key_element(), override.get_value_element_as_str()


def _check_sweeps(overrides: Sequence[Override], mode: RunMode) -> None:
    """Check that only a sweep has several values of a key, and none below ``hydra``.

    Raises:
        ConfigError: another key has several.
    """
    for override in overrides:
        if override.is_sweep_override() and mode == RunMode.RUN:
            raise ConfigError(
                f"{override.input_line}: several values are a sweep, which needs -m; a list is "
                "written [1,2]"
            )
        if override.is_sweep_override() and override.is_hydra_override():
            raise ConfigError(
                f"{override.input_line}: must have one value, as it is the same for all trials"
            )


@contextlib.contextmanager
def _one_line_errors() -> Iterator[None]:
    """Turn errors of Hydra and OmegaConf into a ConfigError of one line."""
    try:
        yield
    except LabError:
        raise
    except (HydraException, OmegaConfBaseException) as error:
        raise ConfigError(explain(error)) from error
    except RecursionError:
        raise ConfigError("the config is nested too deeply, or without an end") from None


class _Repository(hydra_internals.ConfigRepository):
    """Reads config files, and names one that cannot be read."""

    def load_config(self, config_path: str) -> ConfigResult | None:
        """Return a file's config with its defaults list.

        Raises:
            ConfigError: the file cannot be read, or holds no mapping.
        """
        name = f"{config_path}.yaml"
        try:
            result = super().load_config(config_path)
        except RecursionError:
            raise ConfigError(f"{name}: cannot be read: it is nested too deeply") from None
        except (OSError, ValueError, yaml.YAMLError) as error:
            if isinstance(error, OmegaConfBaseException | HydraException):
                raise
            raise ConfigError(f"{name}: cannot be read: {problem_in(error)}") from error
        if result is not None and not OmegaConf.is_dict(result.config):
            raise ConfigError(f"{name}: a mapping is required")
        return result


def opened_targets(overrides: Sequence[str]) -> list[str]:
    """Return what ``allow_targets`` opens on the command line.

    Raises:
        ConfigError: an override cannot be read.
    """
    opened: list[str] = []
    for override in parse_overrides(overrides):
        if override.key_or_group != "allow_targets":
            continue
        value = override.value()
        if not isinstance(value, list):
            raise ConfigError(f"allow_targets={value}: must be a list, as in [my_package.]")
        opened = [str(target) for target in value]
    return opened


def parse_overrides(overrides: Sequence[str]) -> list[Override]:
    """Parse overrides of the command line.

    Raises:
        ConfigError: one cannot be read.
    """
    try:
        return OverridesParser.create().parse_overrides(list(overrides))
    except HydraException as error:
        raise ConfigError(explain(error)) from error
    except (RecursionError, ValueError) as error:  # the latter: a number of thousands of digits
        raise ConfigError(f"an override cannot be read: {first_line(error)}") from error


@contextlib.contextmanager
def reading(config: DictConfig) -> Iterator[None]:
    """Have ``${hydra:...}`` be of a config."""
    instance = HydraConfig.instance()
    before = instance.cfg
    try:
        instance.set_config(config)
        OmegaConf.set_readonly(config.hydra, False)
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


def resolved(config: DictConfig, number: int = 0, *, is_whole: bool = False) -> DictConfig:
    """Return a copy whose interpolations are resolved, as ``resolve`` does."""
    config = copy.deepcopy(config)
    resolve(config, number, is_whole=is_whole)
    return config


def compose_config(overrides: Sequence[str]) -> DictConfig:
    """Compose and check a config outside a Hydra job.

    Raises:
        ConfigError: an override is wrong.
        UntrustedError: a target is neither the lab's nor opened by ``allow_targets``.
    """
    config = Loader(overrides).compose(overrides)
    resolve(config)
    with flag_override(config, ["struct", "readonly"], [False, False]):
        del config["hydra"]
    check(config)
    return config


def run(loader: Loader, config: DictConfig, task: Callable[[DictConfig], Any]) -> Any:
    """Run one job with a composed config, as ``hydra.main`` does with one that it composes.

    Args:
        loader: composed it.
        config: of the run.
        task: trains as a config says.
    """
    context = hydra_internals.job_context(loader, config)
    context.callbacks.on_run_start(config=config, config_name=_PRIMARY)
    job = run_job(
        hydra_context=context,
        task_function=task,
        config=config,
        job_dir_key="hydra.run.dir",
        job_subdir_key=None,
    )
    context.callbacks.on_run_end(config=config, config_name=_PRIMARY, job_return=job)
    return job.return_value  # raises what the task raised


def sweep(loader: Loader, config: DictConfig, task: Callable[[DictConfig], Any]) -> Any:
    """Run a sweep with a composed config by the sweeper that it chooses.

    Args:
        loader: composed it.
        config: of the sweep.
        task: trains as a trial's config says.
    """
    hydra_internals.configure_log(config)
    context = hydra_internals.job_context(loader, config)
    context.callbacks.on_multirun_start(config=config, config_name=_PRIMARY)
    sweeper = Plugins.instance().instantiate_sweeper(
        config=config, hydra_context=context, task_function=task
    )
    result = sweeper.sweep(list(config.hydra.overrides.task))
    context.callbacks.on_multirun_end(config=config, config_name=_PRIMARY)
    return result

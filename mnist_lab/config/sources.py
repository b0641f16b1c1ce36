"""Sources that Hydra composes from: schemas, conf/, and a folder of the user's."""

import copy
import functools
import os
from collections.abc import Sequence
from pathlib import Path

import yaml  # type: ignore[import-untyped]
from hydra.core.config_search_path import ConfigSearchPath, SearchPathQuery
from hydra.core.config_store import ConfigStore
from hydra.core.utils import JobRuntime, setup_globals
from hydra.errors import HydraException
from hydra.plugins.config_source import ConfigResult
from omegaconf import OmegaConf
from omegaconf.errors import OmegaConfBaseException

from mnist_lab.config import hydra_internals
from mnist_lab.config.metrics import best_mode
from mnist_lab.config.options import CONF
from mnist_lab.config.renames import rename_in
from mnist_lab.config.schema import SCHEMAS, Train, typed_node
from mnist_lab.config.sweep_schema import LAUNCHERS, LearningRates, Settings
from mnist_lab.errors import ConfigError
from mnist_lab.files.yaml import problem_in
from mnist_lab.runs.directory import new_name

PRIMARY = "train"  # the config that Hydra starts from, conf/train.yaml
_OF_ALL = ("experiment", "sweep")  # groups whose files set keys of the whole config


def register() -> None:
    """Give Hydra the schemas and the resolvers of its interpolations."""
    hydra_internals.set_version_base()
    setup_globals()
    JobRuntime.instance().set("name", PRIMARY)
    hydra_internals.register_resolver("run_name", new_name)
    hydra_internals.register_resolver("best_mode", best_mode, use_cache=False)
    _register_schemas()


@functools.cache  # Hydra 1.4 takes a schema once
def _register_schemas() -> None:
    store = ConfigStore.instance()
    store.store(name="train_schema", node=Train)
    for group, schemas in SCHEMAS.items():
        for name, schema in schemas.items():
            store.store(group=group, name=f"{name}_schema", node=typed_node(schema))
    store.store(group="hydra/sweeper", name="study", node=Settings, provider="mnist_lab")
    store.store(group="hydra/sweeper", name="lr_range", node=LearningRates, provider="mnist_lab")
    for name, schema in LAUNCHERS.items():
        store.store(group="hydra/launcher", name=name, node=schema, provider="mnist_lab")


def search_path(config_dirs: Sequence[str]) -> ConfigSearchPath:
    """Return where choices are looked up: conf/, then folders of the user's, then the schemas.

    Raises:
        ConfigError: there is no such folder.
    """
    path: ConfigSearchPath = hydra_internals.create_config_search_path(str(CONF))
    for config_dir in config_dirs:
        folder = Path(config_dir).absolute()
        if not os.path.isdir(folder):
            raise ConfigError(f"--config-dir {config_dir}: must be a folder; there is none")
        path.prepend("command-line", f"file://{folder}", anchor=SearchPathQuery(provider="schema"))
    return path


class Repository(hydra_internals.ConfigRepository):
    """Reads config files, and names one that cannot be read."""

    def __deepcopy__(self, memo: object) -> "Repository":
        """Return a copy with the same sources, which Hydra asks for several times a config.

        It gives the copy other sources where a config names some. A deep copy of a source is one
        of Hydra's whole store of schemas.
        """
        return copy.copy(self)

    def load_config(self, config_path: str) -> ConfigResult | None:
        """Return a file's config with its defaults list.

        A recipe, or a search space, is of the whole config also where its first line does not say
        ``# @package _global_``.

        Raises:
            ConfigError: the file cannot be read, or holds no mapping.
        """
        name = f"{config_path}.yaml"
        try:
            result = super().load_config(config_path)
        except (OSError, ValueError, yaml.YAMLError) as error:
            if isinstance(error, OmegaConfBaseException | HydraException):
                raise
            raise ConfigError(f"{name}: cannot be read: {problem_in(error)}") from error
        if result is not None and not OmegaConf.is_dict(result.config):
            raise ConfigError(f"{name}: a mapping is required")
        if result is not None and config_path.partition("/")[0] in _OF_ALL:
            result.header["package"] = result.header["package"] or "_global_"
        if result is not None and result.path.startswith("file://"):  # the user's own may be older
            package = result.header["package"] or config_path.rpartition("/")[0].replace("/", ".")
            plain = OmegaConf.to_container(result.config)
            if rename_in(plain, package.removeprefix("_global_").lstrip("."), is_typed=True):
                result.config = OmegaConf.create(plain)
        return result

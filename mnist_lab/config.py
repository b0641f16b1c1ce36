"""What Hydra composes: registering the schemas, composing, and the checks before a run."""

import copy
from collections.abc import Iterator, Sequence
from dataclasses import fields, is_dataclass
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

from mnist_lab.errors import ConfigError, InputError, UntrustedError
from mnist_lab.explain import explain, unknown_key
from mnist_lab.groups import CONF, choices
from mnist_lab.knobs import check_knob, nearest
from mnist_lab.runs import CONFIG, MANIFEST, new_name, read_json
from mnist_lab.schemas import METRICS, SCHEMAS, Train
from mnist_lab.targets import TARGETS, check_hydra_targets, check_targets

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
        self.allowed = _opened_targets(overrides)

    def load_configuration(self, *arguments: Any, **options: Any) -> DictConfig:
        """Compose a config whose ``hydra`` node holds nothing that could change later.

        Raises:
            ConfigError: an override or a file is wrong.
            UntrustedError: a target is neither the lab's nor opened by ``allow_targets``.
        """
        try:
            config = super().load_configuration(*arguments, **options)
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


def _opened_targets(overrides: Sequence[str]) -> list[str]:
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


def resolved(config: DictConfig) -> DictConfig:
    """Return a copy with every interpolation resolved, before Hydra knows the run's directory."""
    config = copy.deepcopy(config)
    instance = HydraConfig.instance()
    before = instance.cfg
    try:
        with flag_override(config, ["struct", "readonly"], [False, False]):
            config.hydra.runtime.output_dir = "."
            config.hydra.job.update(num=0, id="0")
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
    try:
        stored = OmegaConf.load(path)
    except FileNotFoundError:
        raise InputError(f"{path}: no such file; is {run_dir} a run's directory?") from None
    except Exception as error:
        raise InputError(f"{path}: cannot be read: {_first_line(error)}") from error
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
        raise InputError(f"{path}: not a run's config: {_first_line(error)}") from error
    check_targets(OmegaConf.to_container(config), config.allow_targets)
    return config


def _first_line(error: BaseException) -> str:
    return str(error).strip().partition("\n")[0] or type(error).__name__


def check(config: DictConfig) -> None:
    """Check keys, ranges and combinations of a resolved config, and that the device is there.

    Raises:
        ConfigError: a key is unknown, a value is out of its range, or the machine lacks the device.
    """
    for group in SCHEMAS:
        if group not in config or OmegaConf.is_missing(config, group):
            raise ConfigError(f"{group}: must be chosen, one of {', '.join(choices(group))}")
    for prefix, node in _typed_nodes(config):
        for name in node:
            if name not in _field_names(node) and not (prefix == "" and name == "hydra"):
                raise ConfigError(unknown_key(f"{prefix}{name!s}", [str(one) for one in node]))
        for knob in fields(OmegaConf.get_type(node)):  # type: ignore[arg-type]
            if knob.metadata:
                check_knob(f"{prefix}{knob.name}", knob, node)
    _check_combinations(config)
    _check_monitors(config)
    _check_device(config.trainer.accelerator)


def _typed_nodes(config: DictConfig, prefix: str = "") -> Iterator[tuple[str, DictConfig]]:
    """Yield each node that has a schema, with its key and a dot."""
    if is_dataclass(OmegaConf.get_type(config)):
        yield prefix, config
    for name in config:
        node = config._get_node(name)
        if isinstance(node, DictConfig) and name != "hydra" and not node._is_none():
            yield from _typed_nodes(node, f"{prefix}{name!s}.")


def _field_names(node: DictConfig) -> set[str]:
    return {field.name for field in fields(OmegaConf.get_type(node))}  # type: ignore[arg-type]


def _check_combinations(config: DictConfig) -> None:
    """Check what one knob alone cannot know."""
    trainer, optimizer = config.trainer, config.optimizer
    if optimizer.get("nesterov") and not optimizer.momentum:
        raise ConfigError("optimizer.nesterov=true: needs optimizer.momentum above 0")
    endless = trainer.max_epochs == -1 or (trainer.max_epochs is None and trainer.max_time)
    if config.scheduler.name == "one_cycle" and 0 in (trainer.max_epochs, trainer.max_steps):
        raise ConfigError("scheduler=one_cycle: needs a step at least; take scheduler=none")
    if (
        config.scheduler.name in ("cosine", "one_cycle")
        and endless
        and trainer.max_steps in (None, -1)
    ):
        raise ConfigError(
            f"scheduler={config.scheduler.name}: needs the length of the run; set "
            "trainer.max_epochs or trainer.max_steps, or take scheduler=none"
        )
    if trainer.devices in (0, "0", "", []):
        raise ConfigError(
            f"trainer.devices={trainer.devices}: must be at least 1, a list of indices, or auto"
        )


def _check_monitors(config: DictConfig) -> None:
    """Check that what chooses the best model is measured, and that better is not taken for worse.

    A model of the user's own may measure anything.
    """
    if config.model._target_ not in TARGETS:
        return
    places = {"": config}
    for name, node in (config.callbacks or {}).items():
        places[f"callbacks.{name}."] = node
    for prefix, node in places.items():
        monitor, mode = node.get("monitor"), node.get("mode")
        if monitor is None:
            continue
        if monitor not in METRICS:
            allowed = ", ".join(METRICS)
            raise ConfigError(
                f"{prefix}monitor={monitor}: must be one of {allowed}{nearest(monitor, METRICS)}"
            )
        if mode is not None and mode != METRICS[monitor]:
            raise ConfigError(
                f"{prefix}mode={mode}: must be {METRICS[monitor]} where {prefix}monitor={monitor}"
            )


def _check_device(accelerator: str | None) -> None:
    """Check that the machine has the accelerator that was asked for by name."""
    if accelerator not in ("gpu", "cuda", "mps"):
        return
    import torch

    has_cuda, has_mps = torch.cuda.is_available(), torch.backends.mps.is_available()
    if not {"gpu": has_cuda or has_mps, "cuda": has_cuda, "mps": has_mps}[accelerator]:
        raise ConfigError(
            f"trainer.accelerator={accelerator}: this machine has no such device that torch "
            f"{torch.__version__} can use; take trainer=cpu or trainer=auto"
        )

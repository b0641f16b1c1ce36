"""What Hydra composes: where conf/ is, the schemas, the checks, and errors in one line."""

import difflib
import os
import re
import sys
from collections.abc import Iterator
from dataclasses import MISSING, Field, fields
from pathlib import Path
from typing import Any

from hydra import compose, initialize_config_dir
from hydra.core.config_store import ConfigStore
from hydra.core.global_hydra import GlobalHydra
from hydra.errors import HydraException, MissingConfigException
from hydra.experimental.callback import Callback
from omegaconf import DictConfig, OmegaConf
from omegaconf.errors import OmegaConfBaseException

from mnist_lab.errors import ConfigError, InputError, LabError, UntrustedError
from mnist_lab.runs import CONFIG, MANIFEST, new_name, read_json
from mnist_lab.schemas import SCHEMAS, Train

_PACKAGE = Path(__file__).parent
# A wheel carries conf/ inside the package; a checkout has it beside.
CONF = next(path for path in (_PACKAGE / "conf", _PACKAGE.parent / "conf") if path.is_dir())
TARGETS = {
    "mnist_lab.models.SoftmaxRegression",
    "mnist_lab.models.MLP",
    "mnist_lab.models.CNN",
    "mnist_lab.data.MNISTDataModule",
    "mnist_lab.callbacks.Progress",
    "mnist_lab.callbacks.Pictures",
    "lightning.Trainer",
    "lightning.pytorch.loggers.TensorBoardLogger",
    "lightning.pytorch.loggers.CSVLogger",
} | {
    f"lightning.pytorch.callbacks.{name}"
    for name in (
        "DeviceStatsMonitor",
        "EarlyStopping",
        "GradientAccumulationScheduler",
        "LearningRateMonitor",
        "ModelCheckpoint",
        "StochasticWeightAveraging",
        "Timer",
    )
}


_QUIET = ["logger=none", "callbacks=none", "trainer.enable_progress_bar=false"]


def register() -> None:
    """Give Hydra the schemas and the resolver that names runs."""
    store = ConfigStore.instance()
    store.store(name="train_schema", node=Train)
    for group, schemas in SCHEMAS.items():
        for name, schema in schemas.items():
            store.store(group=group, name=f"{name}_schema", node=schema)
    OmegaConf.register_new_resolver("run_name", new_name, use_cache=True, replace=True)


def choices(group: str) -> dict[str, str]:
    """Return a group's options, each with the first comment line of its file."""
    options = {}
    for path in sorted((CONF / group).glob("*.yaml")):
        first = path.read_text(encoding="utf-8").partition("\n")[0]
        options[path.stem] = first.removeprefix("#").strip()
    return options


def groups() -> list[str]:
    """Return the names of the config groups."""
    return sorted(path.name for path in CONF.iterdir() if path.is_dir())


def compose_config(overrides: list[str]) -> DictConfig:
    """Compose a config outside a Hydra job.

    Raises:
        ConfigError: an override is wrong.
    """
    register()
    try:
        with initialize_config_dir(str(CONF), version_base="1.3"):
            return compose("train", overrides)
    except (HydraException, OmegaConfBaseException) as error:
        raise ConfigError(explain(error)) from error


def stored_config(run_dir: Path, overrides: list[str]) -> DictConfig:
    """Return a run's config with other data or another trainer, for evaluation.

    The data are the run's own where no override says otherwise; the trainer is ``auto`` with the
    run's precision, since the machine may be another.

    Raises:
        ConfigError: an override is wrong or of another group.
        InputError: the run's config cannot be read.
    """
    path = run_dir / CONFIG
    try:
        stored = OmegaConf.load(path)
    except FileNotFoundError:
        raise InputError(f"{path}: no such file; is {run_dir} a run's directory?") from None
    except Exception as error:
        raise InputError(f"{path}: cannot be read: {_first_line(error)}") from error
    chosen = [text.partition("=")[0].lstrip("+~") for text in overrides]
    for key in chosen:
        if key.partition(".")[0] not in ("data", "trainer", "allow_targets"):
            raise ConfigError(f"{key}: evaluate takes data and trainer overrides only")
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
    except (OmegaConfBaseException, AttributeError) as error:
        raise InputError(f"{path}: not a run's config: {_first_line(error)}") from error
    return config


def _first_line(error: BaseException) -> str:
    return str(error).strip().partition("\n")[0] or type(error).__name__


class CheckBeforeStart(Callback):
    """Checks a composed config before Hydra makes a directory for it."""

    def on_run_start(self, config: DictConfig, **kwargs: Any) -> None:
        """Check the config of a single run."""
        _exit_on_error(config)

    def on_multirun_start(self, config: DictConfig, **kwargs: Any) -> None:
        """Check the config of every job of a sweep."""
        from hydra._internal.core_plugins.basic_sweeper import BasicSweeper
        from hydra.core.override_parser.overrides_parser import OverridesParser

        overrides = OverridesParser.create().parse_overrides(config.hydra.overrides.task)
        hydra = GlobalHydra.instance().hydra
        assert hydra is not None
        (batches,) = [BasicSweeper.split_arguments(overrides, max_batch_size=None)]
        for job in batches[0]:
            try:
                composed = hydra.config_loader.load_sweep_config(config, list(job))
            except (HydraException, OmegaConfBaseException) as error:
                _exit_on_error(ConfigError(explain(error)))
            else:
                _exit_on_error(composed)


def _exit_on_error(found: DictConfig | ConfigError) -> None:
    """End the process with one line if a config is bad: Hydra swallows a callback's exceptions."""
    try:
        if isinstance(found, ConfigError):
            raise found
        check(found)
    except LabError as error:
        print(f"mnist-lab train: {error}", file=sys.stderr)
        raise SystemExit(error.exit_code) from None


def check(config: DictConfig) -> None:
    """Check ranges, targets and the device of a composed config.

    Raises:
        ConfigError: a value is out of its range, or the machine lacks the device.
        UntrustedError: a target is neither the lab's nor opened by ``allow_targets``.
    """
    prefixes = _allowed_prefixes(config)
    config = OmegaConf.masked_copy(config, [str(name) for name in config if name != "hydra"])
    config.run_dir = "."  # known only once Hydra has made it
    check_targets(config, prefixes)
    for key, node in _nodes(config):
        for knob in fields(OmegaConf.get_type(node)):  # type: ignore[arg-type]
            if knob.metadata:
                check_knob(f"{key}{knob.name}", node[knob.name], knob)
    if config.optimizer.get("nesterov") and not config.optimizer.momentum:
        raise ConfigError("optimizer.nesterov=true: needs optimizer.momentum above 0")
    check_device(config.trainer.accelerator)


def check_targets(config: DictConfig, prefixes: list[str]) -> None:
    """Refuse every ``_target_`` that is not the lab's and not opened by a prefix.

    Raises:
        UntrustedError: there is one.
    """
    try:
        plain = OmegaConf.to_container(config, resolve=True)
    except OmegaConfBaseException as error:
        raise ConfigError(explain(error)) from error
    for key, target in _find_targets(plain):
        if target not in TARGETS and not (
            isinstance(target, str) and any(target.startswith(prefix) for prefix in prefixes)
        ):
            raise UntrustedError(
                f"{key}={target}: not a target that mnist_lab ships; if the code is yours, open it "
                "on the command line: allow_targets=[my_package.]"
            )


def _find_targets(node: Any, key: str = "") -> Iterator[tuple[str, Any]]:
    if isinstance(node, dict):
        for name, value in node.items():
            path = f"{key}.{name}" if key else str(name)
            if name == "_target_":
                yield path, value
            else:
                yield from _find_targets(value, path)
    elif isinstance(node, list):
        for index, value in enumerate(node):
            yield from _find_targets(value, f"{key}[{index}]")


def _allowed_prefixes(config: DictConfig) -> list[str]:
    """Return ``allow_targets``, which counts on the command line only."""
    prefixes = list(config.allow_targets)
    given = config.hydra.overrides.task if "hydra" in config else []
    if prefixes and not any(text.lstrip("+").startswith("allow_targets=") for text in given):
        raise UntrustedError("allow_targets: is taken from the command line only, not from a file")
    return prefixes


def _nodes(config: DictConfig, prefix: str = "") -> Iterator[tuple[str, DictConfig]]:
    """Yield each node that has a schema, with its key and a dot."""
    if OmegaConf.get_type(config) is not dict:
        yield prefix, config
    for name in config:
        node = config._get_node(name)
        if isinstance(node, DictConfig) and not node._is_none():
            yield from _nodes(node, f"{prefix}{name}.")


def check_knob(key: str, value: Any, knob: Field[Any]) -> None:
    """Check a value against its knob's range.

    Raises:
        ConfigError: the value is out of range.
    """
    if value is None and knob.default is None:
        return
    names, each = knob.metadata["choices"], knob.metadata["each"]
    if names and value not in names:
        raise ConfigError(
            f"{key}={_shown(value)}: must be {requirement(knob)}{_nearest(str(value), names)}"
        )
    numbers = value if OmegaConf.is_list(value) or isinstance(value, list) else [value]
    number_types = {int: (int,), float: (int, float)}.get(each, (object,))
    for number in numbers:
        if each and (isinstance(number, bool) or not isinstance(number, number_types)):
            raise ConfigError(f"{key}={_shown(value)}: must be {requirement(knob)}")
        if isinstance(number, int | float) and not _in_range(number, knob.metadata["limits"]):
            raise ConfigError(f"{key}={_shown(value)}: must be {requirement(knob)}")


def _in_range(number: float, limits: dict[str, float | None]) -> bool:
    low, high, above, below = (limits[name] for name in ("low", "high", "above", "below"))
    return (
        (low is None or number >= low)
        and (high is None or number <= high)
        and (above is None or number > above)
        and (below is None or number < below)
        and number == number  # NaN is in no range
    )


def requirement(knob: Field[Any]) -> str:
    """Return in words what a knob's value must be."""
    if knob.metadata["choices"]:
        return "one of " + ", ".join(knob.metadata["choices"])
    words = {"low": "at least", "high": "at most", "above": "above", "below": "below"}
    limits = [
        f"{words[name]} {limit:g}" if abs(limit) < 1e6 else f"{words[name]} {limit:,}"
        for name, limit in knob.metadata["limits"].items()
        if limit is not None
    ]
    each = knob.metadata["each"]
    kind = each.__name__ if each else str(getattr(knob.type, "__name__", knob.type))
    kind = {"int": "a whole number", "float": "a number", "bool": "true or false"}.get(
        kind.removesuffix(" | None"), ""
    )
    if each and knob.default is MISSING:
        kind = kind.replace("a ", "a list, each a ")
    elif each:
        kind += " or a list of them, each"
    return " ".join(filter(None, [kind, " and ".join(limits)])) or knob.metadata["text"]


def check_device(accelerator: str | None) -> None:
    """Check that the machine has the accelerator that was asked for by name.

    Raises:
        ConfigError: it has not.
    """
    if accelerator not in ("gpu", "cuda", "mps"):
        return
    import torch

    has_cuda, has_mps = torch.cuda.is_available(), torch.backends.mps.is_available()
    if not {"gpu": has_cuda or has_mps, "cuda": has_cuda, "mps": has_mps}[accelerator]:
        raise ConfigError(
            f"trainer.accelerator={accelerator}: this machine has no such device that torch "
            f"{torch.__version__} can use; take trainer=cpu or trainer=auto"
        )


def explain(error: BaseException) -> str:
    """Return one line for an error of Hydra's or OmegaConf's: key, requirement, nearest name."""
    text = str(error)
    cause = str(error.__cause__ or "")
    if isinstance(error, MissingConfigException):
        name = (error.missing_cfg_file or "").removesuffix(".yaml")
        group, _, option = name.rpartition("/")
        if not group:
            return f"{text.partition(chr(10))[0]}"
        allowed = list(choices(group)) if group in groups() else list(error.options or [])
        return f"{group}={option}: must be one of {', '.join(allowed)}{_nearest(option, allowed)}"
    if found := re.search(r"Error merging override (\S+)", text):
        return _explain_value(found[1], cause or text)
    if found := re.search(
        r"[Cc]ould not (?:override|append to config|delete from config)[^']*'([^']+)'", text
    ):
        return _explain_key(found[1])
    if found := re.search(r"Key '([^']+)' (?:is not in struct|not in '\w+')", text + cause):
        full = re.search(r"full_key: (\S+)", text + cause)
        return _explain_key(full[1] if full else found[1])
    if found := re.search(r"No match in the defaults list\D*?'([^']+)'|override '([^']+)'", text):
        return _explain_key(found[1] or found[2])
    return " ".join(line.strip() for line in text.splitlines() if line.strip())


def _explain_key(key: str) -> str:
    key = key.partition("@")[0].lstrip("+~")
    known = known_keys()
    return f"{key}: no such key{_nearest(key, known)}; mnist-lab train --help lists them"


def _explain_value(override: str, cause: str) -> str:
    key, _, value = override.lstrip("+").partition("=")
    knob = known_keys().get(key)
    if "not in struct" in cause or "not in '" in cause:
        return _explain_key(key)
    if knob is not None and knob.metadata:
        return f"{key}={value}: must be {requirement(knob)}"
    return f"{override}: {cause.partition(chr(10))[0]}"


def known_keys() -> dict[str, Field[Any] | None]:
    """Return every key of every schema, and every group, with its knob if it has one."""
    keys: dict[str, Field[Any] | None] = dict.fromkeys(groups())
    keys.update({knob.name: knob for knob in fields(Train)})
    for group, schemas in SCHEMAS.items():
        for schema in schemas.values():
            keys.update({f"{group}.{knob.name}": knob for knob in fields(schema)})  # type: ignore[arg-type]
    return keys


def _nearest(name: str, allowed: Any) -> str:
    near = difflib.get_close_matches(name, list(allowed), n=1)
    return f"; did you mean {near[0]}?" if near else ""


def _shown(value: Any) -> str:
    return str(OmegaConf.to_container(value) if OmegaConf.is_config(value) else value)


def hydra_errors_in_full() -> None:
    """Let Hydra raise its errors instead of printing them and exiting with 1."""
    os.environ["HYDRA_FULL_ERROR"] = "1"

"""Checks a resolved config before anything heavy is imported.

A config is judged in this order, and the first fault is the one line that is shown:

1. files/yaml.py and OmegaConf, as it is read: size, syntax, types of the schema's keys.
2. write_paths.py: whether a run is where Hydra puts it.
3. allowlist.py: whether each ``_target_`` may be imported; then, of what came with a directory,
   write_paths.py: whether it writes only there.
4. ``check``, here: groups, keys, ranges, combinations, monitors, then the trainer; for a trial of a
   sweep ``check_trial`` as well.
5. training/precision.py: whether the machine has a device that is named.
6. allowlist.py again: whether each class has the role of its place. What the lab does not ship is
   judged here, and all once more before it is built, as that takes torch.
7. The constructors, Lightning and torch, whose own sentence is shown.
"""

import os
import re
from collections.abc import Iterator
from dataclasses import fields, is_dataclass
from typing import Any

from omegaconf import DictConfig, ListConfig, OmegaConf

from mnist_lab.config.allowlist import EXTRAS, check_roles, is_the_labs
from mnist_lab.config.extras import require
from mnist_lab.config.knob import check_knob, knobs_of, nearest, requirement, shown
from mnist_lab.config.messages import unknown_key
from mnist_lab.config.metrics import TAKEN, measured, without_class
from mnist_lab.config.options import choices
from mnist_lab.config.other_names import hint
from mnist_lab.config.portable_bits import check_bits
from mnist_lab.config.schema import SCHEMAS
from mnist_lab.config.trainer_schema import Trainer
from mnist_lab.data.sets import check_fold, chosen_set, num_classes_of
from mnist_lab.errors import ConfigError
from mnist_lab.runs.directory import has_launcher
from mnist_lab.runs.labels import LABELS, check_labels

_BUILT = (  # groups of what is built
    *("model", "data", "optimizer", "scheduler"),
    *("trainer", "callbacks", "logger", "metrics"),
)


def check(config: DictConfig) -> None:
    """Check keys, ranges and combinations of a resolved config.

    Raises:
        ConfigError: a key is unknown, or a value is out of its range.
        UntrustedError: a class that the lab does not ship has another role than its place.
    """
    # As builtins, which are read fifty times as fast: a sweep has a thousand trials to check.
    plain = {str(name): _plain(config, str(name)) for name in config if name != "hydra"}
    for group in SCHEMAS:
        if plain.get(group, "???") == "???":
            raise ConfigError(f"{group}: must be chosen, one of {', '.join(choices(group))}")
    _check_own_files(plain)
    check_labels(*(plain.get(name) for name in LABELS))
    for group in ("callbacks", "logger", "metrics"):
        for name, node in (plain[group] or {}).items():
            if not _is_node(node):
                problem = "must be a mapping with a _target_;"
                if meant := hint(f"{group}={name}"):
                    problem = f"{problem} {meant};"
                if isinstance(node, dict) and name in choices(group):  # as a recipe sets keys of
                    problem = f"is set, but not chosen; {group}={name} chooses it,"
                raise ConfigError(
                    f"{group}.{name}={shown(node)}: {problem} ~{group}.{name} leaves it out"
                )
    for name in plain["metrics"] or {}:
        if TAKEN.fullmatch(str(name)) or "/" in str(name):
            raise ConfigError(f"metrics.{name}: must have another name, without a /")
    for name, node in (plain["logger"] or {}).items():
        if package := EXTRAS.get(node["_target_"]):
            require(package, package, by=f"logger.{name}")
    for prefix, schema, node in _typed_nodes(config, plain):
        known = {field.name for field in fields(schema)}
        for name in () if getattr(schema, "takes_any", False) else node:
            if name not in known:
                raise ConfigError(unknown_key(f"{prefix}{name!s}", map(str, node)))
        for field, _ in knobs_of(schema):
            if node[field.name] == "???":
                raise ConfigError(f"{prefix}{field.name}: must be set: {requirement(field)}")
            check_knob(f"{prefix}{field.name}", field, node)
    _check_combinations(plain)
    _check_monitors(plain)
    _check_trainer(plain)
    built = {name: plain[name] for name in _BUILT if plain[name]}
    check_roles(built, plain["allow_targets"], only_foreign=True)


def _check_own_files(plain: dict[str, Any]) -> None:
    """Check that a choice of the user's own has what its group must have."""
    for group in ("model", "data"):
        if not _is_node(plain[group]):
            raise ConfigError(f"{group}: the file that is chosen must have a _target_")
    if not {field.name for field in fields(Trainer)} <= plain["trainer"].keys():
        raise ConfigError(
            "trainer: the file that is chosen must begin with `defaults: [auto]`, and have what it "
            "changes below that"
        )


def _plain(config: DictConfig, name: str) -> Any:
    """Return a part of a config as builtins; what is missing is ``???``."""
    if OmegaConf.is_missing(config, name):
        return "???"
    value = config[name]
    return OmegaConf.to_container(value) if OmegaConf.is_config(value) else value


def _typed_nodes(
    config: DictConfig, plain: dict[str, Any], prefix: str = ""
) -> Iterator[tuple[str, Any, dict[str, Any]]]:
    """Yield of each node that has a schema its key and a dot, the schema and its values."""
    schema = OmegaConf.get_type(config)
    if is_dataclass(schema):
        yield prefix, schema, plain
    for name, values in plain.items():
        node = config[name] if isinstance(values, dict) else None
        if isinstance(node, DictConfig):
            yield from _typed_nodes(node, values, f"{prefix}{name!s}.")


def _check_combinations(plain: dict[str, Any]) -> None:
    """Check what one knob alone cannot know."""
    optimizer = plain["optimizer"]
    if optimizer.get("name") == "sgd" and optimizer["nesterov"] and not optimizer["momentum"]:
        raise ConfigError("optimizer.nesterov=true: needs optimizer.momentum above 0")
    check_bits(plain)
    model, data = plain["model"], plain["data"]
    if is_the_labs(data["_target_"]):
        chosen_set(data["dataset"], data.get("split"), data.get("root"))
        check_fold(data.get("folds"), data.get("fold"), data.get("val_size"))
        least = num_classes_of(data["dataset"], data.get("split")) or 0
        classes = model.get("num_classes") or least
        if classes < least:
            raise ConfigError(
                f"model.num_classes={classes}: must be at least {least}, the classes of "
                f"data.dataset={data['dataset']}"
            )


def _check_monitors(plain: dict[str, Any]) -> None:
    """Check that the metric that chooses the best model is measured, and its mode fits it.

    A model of the user's own may measure anything.
    """
    if not is_the_labs(plain["model"]["_target_"]):
        return
    callbacks, known = (plain["callbacks"] or {}).items(), measured(plain["metrics"])
    for prefix, node in [("", plain), *((f"callbacks.{name}.", node) for name, node in callbacks)]:
        monitor, mode = node.get("monitor"), node.get("mode")
        if monitor is None:
            continue
        needed = known.get(without_class(monitor), "")
        if needed == "":
            allowed = ", ".join(known)
            raise ConfigError(
                f"{prefix}monitor={monitor}: must be one of {allowed}{nearest(monitor, known)}"
            )
        if needed is not None and mode not in (None, needed):
            raise ConfigError(
                f"{prefix}mode={mode}: must be {needed} where {prefix}monitor={monitor}"
            )


def _check_trainer(plain: dict[str, Any]) -> None:
    """Check what Lightning does not check, or too late: that there is something to train."""
    trainer = plain["trainer"]
    for name in ("max_epochs", "max_steps"):
        if trainer[name] == 0:
            raise ConfigError(f"trainer.{name}=0: must be at least 1, or -1 for no limit")
    if trainer["limit_train_batches"] == 0 and not trainer["overfit_batches"]:
        raise ConfigError("trainer.limit_train_batches=0: must be above 0")
    time = trainer["max_time"]
    is_time = isinstance(time, str) and re.fullmatch(r"(?=.*[1-9])\d+(:\d\d){3}", time)
    if not is_time and not isinstance(time, dict | None):
        raise ConfigError(
            f"trainer.max_time={shown(time)}: must be DD:HH:MM:SS, above 0, or a mapping of "
            "datetime.timedelta's arguments"
        )
    for name in ("logger", "callbacks", "plugins"):
        value = trainer[name]
        nodes = value if isinstance(value, list) else [value]
        is_switch = name == "logger" and isinstance(value, bool)
        is_right = all(map(_is_node, nodes)) and (name != "callbacks" or nodes is value)
        if value is not None and not is_switch and not is_right:
            raise ConfigError(
                f"trainer.{name}={shown(value)}: must be a node with a _target_, or a list "
                f"of them{', or true or false' if name == 'logger' else ''}"
            )
    _check_devices(plain)


def _is_node(value: Any) -> bool:
    return isinstance(value, dict) and "_target_" in value


def _check_devices(plain: dict[str, Any]) -> None:
    """Check the number of devices, or their indices, against the batch and the machine."""
    data, trainer, devices = plain["data"], plain["trainer"], plain["trainer"]["devices"]
    if not _are_devices(devices):
        raise ConfigError(
            f"trainer.devices={shown(devices)}: must be at least 1, a list of indices, or auto"
        )
    nodes, processes = trainer["num_nodes"] or 1, num_devices(devices) or 1
    most = max(64, 4 * (os.cpu_count() or 1))
    if processes > most:
        raise ConfigError(f"trainer.devices={processes}: must be at most {most} on this machine")
    if is_the_labs(data["_target_"]) and (size := data["batch_size"]) < processes * nodes:
        raise ConfigError(
            f"data.batch_size={size}: counts samples across all devices and must be at "
            f"least {processes * nodes}, the number of processes"
        )
    if nodes > 1 and not has_launcher() and "MASTER_ADDR" not in os.environ:  # it would hang
        raise ConfigError(
            f"trainer.num_nodes={trainer['num_nodes']}: needs torchrun or srun, which start the "
            "processes of each machine; scripts/cluster/ has examples"
        )


def _are_devices(devices: Any) -> bool:
    """Return whether Lightning reads a value as devices."""
    if isinstance(devices, list):
        are_indices = all(type(index) is int and index >= 0 for index in devices)
        return are_indices and 0 < len(devices) == len(set(devices))
    if devices in (None, "auto", "-1", -1):
        return True
    text = str(devices).replace(" ", "")
    is_right = isinstance(devices, int | str) and not isinstance(devices, bool)
    return is_right and bool(re.fullmatch(r"0*[1-9]\d*|\d+,|\d+(,\d+)+", text))


def check_trial(config: DictConfig) -> None:
    """Check that a trial of a sweep stays in its process and measures what trials compete by.

    Lightning starts the other ranks with the command line of this process, which starts the sweep
    again in each of them (hydra#2070).

    Raises:
        ConfigError: the trial wants several devices, and no launcher has started the ranks; or it
            is to measure nothing.
    """
    devices = config.trainer.devices
    if config.trainer.barebones:
        raise ConfigError("trainer.barebones=true: measures nothing to compare trials by")
    if devices is not None and num_devices(devices) != 1 and not has_launcher():
        raise ConfigError(
            f"trainer.devices={shown(devices)}: must be 1 in a sweep; for more, start the ranks "
            "with torchrun or srun"
        )


def num_devices(devices: Any) -> int | None:
    """Return the number of devices on each machine, or None where the machine decides."""
    if isinstance(devices, list | ListConfig):
        return len(devices)
    text = str(devices).strip()
    if "," in text:
        return sum(bool(index.strip()) for index in text.split(","))
    return int(text) if text.isdecimal() else None

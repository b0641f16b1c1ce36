"""Checks what a config asks of the trainer and Lightning does not check, or too late."""

import os
import re
from typing import Any

from omegaconf import DictConfig, OmegaConf

from mnist_lab.config.allowlist import is_the_labs
from mnist_lab.config.field import shown
from mnist_lab.errors import ConfigError
from mnist_lab.runs.directory import has_launcher


def check_trainer(config: DictConfig) -> None:
    """Check that there is something to train, and that its devices share the batches.

    Raises:
        ConfigError: there is not.
    """
    trainer = config.trainer
    for name in ("max_epochs", "max_steps"):
        if trainer[name] == 0:
            raise ConfigError(f"trainer.{name}=0: must be at least 1, or -1 for no limit")
    if trainer.limit_train_batches == 0 and not trainer.overfit_batches:
        raise ConfigError("trainer.limit_train_batches=0: must be above 0")
    time = trainer.max_time
    is_time = isinstance(time, str) and re.fullmatch(r"\d+(:\d\d){3}", time)
    if not is_time and not isinstance(time, DictConfig | None):
        raise ConfigError(
            f"trainer.max_time={shown(time)}: must be DD:HH:MM:SS, or a mapping of "
            "datetime.timedelta's arguments"
        )
    for name in ("logger", "callbacks", "plugins"):
        nodes = trainer[name] if OmegaConf.is_list(trainer[name]) else [trainer[name]]
        is_switch = name == "logger" and isinstance(trainer.logger, bool)
        is_right = all(map(_is_node, nodes)) and (name != "callbacks" or nodes is trainer.callbacks)
        if trainer[name] is not None and not is_switch and not is_right:
            raise ConfigError(
                f"trainer.{name}={shown(trainer[name])}: must be a node with a _target_, or a list "
                f"of them{', or true or false' if name == 'logger' else ''}"
            )
    _check_devices(config)


def _is_node(value: Any) -> bool:
    return isinstance(value, DictConfig) and "_target_" in value


def _check_devices(config: DictConfig) -> None:
    """Check the number of devices, or their indices, against the batch and the machine."""
    data, trainer, devices = config.data, config.trainer, config.trainer.devices
    if not _are_devices(devices):
        raise ConfigError(
            f"trainer.devices={shown(devices)}: must be at least 1, a list of indices, or auto"
        )
    nodes, processes = trainer.num_nodes or 1, num_devices(devices) or 1
    most = max(64, 4 * (os.cpu_count() or 1))
    if processes > most:
        raise ConfigError(f"trainer.devices={processes}: must be at most {most} on this machine")
    if is_the_labs(data._target_) and data.batch_size < processes * nodes:
        raise ConfigError(
            f"data.batch_size={data.batch_size}: counts samples across all devices and must be at "
            f"least {processes * nodes}, the number of processes"
        )
    if nodes > 1 and not has_launcher() and "MASTER_ADDR" not in os.environ:  # it would hang
        raise ConfigError(
            f"trainer.num_nodes={trainer.num_nodes}: needs torchrun or srun, which start the "
            "processes of each machine; scripts/cluster/ has examples"
        )


def _are_devices(devices: Any) -> bool:
    """Return whether Lightning reads a value as devices."""
    if OmegaConf.is_list(devices):
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
    if OmegaConf.is_list(devices):
        return len(devices)
    text = str(devices).strip()
    if "," in text:
        return sum(bool(index.strip()) for index in text.split(","))
    return int(text) if text.isdecimal() else None

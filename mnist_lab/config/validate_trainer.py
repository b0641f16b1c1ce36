"""Checks what a config asks of the trainer: devices, how long, and what it is built of."""

import math
import os
import re
from datetime import timedelta
from typing import Any

from omegaconf import DictConfig, OmegaConf

from mnist_lab.config.allowlist import TARGETS
from mnist_lab.config.field import nearest, shown
from mnist_lab.data.sets import EVAL_BATCH_SIZE, NUM_TEST, NUM_TRAIN
from mnist_lab.errors import ConfigError
from mnist_lab.runs.directory import has_launcher

_PROFILERS = ("simple", "advanced", "pytorch")


def check_trainer(config: DictConfig) -> None:
    """Check what one knob of the trainer alone cannot know.

    Raises:
        ConfigError: a value or a combination of them is wrong, or the machine lacks the device.
    """
    _check_length(config)
    _check_shares(config)
    _check_validations(config)
    _check_names(config.trainer)
    _check_nodes(config.trainer)
    _check_devices(config)


def _check_length(config: DictConfig) -> None:
    """Check that there is something to train, and an end where the schedule needs to know it."""
    trainer = config.trainer
    for name in ("max_epochs", "max_steps"):
        if trainer[name] == 0:
            raise ConfigError(f"trainer.{name}=0: must be at least 1, or -1 for no limit")
    if trainer.limit_train_batches == 0 and not trainer.overfit_batches:
        raise ConfigError("trainer.limit_train_batches=0: must be above 0")
    if trainer.max_time is not None and not _is_duration(trainer.max_time):
        raise ConfigError(
            f"trainer.max_time={shown(trainer.max_time)}: must be DD:HH:MM:SS, or a mapping of "
            "datetime.timedelta's arguments, above 0"
        )
    endless = trainer.max_epochs == -1 or (trainer.max_epochs is None and trainer.max_time)
    if (
        config.scheduler.name in ("cosine", "one_cycle")
        and endless
        and trainer.max_steps in (None, -1)
    ):
        raise ConfigError(
            f"scheduler={config.scheduler.name}: needs the length of the run; set "
            "trainer.max_epochs or trainer.max_steps, or take scheduler=none"
        )


def _check_shares(config: DictConfig) -> None:
    """Check that a share of the batches is at least one batch."""
    trainer, data = config.trainer, config.data
    if data._target_ not in TARGETS or trainer.fast_dev_run:
        return
    train, val = batches_of(data), math.ceil(data.val_size / EVAL_BATCH_SIZE)
    for name, batches in (
        ("limit_train_batches", train),
        ("overfit_batches", min(train, val or train)),
        ("limit_val_batches", val),
        ("limit_test_batches", math.ceil(NUM_TEST / EVAL_BATCH_SIZE)),
    ):
        share = trainer[name]
        if isinstance(share, float) and share > 0 and batches and int(batches * share) == 0:
            raise ConfigError(
                f"trainer.{name}={share}: is less than one of {batches} batches; take 1 for one"
            )


def _check_validations(config: DictConfig) -> None:
    """Check that a validation comes within each epoch where it is to."""
    trainer = config.trainer
    interval, every = trainer.val_check_interval, trainer.check_val_every_n_epoch
    if not isinstance(interval, int | float | None) and not _is_duration(interval):
        raise ConfigError(
            f"trainer.val_check_interval={shown(interval)}: must be a number of batches, a share, "
            "or DD:HH:MM:SS"
        )
    if isinstance(interval, float) and every is None:
        raise ConfigError(
            f"trainer.val_check_interval={interval}: must be a number of batches or DD:HH:MM:SS "
            "where trainer.check_val_every_n_epoch=null"
        )
    is_limited_to_none = trainer.limit_val_batches == 0 and not trainer.overfit_batches
    if not config.data.get("val_size", 1) or is_limited_to_none or trainer.fast_dev_run:
        return
    is_ours = config.data._target_ in TARGETS
    if isinstance(interval, int) and every is not None and is_ours:
        most = limited(trainer, batches_of(config.data))
        if interval > most:
            raise ConfigError(
                f"trainer.val_check_interval={interval}: must be at most {most}, the batches of an "
                "epoch; trainer.check_val_every_n_epoch=null counts them across epochs"
            )
    if every == 1:
        return
    stopping = (config.callbacks or {}).get("early_stopping") or {}
    for key, waits in (
        ("scheduler=plateau", config.scheduler.name == "plateau"),
        (
            "callbacks.early_stopping.check_on_train_epoch_end=true",
            stopping.get("check_on_train_epoch_end"),
        ),
    ):
        if waits:
            raise ConfigError(f"{key}: needs trainer.check_val_every_n_epoch=1")


def _check_devices(config: DictConfig) -> None:
    """Check the number of devices, or their indices, and that the machine has the accelerator."""
    trainer, devices = config.trainer, config.trainer.devices
    if not _are_devices(devices):
        raise ConfigError(
            f"trainer.devices={shown(devices)}: must be at least 1, a list of indices, or auto"
        )
    data, nodes = config.data, trainer.num_nodes or 1
    processes = num_devices(devices) or 1
    most = max(64, 4 * (os.cpu_count() or 1))
    if processes > most:
        raise ConfigError(f"trainer.devices={processes}: must be at most {most} on this machine")
    if data._target_ in TARGETS and data.batch_size < processes * nodes:
        raise ConfigError(
            f"data.batch_size={data.batch_size}: counts samples across all devices and must be at "
            f"least {processes * nodes}, the number of processes"
        )
    if nodes > 1 and not has_launcher() and "MASTER_ADDR" not in os.environ:
        raise ConfigError(
            f"trainer.num_nodes={trainer.num_nodes}: needs torchrun or srun, which start the "
            "processes of each machine; scripts/cluster/ has examples"
        )
    _check_accelerator(trainer.accelerator)
    is_number = devices in (None, "auto") or str(devices).strip().isdecimal()
    if not is_number and not _has_gpu(trainer.accelerator):
        raise ConfigError(
            f"trainer.devices={shown(devices)}: must be a number of processes on a CPU"
        )


def _are_devices(devices: Any) -> bool:
    """Return whether Lightning reads a value as devices."""
    if OmegaConf.is_list(devices):
        is_each_index = all(type(one) is int and one >= 0 for one in devices)
        return is_each_index and 0 < len(devices) == len(set(devices))
    if devices in (None, "auto", "-1", -1):
        return True
    text = str(devices).replace(" ", "")
    is_right = isinstance(devices, int | str) and not isinstance(devices, bool)
    return is_right and bool(re.fullmatch(r"0*[1-9]\d*|\d+,|\d+(,\d+)+", text))


def _has_gpu(accelerator: str | None) -> bool:
    """Return whether ``auto`` or a name stands for GPUs; a list of devices is worth the import."""
    if accelerator == "cpu":
        return False
    import torch

    return torch.cuda.is_available() or torch.backends.mps.is_available()


def _check_names(trainer: DictConfig) -> None:
    """Check that profiler and strategy are names that Lightning knows, or nodes."""
    profiler, strategy = trainer.profiler, trainer.strategy
    if not (profiler is None or _is_node(profiler)) and _name(profiler) not in _PROFILERS:
        raise ConfigError(
            f"trainer.profiler={shown(profiler)}: must be one of {', '.join(_PROFILERS)}, or a "
            f"node with a _target_{nearest(_name(profiler), _PROFILERS)}"
        )
    if not (strategy is None or _is_node(strategy)) and _name(strategy) not in ("auto", "ddp"):
        from lightning.pytorch.strategies import StrategyRegistry  # seconds, for a rare name

        names = sorted(StrategyRegistry.available_strategies())
        if _name(strategy) not in names:
            raise ConfigError(
                f"trainer.strategy={shown(strategy)}: must be auto, ddp or another name that "
                f"lightning knows, or a node with a _target_{nearest(_name(strategy), names)}"
            )


def _check_nodes(trainer: DictConfig) -> None:
    """Check that what is to be built says what it is."""
    plugins = trainer.plugins
    if not isinstance(trainer.logger, bool | None) and not _are_nodes(trainer.logger):
        raise ConfigError(
            f"trainer.logger={shown(trainer.logger)}: must be true, false, a node with a _target_, "
            "or a list of them"
        )
    if trainer.callbacks is not None and not (
        OmegaConf.is_list(trainer.callbacks) and _are_nodes(trainer.callbacks)
    ):
        raise ConfigError(
            f"trainer.callbacks={shown(trainer.callbacks)}: must be a list of nodes with a _target_"
        )
    if plugins is not None and not _are_nodes(plugins):
        raise ConfigError(
            f"trainer.plugins={shown(plugins)}: must be a node with a _target_, or a list of them"
        )


def _name(value: Any) -> str:
    """Return a name as Lightning looks it up."""
    return str(value).lower()


def _is_duration(value: Any) -> bool:
    """Return whether a value is a time above 0 as Lightning reads it."""
    try:
        if isinstance(value, DictConfig):
            arguments: Any = OmegaConf.to_container(value)
            return timedelta(**arguments) > timedelta(0)
        is_text = re.fullmatch(r"\d+(:\d\d?){3}", value) is not None
        return is_text and value.strip("0:") != ""
    except (TypeError, OverflowError):
        return False


def _are_nodes(value: Any) -> bool:
    return all(map(_is_node, value)) if OmegaConf.is_list(value) else _is_node(value)


def _is_node(value: Any) -> bool:
    return isinstance(value, DictConfig) and "_target_" in value


def _check_accelerator(accelerator: str | None) -> None:
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


def check_trial(config: DictConfig) -> None:
    """Check that a job of a sweep stays in its process and measures what trials are compared by.

    Lightning starts the other ranks with the command line of this process, which starts the sweep
    again in each of them (hydra#2070).

    Raises:
        ConfigError: the job wants several devices, and no launcher has started the ranks; or it is
            to measure nothing.
    """
    devices = config.trainer.devices
    if config.trainer.barebones:
        raise ConfigError("trainer.barebones=true: measures nothing to compare trials by")
    if devices is not None and num_devices(devices) != 1 and not has_launcher():
        raise ConfigError(
            f"trainer.devices={shown(devices)}: must be 1 in a sweep; for more, start the ranks "
            "with torchrun or srun"
        )


def batches_of(data: DictConfig) -> int:
    """Return the batches of an epoch of the lab's data."""
    return math.ceil((NUM_TRAIN - int(data.val_size)) / int(data.batch_size))


def limited(trainer: DictConfig, batches: int) -> int:
    """Return how many of an epoch's batches are trained on."""
    limit = trainer.fast_dev_run or trainer.overfit_batches or trainer.limit_train_batches
    if limit is None or limit is False:
        return batches
    return min(batches, int(batches * limit) if isinstance(limit, float) else int(limit))


def num_devices(devices: Any) -> int | None:
    """Return the number of devices on each machine, or None where the machine decides."""
    if OmegaConf.is_list(devices):
        return len(devices)
    text = str(devices).strip()
    if "," in text:
        return sum(bool(index.strip()) for index in text.split(","))
    return int(text) if text.isdecimal() else None

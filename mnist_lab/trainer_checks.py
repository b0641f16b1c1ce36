"""Checks what a config asks of the trainer: devices, how long, and what it is built of."""

import math
import os
import re
from typing import Any

from omegaconf import DictConfig, OmegaConf

from mnist_lab.errors import ConfigError
from mnist_lab.knobs import nearest, shown
from mnist_lab.runs import has_launcher
from mnist_lab.schemas import NUM_TRAIN
from mnist_lab.targets import TARGETS

_PROFILERS = ("simple", "advanced", "pytorch")


def check_trainer(config: DictConfig) -> None:
    """Check what one knob of the trainer alone cannot know.

    Raises:
        ConfigError: a value or a combination of them is wrong, or the machine lacks the device.
    """
    _check_length(config)
    _check_validations(config)
    _check_devices(config.trainer)
    _check_parts(config.trainer)
    _check_accelerator(config.trainer.accelerator)


def _check_length(config: DictConfig) -> None:
    """Check that there is something to train, and an end where the schedule needs to know it."""
    trainer = config.trainer
    for name in ("max_epochs", "max_steps"):
        if trainer[name] == 0:
            raise ConfigError(f"trainer.{name}=0: must be at least 1, or -1 for no limit")
    if trainer.limit_train_batches == 0 and not trainer.overfit_batches:
        raise ConfigError("trainer.limit_train_batches=0: must be above 0")
    is_time = isinstance(trainer.max_time, str) and re.fullmatch(
        r"\d+(:\d\d?){3}", trainer.max_time
    )
    if not OmegaConf.is_dict(trainer.max_time) and trainer.max_time is not None and not is_time:
        raise ConfigError(f"trainer.max_time={trainer.max_time}: must be DD:HH:MM:SS")
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


def _check_validations(config: DictConfig) -> None:
    """Check that a validation comes within each epoch where it is to."""
    trainer = config.trainer
    validates = config.data.get("val_size", 1) and trainer.limit_val_batches != 0
    if not validates or trainer.fast_dev_run:
        return
    interval = trainer.val_check_interval
    is_ours = config.data._target_ in TARGETS
    if isinstance(interval, int) and trainer.check_val_every_n_epoch is not None and is_ours:
        most = limited(trainer, batches_of(config.data))
        if interval > most:
            raise ConfigError(
                f"trainer.val_check_interval={interval}: must be at most {most}, the batches of an "
                "epoch; trainer.check_val_every_n_epoch=null counts them across epochs"
            )
    if trainer.check_val_every_n_epoch == 1:
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


def _check_devices(trainer: DictConfig) -> None:
    """Check the number of devices, or their indices."""
    devices = trainer.devices
    wrong = ConfigError(
        f"trainer.devices={shown(devices)}: must be at least 1, a list of indices, or auto"
    )
    if OmegaConf.is_list(devices):
        if not devices or not all(type(one) is int and one >= 0 for one in devices):
            raise wrong
    elif devices not in (None, "auto", "-1", -1):
        is_right = isinstance(devices, int | str) and not isinstance(devices, bool)
        if not is_right or not re.fullmatch(r"0*[1-9]\d*|\d+(,\d+)+", str(devices)):
            raise wrong
    processes = num_devices(devices)
    is_number = devices in (None, "auto") or str(devices).isdecimal()
    if trainer.accelerator == "cpu" and not is_number:
        raise ConfigError(
            f"trainer.devices={shown(devices)}: must be a number of processes on a CPU"
        )
    if (processes or 1) > (most := max(64, 4 * (os.cpu_count() or 1))):
        raise ConfigError(f"trainer.devices={processes}: must be at most {most} on this machine")


def _check_parts(trainer: DictConfig) -> None:
    """Check that profiler, strategy and plugins are names that Lightning knows, or nodes."""
    profiler, strategy, plugins = trainer.profiler, trainer.strategy, trainer.plugins
    if not (profiler is None or _is_node(profiler)) and profiler not in _PROFILERS:
        raise ConfigError(
            f"trainer.profiler={shown(profiler)}: must be one of {', '.join(_PROFILERS)}, or a "
            f"node with a _target_{nearest(str(profiler), _PROFILERS)}"
        )
    if not (strategy is None or _is_node(strategy)) and strategy not in ("auto", "ddp"):
        from lightning.pytorch.strategies import StrategyRegistry  # seconds, for a rare name

        names = sorted(StrategyRegistry.available_strategies())
        if strategy not in names:
            raise ConfigError(
                f"trainer.strategy={shown(strategy)}: must be auto, ddp or another name that "
                f"lightning knows, or a node with a _target_{nearest(str(strategy), names)}"
            )
    for one in plugins if OmegaConf.is_list(plugins) else [plugins]:
        if one is not None and not _is_node(one):
            raise ConfigError(
                f"trainer.plugins={shown(plugins)}: must be a node with a _target_, or a list of "
                "them"
            )


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


def check_one_process(config: DictConfig) -> None:
    """Check that a job of a sweep stays in its process.

    Lightning starts the other ranks with the command line of this process, which starts the sweep
    again in each of them (hydra#2070).

    Raises:
        ConfigError: the job wants several devices, and no launcher has started the ranks.
    """
    devices = config.trainer.devices
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
    return int(devices) if str(devices).isdecimal() else None

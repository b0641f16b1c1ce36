"""Optimizers and schedules by name."""

import math
import warnings
from collections.abc import Callable, Iterable, Mapping
from typing import Any

import lightning as L
import torch
from lightning.pytorch.callbacks import GradientAccumulationScheduler
from torch.nn import Parameter
from torch.optim import Optimizer
from torch.optim import lr_scheduler as schedules

from mnist_lab.errors import ConfigError, first_line
from mnist_lab.models.arguments import OPTIMIZERS, OVER_THE_RUN
from mnist_lab.models.named import build_named


def build_optimizer(
    settings: Mapping[str, Any], parameters: Iterable[Parameter], fused: bool
) -> Optimizer:
    """Build an optimizer.

    Args:
        settings: ``name``, of torch's class in short or of any class with dots, and its arguments;
            of the latter an ``lr`` of None is the class's own.
        parameters: the parameters that it steps, but for those that need no gradient.
        fused: whether the step of an optimizer of a short name is one kernel.

    Raises:
        ConfigError: there is no such class, or it refuses a setting.
    """
    rest, parameters = dict(settings), [each for each in parameters if each.requires_grad]
    name = rest.pop("name")
    if name not in OPTIMIZERS:
        if rest.get("lr", 0) is None:
            del rest["lr"]
        return build_named("optimizer._target_", name, Optimizer, parameters, **rest)
    build: Callable[..., Optimizer] = getattr(torch.optim, OPTIMIZERS[name])
    try:
        return build(parameters, fused=fused or None, **rest)  # None: torch chooses
    except (TypeError, ValueError) as error:
        raise ConfigError(f"optimizer={name}: {error}") from error


def build_schedule(
    settings: Mapping[str, Any], optimizer: Optimizer, trainer: L.Trainer
) -> dict[str, Any]:
    """Build a schedule, and Lightning's description of when to step it.

    Args:
        settings: ``name``, other than ``none``, and the arguments of torch's class; of a class by
            its dotted name also ``interval``, ``step`` or ``epoch``.
        optimizer: the optimizer whose learning rate it changes.
        trainer: the trainer, which knows the length of the run.

    Raises:
        ConfigError: torch refuses a setting, or the schedule needs a length that is not known.
    """
    rest = dict(settings)
    name = rest.pop("name")
    interval = "step" if name in OVER_THE_RUN else "epoch"
    schedule: schedules.LRScheduler
    try:
        match name:
            case "cosine":
                schedule = schedules.CosineAnnealingLR(optimizer, _steps(trainer), **rest)
            case "warmup_cosine":
                schedule = _warmup_cosine(optimizer, _steps(trainer), **rest)
            case "one_cycle":
                rest = _one_cycle_settings(rest, optimizer)
                schedule = schedules.OneCycleLR(optimizer, total_steps=_steps(trainer), **rest)
            case "exponential":
                schedule = schedules.ExponentialLR(optimizer, **rest)
            case "plateau":
                schedule = schedules.ReduceLROnPlateau(optimizer, **rest)
            case _:
                interval = rest.pop("interval", interval)
                key, role = "scheduler._target_", schedules.LRScheduler
                schedule = build_named(key, name, role, optimizer, **rest)
    except ConfigError:
        raise
    except ZeroDivisionError as error:  # one_cycle's, which divides by the steps between two
        share = f"scheduler.pct_start={rest.get('pct_start', 0.3)}"
        raise ConfigError(
            f"{share}: is one step of this run, in which lr cannot rise; choose another"
        ) from error
    except (TypeError, ValueError) as error:
        raise ConfigError(f"scheduler={name}: {error}") from error
    described: dict[str, Any] = {"scheduler": schedule, "interval": interval}
    if isinstance(schedule, schedules.ReduceLROnPlateau):
        described["monitor"] = "val/loss" if trainer.enable_validation else "train/loss"
    return described


def advance(schedule: schedules.LRScheduler, steps: int) -> None:
    """Bring a schedule that has not stepped to where it is after some steps.

    Its optimizer's learning rates, which may be of another schedule, become those of that step.
    """
    for group, lr in zip(schedule.optimizer.param_groups, schedule.base_lrs, strict=True):
        group["lr"] = lr
    with warnings.catch_warnings():  # torch counts the optimizer's steps beside it
        warnings.filterwarnings("ignore", "Detected call of `lr_scheduler.step")
        for _ in range(steps):
            schedule.step()


def _warmup_cosine(
    optimizer: Optimizer, steps: int, warmup: float = 0.1, eta_min: float = 0.0
) -> schedules.LambdaLR:
    """Rise in equal steps to the learning rate, then fall by a cosine, reached at the last step."""
    rising = round(warmup * steps)

    def share(low: float) -> Callable[[int], float]:
        def at(step: int) -> float:
            if step < rising:
                return (step + 1) / (rising + 1)
            falling = (step - rising) / max(1, steps - rising)
            return low + (1 - low) * (1 + math.cos(math.pi * falling)) / 2

        return at

    lows = [eta_min / group["lr"] for group in optimizer.param_groups]
    return schedules.LambdaLR(optimizer, [share(low) for low in lows])


def _steps(trainer: L.Trainer) -> int:
    callbacks = trainer.callbacks  # type: ignore[attr-defined]
    changes = any(isinstance(each, GradientAccumulationScheduler) for each in callbacks)
    if changes and trainer.max_epochs != -1:  # Lightning counts as if it were not there
        raise ValueError(
            "needs the length of the run, which GradientAccumulationScheduler changes; take "
            "trainer.accumulate_grad_batches, or trainer.max_steps with trainer.max_epochs=-1"
        )
    try:
        steps = trainer.estimated_stepping_batches
    except Exception as error:  # of the data, or of another argument of the trainer
        raise ConfigError(first_line(error)) from error
    if steps == -1:  # Lightning's word for a loader without a length
        raise ValueError(
            "needs the length of the run, and the training batches have none; take scheduler=none, "
            "or set trainer.max_steps"
        )
    if not math.isfinite(steps):
        raise ValueError("needs the length of the run; set trainer.max_epochs or trainer.max_steps")
    return int(steps)


def _one_cycle_settings(settings: dict[str, Any], optimizer: Optimizer) -> dict[str, Any]:
    """Return the settings with the peak, and without a momentum to move where there is none."""
    if not optimizer.defaults.get("betas") and not optimizer.defaults.get("momentum"):
        settings["cycle_momentum"] = False
    return {"max_lr": [group["lr"] for group in optimizer.param_groups], **settings}

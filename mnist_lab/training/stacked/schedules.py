"""Schedules of the trials of a stack, each of which moves the settings of the trial's optimizer."""

from collections.abc import Mapping, Sequence
from typing import Any

import lightning as L
from torch.optim import Optimizer

from mnist_lab.errors import ConfigError
from mnist_lab.models import Classifier
from mnist_lab.models.optimizers import build_optimizer, build_schedule


class StackedSchedules:
    """The schedules of K trials, torch's own, each of which moves the settings of its optimizer.

    Args:
        models: the trials' models.
        trainer: the trainer, which knows the length of the run.

    Raises:
        ConfigError: torch refuses a setting, or a schedule needs a length that is not known.
    """

    def __init__(self, models: Sequence[Classifier], trainer: L.Trainer) -> None:
        self.optimizers: list[Optimizer] = []  # of each trial, which never step weights
        self._schedules: list[dict[str, Any] | None] = []
        for model in models:
            optimizer = build_optimizer(model.optimizer_settings, model.parameters(), fused=True)
            schedule = None
            if model.scheduler_settings["name"] != "none":
                schedule = build_schedule(model.scheduler_settings, optimizer, trainer)
                optimizer.step()  # without gradients does nothing, but the schedule looks for it
            self.optimizers.append(optimizer)
            self._schedules.append(schedule)

    def step(self, ends_epoch: bool) -> None:
        """Step those that go by step, and where a step ends an epoch those that go by epoch."""
        for schedule in self._schedules:
            if schedule is None or "monitor" in schedule:
                continue
            if ends_epoch or schedule.get("interval") == "step":
                schedule["scheduler"].step()

    def step_plateaus(self, metrics: Sequence[Mapping[str, float]]) -> None:
        """Step those that look at a metric, after an epoch.

        Raises:
            ConfigError: the metric is not there.
        """
        for schedule, its_metrics in zip(self._schedules, metrics, strict=True):
            if schedule is None or "monitor" not in schedule:
                continue
            name = schedule["monitor"]
            if name not in its_metrics:
                raise ConfigError(f"scheduler=plateau: needs {name}, not measured this epoch")
            schedule["scheduler"].step(its_metrics[name])

    def keep(self, positions: Sequence[int]) -> None:
        """Keep the trials at these positions, without the others."""
        self.optimizers = [self.optimizers[position] for position in positions]
        self._schedules = [self._schedules[position] for position in positions]

    def load(self, position: int, state: Mapping[str, Any]) -> None:
        """Restore a trial's schedule from a state that ``state`` has returned."""
        schedule = self._schedules[position]
        assert schedule is not None
        schedule["scheduler"].load_state_dict(dict(state))

    def state(self, position: int) -> dict[str, Any] | None:
        """Return the state of a trial's schedule as torch has it; None where there is none."""
        schedule = self._schedules[position]
        return None if schedule is None else dict(schedule["scheduler"].state_dict())

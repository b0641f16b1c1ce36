"""Schedules of the trials of a stack, each of which moves the settings of the trial's optimizer."""

from collections.abc import Mapping, Sequence
from typing import Any

import lightning as L
from torch.optim import Optimizer

from mnist_lab.errors import ConfigError
from mnist_lab.models import Classifier
from mnist_lab.models.optimizers import build_optimizer, build_schedule

_OF_STEPS = ("cosine", "warmup_cosine", "one_cycle", "exponential")  # which settings decide alone


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
        shared: dict[str, dict[str, Any]] = {}
        for model in models:
            optimizer = build_optimizer(model.optimizer_settings, model.parameters(), fused=True)
            name, schedule = model.scheduler_settings["name"], None
            if name != "none":
                settings = str((model.optimizer_settings, model.scheduler_settings))
                schedule = shared.get(settings)
                if schedule is None:
                    schedule = build_schedule(model.scheduler_settings, optimizer, trainer)
                    optimizer.step()  # without gradients does nothing, but the schedule asks for it
                if name in _OF_STEPS:
                    shared[settings] = schedule
            self.optimizers.append(optimizer)
            self._schedules.append(schedule)
        self._follow()

    def step(self, ends_epoch: bool) -> bool:
        """Step those that go by step, and where a step ends an epoch those that go by epoch.

        Returns:
            Whether there were any, and settings may be others.
        """
        due = {  # each once, as trials share some
            id(schedule): schedule["scheduler"]
            for schedule in self._schedules
            if schedule is not None
            and "monitor" not in schedule
            and (ends_epoch or schedule.get("interval") == "step")
        }
        for schedule in due.values():
            schedule.step()
        if due:
            self._follow()
        return bool(due)

    def _follow(self) -> None:
        """Give each trial's optimizer the settings of the one that its schedule moves."""
        for optimizer, schedule in zip(self.optimizers, self._schedules, strict=True):
            moved = optimizer if schedule is None else schedule["scheduler"].optimizer
            if moved is not optimizer:
                own = optimizer.param_groups[0]
                own.update(moved.param_groups[0] | {"params": own["params"]})

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

"""What is refused since no checkpoint could hold it, and what is not logged a second time."""

from types import SimpleNamespace
from typing import Any

import pytest

from mnist_lab.errors import ConfigError
from mnist_lab.training.checkpoints.resume_point import check_validates_between_steps
from mnist_lab.training.judged_weights import muted


def trainer(steps: int, batches: int, every: float, epochs: int | None = 1) -> Any:
    return SimpleNamespace(
        accumulate_grad_batches=steps,
        num_training_batches=batches,
        val_check_batch=every,
        enable_validation=True,
        check_val_every_n_epoch=epochs,
        val_check_interval=every,
    )


@pytest.mark.parametrize(
    "settings",
    [(1, 10, 3), (3, 10, 10), (3, 10, 6), (4, 10, 20), (3, 9, 15, None), (3, 10, float("inf"))],
)
def test_a_validation_between_two_steps_is_taken(settings: tuple[Any, ...]) -> None:
    check_validates_between_steps(trainer(*settings))


@pytest.mark.parametrize("settings", [(3, 10, 4), (2, 10, 5), (3, 10, 6, None), (4, 12, 6)])
def test_a_validation_within_a_step_is_refused(settings: tuple[Any, ...]) -> None:
    with pytest.raises(ConfigError, match="must be a multiple of it, or whole epochs"):
        check_validates_between_steps(trainer(*settings))


class Logger:
    def __init__(self) -> None:
        self.logged: list[dict[str, float]] = []

    def log_metrics(self, metrics: dict[str, float], step: int | None = None) -> None:
        self.logged.append(metrics)


def test_loggers_are_mute_for_a_while() -> None:
    logger = Logger()
    loggers: Any = SimpleNamespace(loggers=[logger])
    with muted(loggers), muted(loggers):
        logger.log_metrics({"a": 1}, step=1)
    logger.log_metrics({"b": 2})
    assert logger.logged == [{"b": 2}]

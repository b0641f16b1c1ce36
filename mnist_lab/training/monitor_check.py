"""Warning of a monitored metric that nothing logs, so that no checkpoint is ever the best."""

import contextlib
import logging
from collections.abc import Iterator
from typing import Any

import lightning as L
from typing_extensions import override

from mnist_lab.runs.summary import not_logged

_log = logging.getLogger(__name__)


class MonitorCheck(L.Callback):
    """Warns once where a metric is not logged: after the first validation, or when training ends.

    Where the validation was turned off, the last checkpoint is meant to be the best.

    Args:
        monitor: name of the metric.
    """

    def __init__(self, monitor: str) -> None:
        self._monitor: str | None = monitor  # None once it was looked for
        self._has_validated = False

    @override
    def on_validation_end(self, trainer: L.Trainer, pl_module: L.LightningModule) -> None:
        self._has_validated = not trainer.sanity_checking

    @override
    def on_train_epoch_start(self, trainer: L.Trainer, pl_module: L.LightningModule) -> None:
        if self._has_validated:  # the model has also logged the metrics of its last epoch
            self._check(trainer)

    @override
    def on_train_end(self, trainer: L.Trainer, pl_module: L.LightningModule) -> None:
        datamodule = getattr(trainer, "datamodule", None)
        is_off = trainer.limit_val_batches == 0 or getattr(datamodule, "val_size", 1) == 0
        is_to_come = trainer.enable_validation  # in an epoch that training did not reach
        if self._has_validated or not (is_off or is_to_come):
            self._check(trainer)

    def _check(self, trainer: L.Trainer) -> None:
        monitor, self._monitor = self._monitor, None
        if monitor is None:
            return
        names = trainer.callback_metrics  # asked on every rank, as it may talk to the others
        if monitor not in names and trainer.is_global_zero:
            _log.warning("%s", not_logged(monitor, names))


@contextlib.contextmanager
def monitor_checked(trainer: L.Trainer, monitor: str | None) -> Iterator[None]:
    """Warn of a metric that training within does not log; None is not looked for."""
    callbacks: list[Any] = trainer.callbacks  # type: ignore[attr-defined]
    check = [MonitorCheck(monitor)] if monitor else []
    callbacks.extend(check)
    try:
        yield
    finally:
        callbacks[:] = [callback for callback in callbacks if callback not in check]

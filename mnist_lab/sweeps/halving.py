"""Synchronous successive halving (Jamieson and Talwalkar 2016, https://arxiv.org/abs/1502.07943).

All trials train for ``min_resource`` epochs; the best of them, one in ``reduction_factor``, train
to ``reduction_factor`` times as many epochs, and so on. A trial that has reached such a rung waits
there as an interrupted run does, until all have: so the decisions depend on no launcher and on no
order, and a sweep that was killed makes them again.
"""

from collections.abc import Sequence
from typing import Any

import optuna
from optuna.pruners import BasePruner

from mnist_lab.sweeps.records import Record


class SynchronousHalving(BasePruner):
    """The rungs of a sweep, as one of its pruners.

    Args:
        min_resource: epochs of the first rung, at least 1.
        reduction_factor: of a rung's trials one in so many goes on, at least 2.

    Raises:
        ValueError: one is too small, or no whole number.
    """

    def __init__(self, min_resource: int = 1, reduction_factor: int = 3) -> None:
        for name, value, least in (
            ("min_resource", min_resource, 1),
            ("reduction_factor", reduction_factor, 2),
        ):
            if type(value) is not int or value < least:
                raise ValueError(f"{name} must be a whole number of at least {least}: {value}")
        self.min_resource = min_resource
        self.reduction_factor = reduction_factor

    def prune(self, study: optuna.Study, trial: Any) -> bool:
        """Return False: a trial does not end by itself."""
        return False

    def next_rung(self, epochs: int) -> int:
        """Return the epochs of the first rung above a number of epochs."""
        rung = self.min_resource
        while rung <= epochs:
            rung *= self.reduction_factor
        return rung

    def losers(self, waiting: Sequence[Record], total: int, sign: int) -> list[Record]:
        """Return the trials that do not go on, of those that wait at one rung.

        Args:
            waiting: all trials at the rung, with the report of its epoch.
            total: trials of the sweep.
            sign: 1 where a higher value is better, -1 where a lower one is.
        """
        assert waiting[0].report is not None
        rung, places = self.min_resource, total // self.reduction_factor
        while rung < waiting[0].report.epoch + 1:
            rung, places = rung * self.reduction_factor, places // self.reduction_factor

        def rank(record: Record) -> tuple[float, int]:
            assert record.report is not None
            return -sign * record.report.value, record.number

        return sorted(waiting, key=rank)[max(1, places) :]

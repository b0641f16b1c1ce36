"""Successive halving decides which trials of a rung go on, synchronously.

The method is that of Jamieson and Talwalkar 2016 (https://arxiv.org/abs/1502.07943). All trials
train for ``min_resource`` epochs; the best of them, one in ``reduction_factor``, train to
``reduction_factor`` times as many epochs, and so on. A trial that has reached such a rung waits
there as an interrupted run does, until all have: so the decisions depend on no launcher and on no
order, and a sweep that was killed makes them again.

With several brackets it is Hyperband (Li et al. 2018, https://arxiv.org/abs/1603.06560): each of
them begins at a later rung than the one before, with fewer trials, and decides for itself.
"""

from collections.abc import Sequence
from typing import Any

import optuna
from optuna.pruners import BasePruner

from mnist_lab.sweeps.records import Record, ranked


class SynchronousHalving(BasePruner):
    """The rungs of a sweep, as one of its pruners.

    Args:
        min_resource: epochs of the first rung, at least 1.
        reduction_factor: of a rung's trials one in so many goes on, at least 2.
        brackets: number of them, at least 1; the first rung of each is ``reduction_factor`` times
            as far as that of the one before.

    Raises:
        ValueError: one is too small, or no whole number.
    """

    def __init__(self, min_resource: int = 1, reduction_factor: int = 3, brackets: int = 1) -> None:
        for name, value, least in (
            ("min_resource", min_resource, 1),
            ("reduction_factor", reduction_factor, 2),
            ("brackets", brackets, 1),
        ):
            if type(value) is not int or value < least:
                raise ValueError(f"{name} must be a whole number of at least {least}: {value}")
        self.min_resource = min_resource
        self.reduction_factor = reduction_factor
        self.brackets = brackets
        # Hyperband's: where s halvings are to come, in proportion to factor ** s / (s + 1).
        weights = [reduction_factor**s / (s + 1) for s in reversed(range(brackets))]
        self._shares = [weight / sum(weights) for weight in weights]
        self._bracket_of: list[int] = []  # by trial number
        self._due = [0.0] * brackets  # trials that each bracket lacks

    def bracket_of(self, number: int) -> int:
        """Return the bracket of a trial, which does not depend on how many there are."""
        while len(self._bracket_of) <= number:
            self._due = [due + share for due, share in zip(self._due, self._shares, strict=True)]
            bracket = self._due.index(max(self._due))
            self._due[bracket] -= 1
            self._bracket_of.append(bracket)
        return self._bracket_of[number]

    def prune(self, study: optuna.Study, trial: Any) -> bool:
        """Return False: a trial does not end by itself."""
        return False

    def next_rung(self, epochs: int, number: int = 0) -> int:
        """Return the epochs of the first rung of a trial's bracket above a number of epochs."""
        rung = self._first_rung(number)
        while rung <= epochs:
            rung *= self.reduction_factor
        return rung

    def _first_rung(self, number: int) -> int:
        return int(self.min_resource * self.reduction_factor ** self.bracket_of(number))

    def losers(self, waiting: Sequence[Record], total: int, sign: int) -> list[Record]:
        """Return the trials that do not go on, of all those of one bracket that wait at a rung."""
        bracket = self.bracket_of(waiting[0].number)
        size = sum(self.bracket_of(number) == bracket for number in range(total))
        rung, places = self._first_rung(waiting[0].number), size // self.reduction_factor
        while rung < waiting[0].epochs:
            rung, places = rung * self.reduction_factor, places // self.reduction_factor
        return ranked(waiting, sign)[max(1, places) :]

"""Population-based training (Jaderberg et al. 2017, https://arxiv.org/abs/1711.09846).

All trials train for ``interval`` epochs and wait for one another. Then the worst of them exploit
the best, whose weights and optimizer they take over, and explore: they train on with values beside
those of the trial that they have copied. The decisions depend on the records alone, so they are the
same under every launcher, and a sweep that was killed makes them again.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import optuna
from optuna.pruners import BasePruner

from mnist_lab.sweeps.inheritance import Phase
from mnist_lab.sweeps.records import Record, ranked
from mnist_lab.sweeps.space import Choice, Dimension, Interval, Space

_FACTORS = (0.8, 1.2)  # of a value in an interval
_RESAMPLED = 0.25  # share of the choices that are drawn anew; the others go to a neighbour


@dataclass(frozen=True)
class Exploit:
    """A trial that takes over the state of another.

    Args:
        loser: the trial.
        winner: the one that it copies.
        lineage: of the trial from then on.
    """

    loser: Record
    winner: Record
    lineage: list[Phase]


class Population(BasePruner):
    """The rungs of a sweep whose trials are a population.

    Args:
        interval: epochs between two rungs, at least 1.
        quantile: share of the trials that copy one, of as many, that are the best; above 0, at
            most 0.5.

    Raises:
        ValueError: one is out of its range.
    """

    def __init__(self, interval: int = 1, quantile: float = 0.25) -> None:
        if type(interval) is not int or interval < 1:
            raise ValueError(f"interval must be a whole number of at least 1: {interval}")
        if type(quantile) not in (int, float) or not 0 < quantile <= 0.5:
            raise ValueError(f"quantile must be a number above 0 and at most 0.5: {quantile}")
        self.interval = interval
        self.quantile = quantile

    def prune(self, study: optuna.Study, trial: Any) -> bool:
        """Return False: no trial ends early."""
        return False

    def bracket_of(self, number: int) -> int:
        """Return 0: all trials are in one bracket."""
        return 0

    def next_rung(self, epochs: int, number: int = 0) -> int:
        """Return the epochs of the first rung above a number of epochs, whichever trial it is."""
        return (epochs // self.interval + 1) * self.interval

    def exploits(
        self, waiting: Sequence[Record], sign: int, space: Space, seed: int
    ) -> list[Exploit]:
        """Return which trials copy which, of those that wait at one rung."""
        best_first = ranked(waiting, sign)
        count = min(max(1, int(len(waiting) * self.quantile)), len(waiting) // 2)
        best, worst = best_first[:count], best_first[len(waiting) - count :]
        return [_exploit(loser, best, space, seed) for loser in worst]


def _exploit(loser: Record, best: Sequence[Record], space: Space, seed: int) -> Exploit:
    epoch = loser.epochs
    random = np.random.default_rng([seed, epoch, loser.number])
    winner = best[int(random.integers(len(best)))]
    params = {
        dimension.key: _explored(dimension, winner.params[dimension.key], random)
        for dimension in space.dimensions
    }
    before = winner.lineage or [Phase(0, winner.number, winner.params)]
    return Exploit(loser, winner, [*before, Phase(epoch, loser.number, params)])


def _explored(dimension: Dimension, value: str, random: np.random.Generator) -> str:
    """Return a value beside another one."""
    if isinstance(dimension, Choice):
        values = dimension.values
        if random.random() < _RESAMPLED:
            return values[random.integers(len(values))]
        return _neighbour(values, values.index(value), random)
    if dimension.step is None and isinstance(dimension.low, float):
        changed = float(value) * _FACTORS[random.integers(2)]
        return str(min(max(changed, dimension.low), dimension.high))
    steps = _steps(dimension)
    place = min(range(len(steps)), key=lambda at: abs(float(steps[at]) - float(value)))
    return _neighbour(steps, place, random)


def _steps(interval: Interval) -> list[str]:
    """Return the values of an interval of whole numbers, or of equal steps."""
    step = interval.step or 1
    count = int((interval.high - interval.low) / step + 1e-9) + 1
    return [str(interval.low + step * number) for number in range(count)]


def _neighbour(values: Sequence[str], place: int, random: np.random.Generator) -> str:
    places = [at for at in (place - 1, place + 1) if 0 <= at < len(values)]
    return values[places[random.integers(len(places))]] if places else values[place]

"""Sweeper behind ``sweep=lr_range``: a learning-rate range test.

The method is of Smith, 2017, Cyclical learning rates for training neural networks
(arXiv:1506.01186), who raises the rate within one training. Here each rate has short trainings of
its own, so that no loss depends on the rates before it.
"""

import itertools
import math
import shutil
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from statistics import fmean

from omegaconf import DictConfig, OmegaConf

from mnist_lab.config.overrides import RANGE, given_overrides, parse_overrides
from mnist_lab.config.saved import portable
from mnist_lab.config.sweep_schema import LearningRates
from mnist_lab.errors import ConfigError
from mnist_lab.runs.directory import CONFIG, MANIFEST, SWEEP, claimed, display_path, write
from mnist_lab.runs.summary import csv_text
from mnist_lab.sweeps.compose import ConfigSweeper, checked_trials
from mnist_lab.sweeps.settings import checked_node

CSV, PLOT = f"{RANGE}.csv", f"{RANGE}.png"
_KEY = "optimizer.lr"


@dataclass(frozen=True)
class Range:
    """The result of a range test.

    Args:
        folder: what it was written to.
        steps: optimizer steps of each training.
        rates: learning rates, from the lowest.
        losses: for each seed the training loss at each rate.
    """

    folder: Path
    steps: int
    rates: list[float]
    losses: list[list[float]]

    @property
    def means(self) -> list[float]:
        """The loss at each rate, the mean over the seeds; infinite where one is not finite."""
        means = [fmean(column) for column in zip(*self.losses, strict=True)]
        return [mean if math.isfinite(mean) else math.inf for mean in means]

    @property
    def lowest(self) -> int:
        """The place of the rate with the lowest loss."""
        return self.means.index(min(self.means))

    @property
    def diverges(self) -> int | None:
        """The place from which losses stay above that at the lowest rate; None where none do."""
        means = self.means
        stays = [at for at in range(self.lowest, len(means)) if means[at] <= means[0]]
        last = stays[-1] if stays else self.lowest
        return last + 1 if last + 1 < len(means) else None

    @property
    def steepest(self) -> int:
        """The place, up to the lowest loss, from which it falls most to the next rate."""
        means = self.means[: self.lowest + 1]
        falls = [loss - after for loss, after in itertools.pairwise(means)]
        return falls.index(max(falls)) if falls else 0

    @property
    def suggestion(self) -> float | None:
        """The rate to train with; None where no rate lowered the loss.

        It lies in the middle of the steepest descent and the lowest loss, on the logarithmic axis:
        at the one there is little progress, and the other leaves no room for a longer training.
        """
        if not self.lowest:
            return None
        return math.sqrt(self.rates[self.steepest] * self.rates[self.lowest])


class RangeTest(ConfigSweeper):
    """Trains at many learning rates for a few steps each, and keeps the losses."""

    def sweep(self, arguments: list[str]) -> Range:
        """Check everything, train, and write the losses and the config.

        Raises:
            LabError: something that the user can mend is wrong; nothing was made.
        """
        settings = _settings(self._config.hydra.sweeper)
        for item in parse_overrides(given_overrides(self._config.hydra)):
            if item.is_sweep_override():
                raise ConfigError(
                    f"{item.input_line}: must have one value with sweep={RANGE}, which varies the "
                    "learning rate and the seed alone"
                )
        folder = Path(str(self._config.hydra.sweep.dir)).absolute()
        rates = _spaced(settings.low, settings.high, settings.rates)
        is_new = not folder.exists()
        with claimed(folder, lambda: _check_unused(folder)):
            try:
                configs = self._trials(arguments, settings, rates)
                from mnist_lab.training.range_test import range_test  # imports torch

                losses = range_test(configs, rates, settings.steps, settings.max_stack)
                seeds = [config.seed for config in configs]
                write(folder / CONFIG, portable(configs[0]))
                write(folder / CSV, _table(rates, seeds, losses))
            except BaseException:
                if is_new:
                    shutil.rmtree(folder, ignore_errors=True)
                raise
        return Range(folder, settings.steps, rates, losses)

    def _trials(
        self, arguments: Sequence[str], settings: LearningRates, rates: Sequence[float]
    ) -> list[DictConfig]:
        """Return the config of each seed, once the ends of the range are checked with it."""
        first = self._config.seed
        seeds = range(first, first + settings.seeds)
        points = [[f"seed={seed}", f"{_KEY}={rate!r}"] for seed in seeds for rate in rates[:1]]
        points.append([f"seed={first}", f"{_KEY}={rates[-1]!r}"])
        overrides = ([*arguments, *point] for point in points)
        configs = list(checked_trials(self._loader, self._config, enumerate(overrides)))[:-1]
        return [OmegaConf.masked_copy(config, [*set(config) - {"hydra"}]) for config in configs]


def _settings(node: DictConfig) -> LearningRates:
    """Return the settings of a ``hydra.sweeper`` node.

    Raises:
        ConfigError: a value is out of its range.
    """
    plain = checked_node("hydra.sweeper", LearningRates, node)
    if plain["low"] >= plain["high"]:
        raise ConfigError(
            f"hydra.sweeper.low={plain['low']}: must be below hydra.sweeper.high={plain['high']}"
        )
    return LearningRates(**plain)


def _spaced(low: float, high: float, count: int) -> list[float]:
    """Return numbers from the one to the other, each as many times the one before."""
    return [low * (high / low) ** (place / (count - 1)) for place in range(count)]


def _check_unused(folder: Path) -> None:
    """Refuse a folder that holds a run, a sweep, or a file that the test would write over."""
    for name in (MANIFEST, SWEEP, CONFIG, CSV, PLOT):
        if (folder / name).exists():
            raise ConfigError(
                f"{display_path(folder)}: has a {name} already; choose another hydra.sweep.dir"
            )


def _table(rates: Sequence[float], seeds: Sequence[int], losses: Sequence[Sequence[float]]) -> str:
    """Return a row for each point as CSV."""
    rows = [
        {_KEY: rate, "seed": seed, "train/loss": loss}
        for seed, of_seed in zip(seeds, losses, strict=True)
        for rate, loss in zip(rates, of_seed, strict=True)
    ]
    return csv_text(rows)

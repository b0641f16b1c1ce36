"""Search spaces in Hydra's override grammar, and what Optuna calls them."""

import itertools
import math
import random
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from hydra.core.config_loader import ConfigLoader
from hydra.core.override_parser.overrides_parser import OverridesParser
from hydra.core.override_parser.types import IntervalSweep, Override, RangeSweep
from hydra.errors import HydraException

from mnist_lab.config.messages import explain
from mnist_lab.errors import ConfigError, first_line

if TYPE_CHECKING:
    from optuna.distributions import BaseDistribution

# All trials of a sweep are compared by one value, of one place, with the same code.
_SAME_FOR_ALL = ("allow_targets", "mode", "monitor", "run_dir", "sweep")
_PROBE = 0.382  # a place within an interval, for values that only its ends may have


@dataclass(frozen=True)
class Choice:
    """Values that are listed.

    Args:
        key: as an override has it, with a ``+`` where it has one.
        text: the whole override as it was written.
        values: each as an override has it.
    """

    key: str
    text: str
    values: tuple[str, ...]

    def probes(self) -> tuple[str, ...]:
        """Return the values that a check has to try."""
        return self.values

    def distribution(self) -> "BaseDistribution":
        """Return what Optuna samples from."""
        from optuna.distributions import CategoricalDistribution

        return CategoricalDistribution(self.values)


@dataclass(frozen=True)
class Interval:
    """Numbers between two bounds, both included.

    Args:
        key: as an override has it, with a ``+`` where it has one.
        text: the whole override as it was written.
        low: the smallest number.
        high: the largest.
        step: distance of two numbers; None is any number, or for whole ones 1.
        log: whether a factor counts and not a difference.
    """

    key: str
    text: str
    low: float
    high: float
    step: float | None = None
    log: bool = False

    def probes(self) -> tuple[str, ...]:
        """Return the values that a check has to try: the ends, and one between."""
        between = self.low + _PROBE * (self.high - self.low)
        if isinstance(self.low, int):
            between = round(between)
        elif self.step:
            between = self.low + self.step * round((between - self.low) / self.step)
        return tuple(dict.fromkeys(str(value) for value in (self.low, between, self.high)))

    def distribution(self) -> "BaseDistribution":
        """Return what Optuna samples from."""
        from optuna.distributions import FloatDistribution, IntDistribution

        if isinstance(self.low, int) and isinstance(self.high, int):
            return IntDistribution(self.low, self.high, log=self.log, step=int(self.step or 1))
        return FloatDistribution(self.low, self.high, log=self.log, step=self.step)


Dimension = Choice | Interval


@dataclass(frozen=True)
class Space:
    """What a sweep varies, and what is the same for all of its trials.

    Args:
        dimensions: what varies, in the order in which it was given.
        fixed: overrides of every trial, as they were given.
        is_grid: whether all values are listed.
    """

    dimensions: tuple[Dimension, ...]
    fixed: tuple[str, ...]
    is_grid: bool

    def grid(self) -> list[dict[str, str]]:
        """Return all combinations, the last dimension varying fastest."""
        return list(self._product([one.probes() for one in self.dimensions]))

    def probes(self, limit: int) -> Iterator[dict[str, str]]:
        """Yield points that have every choice and the ends of every interval.

        Args:
            limit: the most combinations; where there are more, one dimension varies at a time.
        """
        probes = [one.probes() for one in self.dimensions]
        if math.prod(map(len, probes)) <= limit:
            yield from self._product(probes)
            return
        first = {one.key: some[0] for one, some in zip(self.dimensions, probes, strict=True)}
        yield first
        for one, some in zip(self.dimensions, probes, strict=True):
            yield from (first | {one.key: value} for value in some[1:])

    def _product(self, values: Sequence[Sequence[str]]) -> Iterator[dict[str, str]]:
        keys = [one.key for one in self.dimensions]
        return (dict(zip(keys, point, strict=True)) for point in itertools.product(*values))

    def distributions(self) -> dict[str, "BaseDistribution"]:
        """Return Optuna's distribution for each key."""
        return {one.key: one.distribution() for one in self.dimensions}


def overrides_of(point: Mapping[str, Any]) -> list[str]:
    """Return a point's values as overrides."""
    return [f"{key}={value}" for key, value in point.items()]


def parse_space(
    params: Mapping[str, Any],
    arguments: Sequence[str],
    loader: ConfigLoader | None = None,
    *,
    is_grid: bool | None = None,
    seed: int = 0,
) -> Space:
    """Read a search space; the command line's word for a key comes before that of a file.

    Args:
        params: keys and what they are searched over, of ``hydra.sweeper.params``.
        arguments: overrides of the command line.
        loader: knows the choices that a glob stands for.
        is_grid: whether every value is to be listed; None lists them where there is no interval.
        seed: what ``shuffle`` draws from.

    Raises:
        ConfigError: an override cannot be read or swept.
    """
    texts = [f"{key}={value}" for key, value in _flat(params)]
    try:
        parser = OverridesParser.create(config_loader=loader)
        parsed = parser.parse_overrides([*texts, *arguments])
    except HydraException as error:
        raise ConfigError(explain(error)) from error
    by_key = {override.get_key_element().lstrip("+"): override for override in parsed}
    if is_grid is None:
        is_grid = not any(override.is_interval_sweep() for override in by_key.values())
    dimensions: list[Dimension] = []
    fixed = []
    for override in by_key.values():
        if override.is_sweep_override():
            _check_can_vary(override)
            dimensions.append(_dimension(override, is_grid, seed))
        else:
            fixed.append(str(override.input_line))
    return Space(tuple(dimensions), tuple(fixed), is_grid)


def check_same_for_all(overrides: Sequence[str]) -> None:
    """Check that overrides of the sweep itself, such as its launcher, have one value.

    Raises:
        ConfigError: one has several.
    """
    for override in OverridesParser.create().parse_overrides(list(overrides)):
        if override.is_sweep_override():
            _check_can_vary(override)


def _check_can_vary(override: Override) -> None:
    """Check that a key may have several values in a sweep.

    Raises:
        ConfigError: it is of the sweep as a whole.
    """
    if override.is_hydra_override() or override.key_or_group in _SAME_FOR_ALL:
        raise ConfigError(
            f"{override.input_line}: must have one value, as it is the same for all trials"
        )


def _flat(params: Mapping[str, Any], prefix: str = "") -> Iterator[tuple[str, Any]]:
    """Yield keys with dots, which Hydra nests where the command line has them."""
    for name, value in params.items():
        if isinstance(value, Mapping):
            yield from _flat(value, f"{prefix}{name}.")
        else:
            yield f"{prefix}{name}", value


def _dimension(override: Override, is_grid: bool, seed: int) -> Dimension:
    key, text, value = override.get_key_element(), str(override.input_line), override.value()
    tags: set[str] = getattr(value, "tags", set())
    if unknown := tags - {"log"}:
        raise ConfigError(f"{text}: the tag must be log; {min(unknown)} is none")
    if isinstance(value, IntervalSweep):
        if is_grid:
            raise ConfigError(
                f"{text}: an interval has no grid; list values, or take hydra.sweeper.sampler=tpe"
            )
        assert value.start is not None
        assert value.end is not None
        return _interval(Interval(key, text, value.start, value.end, log=bool(tags)))
    values = _values(override, seed)
    if not values:
        raise ConfigError(f"{text}: must have a value at least; there is none")
    if isinstance(value, RangeSweep) and not is_grid and len(values) > 1:
        numbers = sorted(value.range())
        step = None if tags and value.step == 1 else abs(value.step)
        return _interval(Interval(key, text, numbers[0], numbers[-1], step, log=bool(tags)))
    if len(set(values)) < len(values):
        twice = next(one for one in values if values.count(one) > 1)
        raise ConfigError(f"{text}: must have each value once; {twice} comes twice")
    return Choice(key, text, values)


def _values(override: Override, seed: int) -> tuple[str, ...]:
    """Return the values of a choice or a range, shuffled the same way at each start."""
    before = random.getstate()
    random.seed(seed)  # what Hydra shuffles by
    try:
        return tuple(override.sweep_string_iterator())
    except (HydraException, ValueError) as error:  # a step of 0, or an interval among choices
        raise ConfigError(
            f"{override.input_line}: must be one choice, range or interval; {first_line(error)}"
        ) from error
    finally:
        random.setstate(before)


def _interval(interval: Interval) -> Interval:
    """Check the bounds.

    Raises:
        ConfigError: Optuna cannot sample between them.
    """
    low, high, text = interval.low, interval.high, interval.text
    if not (math.isfinite(low) and math.isfinite(high)):
        raise ConfigError(f"{text}: must be between two finite numbers")
    if low > high:
        raise ConfigError(f"{text}: must go from the smaller number to the larger one")
    if interval.log and low <= 0:
        raise ConfigError(f"{text}: must start above 0, as it is logarithmic")
    if interval.log and interval.step:
        raise ConfigError(f"{text}: must have a step of 1, as it is logarithmic")
    return interval

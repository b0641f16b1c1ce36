"""Search spaces in Hydra's override grammar, and as distributions of Optuna."""

import itertools
import math
import random
import re
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from hydra.core.config_loader import ConfigLoader
from hydra.core.override_parser.overrides_parser import OverridesParser
from hydra.core.override_parser.types import IntervalSweep, Override, RangeSweep
from hydra.errors import HydraException

from mnist_lab.config.messages import explain
from mnist_lab.config.overrides import check_can_vary
from mnist_lab.errors import ConfigError, InputError, first_line
from mnist_lab.runs.manifest import flat

if TYPE_CHECKING:
    from optuna.distributions import BaseDistribution

_MOST = 100_000  # values of a dimension, and trials of a grid
_PROBE = 0.382  # position in an interval of a third value to check, besides the ends
_NUMBER = re.compile(r"-?\d+(\.\d+)?(e[-+]?\d+)?", re.ASCII)  # as Python writes one


@dataclass(frozen=True)
class Choice:
    """Values that are listed.

    Args:
        key: as in the override, with its ``+`` if any.
        text: the whole override.
        values: as in the override.
    """

    key: str
    text: str
    values: tuple[str, ...]

    def probes(self) -> tuple[str, ...]:
        """Return the values to check."""
        return self.values

    def has(self, text: str) -> bool:
        """Return whether a text is one of the values."""
        return text in self.values

    def distribution(self) -> "BaseDistribution":
        """Return Optuna's distribution."""
        from optuna.distributions import CategoricalDistribution

        return CategoricalDistribution(self.values)


@dataclass(frozen=True)
class Interval:
    """Numbers between two bounds, both included.

    Args:
        key: as in the override, with its ``+`` if any.
        text: the whole override.
        low: the smallest number.
        high: the largest.
        step: distance between two values; None is any number, or 1 for integers.
        log: whether the scale is logarithmic.
    """

    key: str
    text: str
    low: float
    high: float
    step: float | None = None
    log: bool = False

    def probes(self) -> tuple[str, ...]:
        """Return the values to check: the ends, and one between."""
        between = self.low + _PROBE * (self.high - self.low)
        if isinstance(self.low, int):
            between = round(between)
        elif self.step:
            between = self.low + self.step * round((between - self.low) / self.step)
        return tuple(dict.fromkeys(str(value) for value in (self.low, between, self.high)))

    def has(self, text: str) -> bool:
        """Return whether a text is a number, and a whole one where the bounds are.

        It may be out of bounds, as the last step is by an error of rounding.
        """
        if not _NUMBER.fullmatch(text) or not math.isfinite(float(text)):
            return False
        is_whole = isinstance(self.low, int) and isinstance(self.high, int)
        return float(text).is_integer() or not is_whole

    def distribution(self) -> "BaseDistribution":
        """Return Optuna's distribution."""
        from optuna.distributions import FloatDistribution, IntDistribution

        if isinstance(self.low, int) and isinstance(self.high, int):
            return IntDistribution(self.low, self.high, log=self.log, step=int(self.step or 1))
        return FloatDistribution(self.low, self.high, log=self.log, step=self.step)


Dimension = Choice | Interval


@dataclass(frozen=True)
class Space:
    """The search space of a sweep, and the overrides that all of its trials share.

    Args:
        dimensions: the keys that vary, in the order of the overrides.
        fixed: overrides of every trial.
        is_grid: whether all values are listed.
    """

    dimensions: tuple[Dimension, ...]
    fixed: tuple[str, ...]
    is_grid: bool

    def grid(self) -> list[dict[str, str]]:
        """Return all combinations, the last dimension varying fastest.

        Raises:
            ConfigError: there are too many.
        """
        values = [dimension.probes() for dimension in self.dimensions]
        if (total := math.prod(map(len, values))) > _MOST:
            raise ConfigError(
                f"{self.dimensions[0].text}: a grid of {total:,} trials, and {_MOST:,} at most are "
                "trained; hydra.sweeper.sampler=random draws hydra.sweeper.n_trials of them"
            )
        return list(self._product(values))

    def probes(self, limit: int) -> Iterator[dict[str, str]]:
        """Yield points with every choice and the ends of every interval.

        They are all combinations; where those are more than a limit, one dimension varies at once.
        """
        probes = [dimension.probes() for dimension in self.dimensions]
        if math.prod(map(len, probes)) <= limit:
            yield from self._product(probes)
            return
        by_key = {
            dimension.key: values for dimension, values in zip(self.dimensions, probes, strict=True)
        }
        first = {key: values[0] for key, values in by_key.items()}
        yield first
        for key, values in by_key.items():
            yield from (first | {key: value} for value in values[1:])

    def _product(self, values: Sequence[Sequence[str]]) -> Iterator[dict[str, str]]:
        keys = [dimension.key for dimension in self.dimensions]
        return (dict(zip(keys, point, strict=True)) for point in itertools.product(*values))

    def check(self, point: Mapping[str, Any]) -> None:
        """Check that values are of this space, since they become overrides, whoever stored them.

        Raises:
            InputError: they are not.
        """
        keys = [dimension.key for dimension in self.dimensions]
        if {*point} != {*keys}:
            raise InputError(f"must have values of {', '.join(keys) or 'no key'} alone")
        for dimension in self.dimensions:
            if not dimension.has(text := str(point[dimension.key])):
                raise InputError(f"{dimension.key}={text}: must be one of {dimension.text}")

    def distributions(self) -> dict[str, "BaseDistribution"]:
        """Return Optuna's distribution for each key."""
        return {dimension.key: dimension.distribution() for dimension in self.dimensions}


def is_wider(space: Space, before: Space) -> bool:
    """Return whether a space has the keys of another one, and all of its points."""
    now = {dimension.key: dimension for dimension in space.dimensions}
    then = {dimension.key: dimension for dimension in before.dimensions}
    return now.keys() == then.keys() and all(_contains(now[key], then[key]) for key in then)


def _contains(dimension: Dimension, before: Dimension) -> bool:
    match dimension, before:
        case Choice(), Choice():
            return set(before.values) <= set(dimension.values)
        case Interval(), Interval():
            is_alike = (dimension.log, dimension.step) == (before.log, before.step)
            start = (before.low - dimension.low) / (dimension.step or 1)
            is_step = dimension.step is None or math.isclose(start, round(start), abs_tol=1e-9)
            is_int = type(dimension.low) is type(before.low)
            return (
                (is_alike and is_step and is_int)
                and dimension.low <= before.low
                and before.high <= dimension.high
            )
    return False


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
    """Parse a search space; the command line takes precedence over ``hydra.sweeper.params``.

    Args:
        params: ``hydra.sweeper.params``, keys with their values or intervals.
        arguments: overrides of the command line.
        loader: knows the choices that a glob stands for.
        is_grid: whether every value has to be listed; None is whether there is no interval.
        seed: of ``shuffle``.

    Raises:
        ConfigError: an override cannot be read or swept.
    """
    texts = [f"{key}={value}" for key, value in flat(params).items()]  # Hydra nests dotted keys
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
            check_can_vary(override)
            dimensions.append(_dimension(override, is_grid, seed))
        else:
            fixed.append(str(override.input_line))
    return Space(tuple(dimensions), tuple(fixed), is_grid)


def _dimension(override: Override, is_grid: bool, seed: int) -> Dimension:
    key, text, value = override.get_key_element(), str(override.input_line), override.value()
    tags: set[str] = getattr(value, "tags", set())
    if unknown := tags - {"log"}:
        raise ConfigError(f"{text}: unknown tag {min(unknown)}; only log is supported")
    if isinstance(value, IntervalSweep):
        if is_grid:
            raise ConfigError(
                f"{text}: an interval has no grid; list values, or set hydra.sweeper.sampler=tpe"
            )
        assert value.start is not None
        assert value.end is not None
        return _interval(Interval(key, text, value.start, value.end, log=bool(tags)))
    values = _values(override, seed)
    if not values:
        raise ConfigError(f"{text}: must have at least one value")
    if isinstance(value, RangeSweep) and not is_grid and len(values) > 1:
        numbers = sorted(value.range())
        step = None if tags and value.step == 1 else abs(value.step)
        return _interval(Interval(key, text, numbers[0], numbers[-1], step, log=bool(tags)))
    if len(set(values)) < len(values):
        twice = next(value for value in values if values.count(value) > 1)
        raise ConfigError(f"{text}: must have each value once; {twice} occurs twice")
    return Choice(key, text, values)


def _values(override: Override, seed: int) -> tuple[str, ...]:
    """Return the values of a choice or a range, shuffled the same way at each start."""
    before = random.getstate()
    random.seed(seed)  # what Hydra shuffles by
    try:
        values = tuple(itertools.islice(override.sweep_string_iterator(), _MOST + 1))
    except (HydraException, ValueError) as error:  # a step of 0, or an interval among choices
        raise ConfigError(
            f"{override.input_line}: must be one choice, range or interval; {first_line(error)}"
        ) from error
    finally:
        random.setstate(before)
    if len(values) > _MOST:
        raise ConfigError(
            f"{override.input_line}: must be at most {_MOST:,} values; interval(LOW,HIGH) is "
            "searched without listing them"
        )
    return values


def _interval(interval: Interval) -> Interval:
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

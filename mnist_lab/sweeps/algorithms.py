"""Samplers and pruners of a search: Optuna's by name, built and checked with their options."""

import contextlib
from collections.abc import Iterator, Mapping, Sequence
from typing import Any, Literal

import numpy as np
import optuna
from optuna.pruners import BasePruner, HyperbandPruner, MedianPruner, NopPruner
from optuna.pruners import SuccessiveHalvingPruner as HalvingPruner
from optuna.samplers import BaseSampler, GPSampler, RandomSampler, TPESampler

from mnist_lab.config.sweep_schema import HALVING, POPULATION, Settings
from mnist_lab.errors import ConfigError, first_line
from mnist_lab.sweeps.halving import SynchronousHalving
from mnist_lab.sweeps.population import Population
from mnist_lab.sweeps.space import Space

Direction = Literal["maximize", "minimize"]
_SAMPLERS: dict[str, type[TPESampler | RandomSampler | GPSampler]] = {
    "tpe": TPESampler,
    "random": RandomSampler,
    "gp": GPSampler,
}
_PRUNERS: dict[str, type[BasePruner]] = {
    "none": NopPruner,
    "median": MedianPruner,
    "successive_halving": HalvingPruner,
    "hyperband": HyperbandPruner,
    HALVING: SynchronousHalving,
    POPULATION: Population,
}
_TRIED = 12  # trials, more than the start-up trials of samplers and pruners by default


@contextlib.contextmanager
def taking_options(kind: str, name: str) -> Iterator[None]:
    """Attribute an error to the options, which Optuna checks when it needs them.

    Raises:
        ConfigError: there was one.
    """
    try:
        yield
    except (TypeError, ValueError, AssertionError) as error:
        problem = first_line(error).replace(f"{name}.__init__() ", "")
        raise ConfigError(
            f"hydra.sweeper.{kind}_options: must be arguments of optuna's {name}; {problem}"
        ) from error


def build_pruner(name: str, options: Mapping[str, Any]) -> BasePruner:
    """Build a study's pruner.

    Raises:
        ConfigError: it does not take its options.
    """
    cls = _PRUNERS[name]
    with taking_options("pruner", cls.__name__):
        return cls(**options)


def check_options(settings: Settings, directions: Sequence[Direction], space: Space) -> None:
    """Check the options of sampler and pruner on a study in memory that has some trials already.

    Optuna checks some of them only then, and a few even later.

    Raises:
        ConfigError: an option is wrong.
    """
    pruner = build_pruner(settings.pruner, settings.pruner_options)
    distributions = space.distributions()
    sampler = RandomSampler() if settings.is_grid else build_sampler(settings, 0)
    random = RandomSampler(seed=0)
    tried = optuna.create_study(directions=list(directions), sampler=random, pruner=pruner)
    for number in range(_TRIED):
        trial = tried.ask(distributions)
        if settings.pruner != "none":
            trial.report(float(number), step=0)
        tried.tell(trial, [float(number)] * len(directions))
    tried.sampler = sampler
    with taking_options("sampler", type(sampler).__name__):
        trial = tried.ask(distributions)
    if settings.pruner != "none":
        trial.report(0.0, step=0)
        with taking_options("pruner", type(pruner).__name__):
            trial.should_prune()


def build_sampler(settings: Settings, number: int) -> BaseSampler:
    """Build the sampler of a trial, seeded by the trial's number, whichever process asks.

    Raises:
        ConfigError: an option is wrong.
    """
    seed = int(np.random.SeedSequence([settings.seed, number]).generate_state(1)[0])
    cls = _SAMPLERS[settings.sampler]
    with taking_options("sampler", cls.__name__):
        return cls(**{"seed": seed, **settings.sampler_options})

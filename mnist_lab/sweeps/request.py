"""Request of a sweep, read from its command and checked without torch or Optuna."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

from omegaconf import DictConfig

from mnist_lab.config.allowlist import is_the_labs
from mnist_lab.config.compose import Loader
from mnist_lab.config.overrides import given_overrides
from mnist_lab.config.resolve import resolved
from mnist_lab.config.sweep_schema import POPULATION, Settings
from mnist_lab.errors import ConfigError
from mnist_lab.runs.directory import has_launcher
from mnist_lab.sweeps.compose import checked_trials
from mnist_lab.sweeps.plan import Plan, flat_config
from mnist_lab.sweeps.settings import (
    check_population,
    check_settings,
    objectives_of,
    read_settings,
    search_of,
)
from mnist_lab.sweeps.space import Space, is_wider, overrides_of, parse_space

_PROBED = 64  # maximum of points of a search space that are checked before the first trial


@dataclass(frozen=True)
class Request:
    """A checked command.

    Args:
        settings: of the sweeper.
        space: the search space.
        objectives: metrics that trials are ranked by, each with its mode.
        total: number of trials.
        plan: the content of ``sweep.json``.
        loader: knows the choices that a glob stands for.
    """

    settings: Settings
    space: Space
    objectives: dict[str, str]
    total: int
    plan: Plan
    loader: Loader

    def widened(self, identity: dict[str, Any]) -> dict[str, Any]:
        """Return the identity of a sweep, with this space if it has all that the sweep's had.

        A study that others share keeps its space.
        """
        texts: Any = identity.get("space")
        is_read = isinstance(texts, dict) and all(isinstance(text, str) for text in texts.values())
        if self.settings.storage is not None or not is_read or texts == self.plan.space:
            return identity
        before = parse_space(
            {},
            list(texts.values()),
            self.loader,
            is_grid=self.settings.is_grid,
            seed=self.settings.seed,
        )
        return identity | {"space": self.plan.space} if is_wider(self.space, before) else identity


def read_command(config: DictConfig, arguments: Sequence[str], loader: Loader) -> Request:
    """Read a sweep's command, and check all that can be checked before the first trial.

    Raises:
        LabError: a setting or the config of a trial is wrong.
    """
    if has_launcher():
        raise ConfigError(
            "hydra/sweeper=study: trains each trial in one process; under torchrun or srun set "
            "hydra/sweeper=basic hydra/launcher=basic"
        )
    settings, space = _read(config, arguments, loader)
    points = space.grid() if settings.is_grid else list(space.probes(_PROBED))
    overrides = ([*space.fixed, *overrides_of(point)] for point in points)
    trials = checked_trials(loader, config, enumerate(overrides))
    first = next(trials)
    for _ in trials:
        pass
    if settings.pruner == POPULATION:
        check_population(settings, space, first)
    objectives = objectives_of(settings, first, is_own=not is_the_labs(first.model._target_))
    return Request(
        settings,
        space,
        objectives,
        settings.total(len(points)),
        _plan(config, settings, space, objectives),
        loader,
    )


def _plan(
    config: DictConfig, settings: Settings, space: Space, objectives: Mapping[str, str]
) -> Plan:
    varied = {dimension.key: dimension.text for dimension in space.dimensions}
    overrides = [*given_overrides(config.hydra), *given_overrides(config.hydra, "hydra")]
    sources = config.hydra.runtime.config_sources
    folders = [source.path for source in sources if source.provider == "command-line"]
    return Plan(
        space=varied,
        search=search_of(settings, objectives),
        config=flat_config(resolved(config), varied),
        overrides=[text for text in overrides if not text.startswith("hydra.mode=")],
        config_dir=" --config-dir ".join(folders) or None,
        study={"storage": settings.storage, "study_name": settings.study_name},
    )


def _read(config: DictConfig, arguments: Sequence[str], loader: Loader) -> tuple[Settings, Space]:
    """Return settings and space, with ``auto`` replaced by the sampler it stands for."""
    settings = read_settings(config.hydra.sweeper)
    is_grid = None if settings.sampler == "auto" else settings.is_grid
    space = parse_space(settings.params, arguments, loader, is_grid=is_grid, seed=settings.seed)
    if is_grid is None:
        settings = replace(settings, sampler="grid" if space.is_grid else "tpe")
    check_settings(settings)
    if not space.dimensions and not settings.is_grid:
        raise ConfigError(
            f"hydra.sweeper.sampler={settings.sampler}: needs something to search over, such as "
            "'optimizer.lr=tag(log,interval(1e-4,1e-2))'"
        )
    return settings, space

"""What a sweep's command asks for, checked without torch or Optuna."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace

from omegaconf import DictConfig

from mnist_lab.config.allowlist import is_the_labs
from mnist_lab.config.compose import Loader, resolved
from mnist_lab.config.sweep_schema import Settings
from mnist_lab.errors import ConfigError
from mnist_lab.runs.directory import has_launcher
from mnist_lab.sweeps import manifest as plan
from mnist_lab.sweeps.compose import checked_trials
from mnist_lab.sweeps.settings import (
    check_settings,
    objectives_of,
    read_settings,
    search_of,
)
from mnist_lab.sweeps.space import Space, overrides_of, parse_space

_PROBED = 64  # most points of a search space that are checked before the first trial


@dataclass(frozen=True)
class Asked:
    """What a command asks for, once it is checked.

    Args:
        settings: how trials are picked.
        space: what they vary.
        objectives: what they are ranked by, metric and mode.
        total: how many there are to be.
        plan: what makes the sweep this one.
    """

    settings: Settings
    space: Space
    objectives: dict[str, str]
    total: int
    plan: plan.Plan


def read_command(config: DictConfig, arguments: Sequence[str], loader: Loader) -> Asked:
    """Return what a sweep's command asks for, with everything checked that can be.

    Raises:
        LabError: one of them is wrong.
    """
    _check_alone()
    settings, space = _read(config, arguments, loader)
    points = space.grid() if settings.is_grid else list(space.probes(_PROBED))
    overrides = ([*space.fixed, *overrides_of(point)] for point in points)
    trials = checked_trials(loader, config, enumerate(overrides))
    first = next(trials)
    for _ in trials:
        pass
    objectives = objectives_of(settings, first, is_own=not is_the_labs(first.model._target_))
    return Asked(
        settings,
        space,
        objectives,
        settings.total(len(points)),
        _plan(config, settings, space, objectives),
    )


def _plan(
    config: DictConfig, settings: Settings, space: Space, objectives: Mapping[str, str]
) -> plan.Plan:
    varied = {one.key: one.text for one in space.dimensions}
    hydra = config.hydra
    overrides = [str(one) for one in (*hydra.overrides.task, *hydra.overrides.hydra)]
    folders = [one.path for one in hydra.runtime.config_sources if one.provider == "command-line"]
    return plan.Plan(
        space=varied,
        search=search_of(settings, objectives),
        config=plan.flat_config(resolved(config), varied),
        overrides=[one for one in overrides if not one.startswith("hydra.mode=")],
        config_dir=folders[0] if folders else None,
        study={"storage": settings.storage, "study_name": settings.study_name},
    )


def _check_alone() -> None:
    """Check that no other process of the same command sweeps as well.

    Raises:
        ConfigError: torchrun or srun has started several that are to train together.
    """
    if has_launcher():
        raise ConfigError(
            "hydra/sweeper=study: trains each trial in one process; under torchrun or srun take "
            "hydra/sweeper=basic"
        )


def _read(config: DictConfig, arguments: Sequence[str], loader: Loader) -> tuple[Settings, Space]:
    """Return what was asked for, with the sampler that ``auto`` stands for."""
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

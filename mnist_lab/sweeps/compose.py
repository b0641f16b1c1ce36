"""Composes and checks the trials of a sweep before they start, for each of the sweepers."""

from collections.abc import Callable, Container, Iterable, Iterator, Sequence
from pathlib import PurePath
from typing import Any

from hydra.plugins.sweeper import Sweeper
from hydra.types import HydraContext
from omegaconf import DictConfig

from mnist_lab.config.compose import Loader
from mnist_lab.config.paths import check_source
from mnist_lab.config.resolve import reading
from mnist_lab.config.validate import check, check_trial
from mnist_lab.errors import ConfigError, LabError, UntrustedError


class ConfigSweeper(Sweeper):
    """A sweeper that reads its settings from the config, which the lab's loader composes."""

    def setup(
        self,
        *,
        hydra_context: HydraContext,
        task_function: Callable[[DictConfig], Any],
        config: DictConfig,
    ) -> None:
        """Store Hydra's arguments."""
        assert isinstance(hydra_context.config_loader, Loader)
        self._context, self._task, self._config = hydra_context, task_function, config
        self._loader = hydra_context.config_loader


def checked_trials(
    loader: Loader, master: DictConfig, trials: Iterable[tuple[int, Sequence[str]]]
) -> Iterator[DictConfig]:
    """Compose each trial, check it as a single run is checked, and that all can be compared.

    Yields:
        Their resolved configs.

    Raises:
        LabError: a trial is wrong; the message starts with its overrides.
    """
    first: DictConfig | None = None
    folders: set[str] = set()
    runs_here = not str(master.hydra.launcher._target_).endswith((".SlurmLauncher", ".RayLauncher"))
    for number, overrides in trials:
        try:
            config = loader.trial(master, overrides, number)
            folders.add(_folder(config, folders, loader.is_from_file))
            check(config)
            check_source(config)
            check_trial(config)
            if runs_here and config.trainer.accelerator not in (None, "auto", "cpu"):
                from mnist_lab.training.precision import check_accelerator  # imports torch

                check_accelerator(config.trainer.accelerator)
            first = config if first is None else first
            for name in ("monitor", "mode"):
                if config[name] != first[name]:
                    raise ConfigError(
                        f"{name}={config[name]}: must be {first[name]} as in the other trials, "
                        "which it is compared with"
                    )
        except LabError as error:
            raise type(error)(f"{' '.join(overrides)}: {error}") from error
        yield config


def _folder(config: DictConfig, others: Container[str], is_from_file: bool) -> str:
    with reading(config):
        folder = str(config.hydra.sweep.subdir)
    path = PurePath(folder)
    if path.is_absolute() or ".." in path.parts or not path.parts:
        kind = UntrustedError if is_from_file else ConfigError
        raise kind(f"hydra.sweep.subdir={folder}: must be a folder in the sweep's directory")
    if folder in others:
        raise ConfigError(
            f"hydra.sweep.subdir={folder}: must be another folder for each trial, as "
            "trial_${hydra.job.num}"
        )
    return folder

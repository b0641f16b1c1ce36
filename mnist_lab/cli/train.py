"""``mnist-lab train``: composes and checks every config, then lets Hydra start the jobs."""

import argparse
import logging
import sys
from pathlib import Path

from hydra._internal.core_plugins.basic_sweeper import BasicSweeper
from hydra._internal.hydra import Hydra
from hydra._internal.utils import get_args_parser
from hydra.core.global_hydra import GlobalHydra
from hydra.core.hydra_config import HydraConfig
from hydra.core.override_parser.overrides_parser import OverridesParser
from hydra.errors import HydraException, InstantiationException
from hydra.types import RunMode
from omegaconf import DictConfig, OmegaConf

from mnist_lab.cli.heavy_imports import without_collector
from mnist_lab.cli.sweep_result import print_outcome
from mnist_lab.config.allowlist import check_roles
from mnist_lab.config.compose import Loader, resolved
from mnist_lab.config.messages import explain
from mnist_lab.config.saved import check_same_config
from mnist_lab.config.sweep_schema import STUDY
from mnist_lab.config.validate import check
from mnist_lab.config.validate_trainer import check_trial
from mnist_lab.errors import ConfigError, LabError, StorageError, UntrustedError, first_line
from mnist_lab.runs.directory import claimed
from mnist_lab.sweeps.launch.plugins import register
from mnist_lab.sweeps.launch.registry import prepare_launcher
from mnist_lab.sweeps.sweeper import StudySweeper
from mnist_lab.training.observer import current_observer

log = logging.getLogger(__name__)


def main(arguments: list[str], typed: list[str] | None = None) -> int:
    """Train with Hydra overrides and return the exit code.

    Args:
        arguments: of the command.
        typed: the overrides among them that were typed, where the others are from a file.

    Raises:
        LabError: something that the user can mend is wrong.
    """
    parser = get_args_parser()
    options = _parse(parser, arguments)
    if options.help:
        from mnist_lab.cli.train_help import train_help

        print(train_help())
        return 0
    overrides = options.overrides
    loader = Loader([] if options.shell_completion else overrides, options.config_dir, typed)
    # Not hydra.main, which builds the callbacks of a config before anything can look at it.
    hydra = Hydra(task_name="train", config_loader=loader)
    GlobalHydra.instance().initialize(hydra)
    try:
        if options.shell_completion:
            hydra.shell_completion("train", overrides)
        elif options.hydra_help:
            hydra.hydra_help(None, parser, options)
        elif options.cfg or options.info:
            loader.compose(overrides)  # raises what Hydra would print with a traceback
            if options.cfg:
                hydra.show_cfg("train", overrides, options.cfg, options.package, options.resolve)
            else:
                hydra.show_info(options.info, "train", overrides)
        else:
            return _launch(hydra, loader, overrides, options.multirun)
    except HydraException as error:
        raise ConfigError(explain(error)) from error
    finally:
        GlobalHydra.instance().clear()
    return 0


def _parse(parser: argparse.ArgumentParser, arguments: list[str]) -> argparse.Namespace:
    """Read Hydra's flags, less those that would take another primary config or a pickle."""

    def fail(message: str) -> None:
        raise ConfigError(f"{message}; mnist-lab train --help says more")

    parser.error = fail  # type: ignore[method-assign, assignment]
    options = parser.parse_intermixed_args(arguments)
    if options.experimental_rerun:
        raise UntrustedError("--experimental-rerun: refused, since loading a pickle runs its code")
    if options.config_path or options.config_name:
        raise ConfigError(
            "--config-path, --config-name: not taken; --config-dir adds a folder of your own "
            "choices, such as experiment/mine.yaml"
        )
    if options.resolve and not options.cfg:
        raise ConfigError("--resolve: needs --cfg")
    return options


def _launch(hydra: Hydra, loader: Loader, overrides: list[str], multirun: bool) -> int:
    """Check every config, then start one job or all of a sweep."""
    master = loader.compose(overrides, RunMode.MULTIRUN)
    job = _Job(loader.allowed)
    try:
        # Hydra composes again, and writes into what it names: that must be what is claimed here.
        if multirun or master.hydra.mode == RunMode.MULTIRUN:
            config = loader.claimed = resolved(master)
            if config.hydra.sweeper._target_ == STUDY:
                return _sweep(hydra, job, config, overrides)
            points = _check_points(loader, master)
            with claimed(Path(config.hydra.sweep.dir), lambda: _check_runs(points)):
                hydra.multirun("train", job, [*overrides, "hydra.mode=MULTIRUN"])
        else:
            config = loader.claimed = resolved(loader.compose(overrides))
            check(config)
            points = [(Path(config.hydra.run.dir), config)]
            with claimed(points[0][0], lambda: _check_runs(points)):
                hydra.run("train", job, overrides)
                return job.result()
    except Exception as error:
        if isinstance(error, OSError) and not job.has_started:  # Hydra makes the run directory
            raise StorageError(f"{error.filename}: cannot be made: {error.strerror}") from error
        if not job.failures:  # of the sweep itself, or of a job in another process
            raise
        log.debug("The sweep ended with: %s", error)
    return job.result()


def _sweep(hydra: Hydra, job: "_Job", config: DictConfig, overrides: list[str]) -> int:
    """Run a sweep of the lab's own sweeper, which checks and claims what it needs itself."""
    register(StudySweeper)
    prepare_launcher(config.hydra.launcher)
    outcome = hydra.multirun("train", job, [*overrides, "hydra.mode=MULTIRUN"])
    print_outcome(outcome)
    return 1 if outcome.failed else 0


def _check_runs(points: list[tuple[Path, DictConfig]]) -> None:
    for run_dir, config in points:
        check_same_config(run_dir, config)


def _check_points(loader: Loader, master: DictConfig) -> list[tuple[Path, DictConfig]]:
    """Check the config of each job before the first one starts; return it with its folder."""
    points = []
    for number, point in enumerate(_points(master)):
        try:
            config = resolved(loader.load_sweep_config(master, point), number)
            check(config)
            check_trial(config)
        except LabError as error:
            raise type(error)(f"{' '.join(point)}: {error}") from error
        run_dir = Path(config.hydra.sweep.dir, str(config.hydra.sweep.subdir))
        points.append((run_dir, config))
    return points


def _points(master: DictConfig) -> list[list[str]]:
    """Return the overrides of each job, where they are known before the first one starts."""
    if not master.hydra.sweeper._target_.endswith(".BasicSweeper"):
        return []
    params = [f"{key}={value}" for key, value in (master.hydra.sweeper.params or {}).items()]
    texts = [*params, *master.hydra.overrides.task]
    parsed = OverridesParser.create().parse_overrides(texts)
    (points,) = BasicSweeper.split_arguments(parsed, max_batch_size=None)
    return points


class _Job:
    """What Hydra calls for each run; it keeps all errors, since Hydra tells of the first only.

    Args:
        allowed: the targets that the command line opened.
    """

    def __init__(self, allowed: list[str]) -> None:
        self.allowed = allowed
        self.failures: list[tuple[str, Exception]] = []
        self.has_started = False

    def __call__(self, config: DictConfig) -> float | None:
        """Train, and keep the error if there is one.

        Raises:
            Exception: what the run raised, except for a single run's error that a user can mend:
                Hydra would print a line of its own besides ours.
        """
        self.has_started = True
        hydra = HydraConfig.get()
        is_single = hydra.mode == RunMode.RUN
        try:
            OmegaConf.resolve(config)  # once, so that what is checked is what is built
            with without_collector():
                from mnist_lab.cli.result_table import print_result
                from mnist_lab.training.run import run

            check_roles(OmegaConf.to_container(config), self.allowed)
            result = run(config)
            print_result(result)
            return result.value
        except Exception as raised:
            error = _mendable(raised, is_own_code=bool(self.allowed))
            if current_observer() is not None:  # the trial's record has it
                raise error from (None if error is raised else raised)
            if not is_single:
                name = f"job {hydra.job.num} ({' '.join(hydra.overrides.task)})"
                log.error("%s: %s", name, error, exc_info=not isinstance(error, LabError))
                self.failures.append((name, error))
                raise
            if not isinstance(error, LabError):
                raise
            self.failures.append(("", error))
            return None

    def result(self) -> int:
        """Return 0 if every job went well; print the failures of a sweep and return 1.

        Raises:
            LabError: the only job failed.
        """
        for name, error in self.failures:
            if not name:
                raise error
            summary = f"{type(error).__name__}: {first_line(error)}"
            print(f"mnist-lab train: {name}: {summary}", file=sys.stderr)
        return 1 if self.failures else 0


def _mendable(error: Exception, is_own_code: bool) -> Exception:
    """Return the error of ours that Hydra wrapped, or one line for arguments that do not fit.

    Args:
        error: what a run raised.
        is_own_code: whether the user's own classes are built, whose traceback is worth having.
    """
    if not isinstance(error, InstantiationException):
        return error
    cause: BaseException | None = error
    while cause is not None:
        if isinstance(cause, LabError):
            return cause
        if isinstance(cause, ImportError):
            return ConfigError(explain(error))
        cause = cause.__cause__
    return error if is_own_code else ConfigError(explain(error))

"""``mnist-lab train``: composes and checks every config, then runs it or all of a sweep."""

import argparse
import contextlib
import logging
import os
from collections.abc import Iterator
from pathlib import Path

from hydra.core.global_hydra import GlobalHydra
from hydra.core.override_parser.overrides_parser import OverridesParser
from hydra.errors import HydraException
from hydra.types import RunMode
from omegaconf import DictConfig, OmegaConf

from mnist_lab.cli.arguments import Parser
from mnist_lab.cli.heavy_imports import without_collector
from mnist_lab.cli.sweep_result import print_outcome
from mnist_lab.cli.train_job import Job
from mnist_lab.config.compose import Loader
from mnist_lab.config.cross_validation import check_grid, folds_for
from mnist_lab.config.hydra_internals import BasicSweeper, Hydra, get_args_parser
from mnist_lab.config.jobs import run, sweep
from mnist_lab.config.lengths import LENGTHS
from mnist_lab.config.messages import explain
from mnist_lab.config.overrides import (
    check_place_keys,
    given_overrides,
    parse_overrides,
)
from mnist_lab.config.paths import check_source
from mnist_lab.config.portable_bits import choose_bits
from mnist_lab.config.renames import typed_overrides
from mnist_lab.config.resolve import resolved, run_dir_of
from mnist_lab.config.saved import check_same_config
from mnist_lab.config.sources import search_path
from mnist_lab.config.sweep_schema import RANGE_TEST, STUDY
from mnist_lab.config.validate import check
from mnist_lab.errors import (
    ConfigError,
    StorageError,
    UntrustedError,
    first_line,
    printable,
)
from mnist_lab.runs.directory import MANIFEST, SWEEP, claimed
from mnist_lab.runs.manifest import is_sealed
from mnist_lab.sweeps.compose import checked_trials
from mnist_lab.sweeps.launch.registry import is_launcher_of_the_lab, own_launcher
from mnist_lab.sweeps.lr_range import RangeTest
from mnist_lab.sweeps.space import overrides_of, parse_space
from mnist_lab.sweeps.sweeper import StudySweeper

log = logging.getLogger(__name__)


def main(arguments: list[str], typed: list[str] | None = None) -> int:
    """Train with Hydra overrides and return the exit code.

    Args:
        arguments: of the command.
        typed: the overrides among them that were typed, where the others are from a file.
    """
    if folder := os.environ.get("MNIST_LAB_DATA"):  # as hydra.job.chdir changes the folder
        os.environ["MNIST_LAB_DATA"] = os.path.abspath(os.path.expanduser(folder))
    # Hydra keeps the last --config-dir alone.
    parser = Parser(
        "mnist-lab train", parents=[get_args_parser()], conflict_handler="resolve", add_help=False
    )
    text = "a folder of your own choices; of several, the first that has a choice gives it"
    parser.add_argument("--config-dir", "-cd", action="append", default=[], help=text)
    options = _parse(parser, arguments)
    if options.help:
        from mnist_lab.cli.train_help import train_help

        search_path(options.config_dir)  # says which is no folder
        print(train_help(options.config_dir))
        return 0
    overrides = typed_overrides(options.overrides)
    is_crossed = any(text.startswith("cv=") for text in overrides)
    if is_crossed:
        overrides, options.multirun = folds_for(overrides), True
    loader = Loader([] if options.shell_completion else overrides, options.config_dir, typed)
    if options.shell_completion or options.hydra_help or options.cfg or options.info:
        _show(loader, parser, options, overrides)
        return 0
    return _launch(loader, overrides, options.multirun, is_crossed)


def _show(
    loader: Loader,
    parser: Parser,
    options: argparse.Namespace,
    overrides: list[str],
) -> None:
    """Print what one of Hydra's flags asks for, without a run; of a sweep its first trial's."""
    hydra = Hydra(task_name="train", config_loader=loader)
    GlobalHydra.instance().initialize(hydra)
    try:
        if options.shell_completion:
            hydra.shell_completion("train", options.overrides)
        elif options.hydra_help:
            hydra.hydra_help(None, parser, options)
        else:
            if options.multirun:
                overrides = _first_trial(loader, overrides)
            config = loader.compose(overrides)  # raises what Hydra would print with a traceback
            _check_package(config, options.package)
            overrides = loader.with_names(overrides)
            if options.cfg:
                hydra.show_cfg("train", overrides, options.cfg, options.package, options.resolve)
            else:
                hydra.show_info(options.info, "train", overrides)
    except HydraException as error:
        raise ConfigError(explain(error)) from error
    finally:
        GlobalHydra.instance().clear()


def _first_trial(loader: Loader, overrides: list[str]) -> list[str]:
    """Return the overrides of a sweep's first trial, as its sweeper reads them."""
    if points := _points(loader, loader.compose(overrides, RunMode.MULTIRUN)):
        of_hydra = [item for item in parse_overrides(overrides) if item.is_hydra_override()]
        return [*(str(item.input_line) for item in of_hydra), *points[0]]
    space = parse_space({}, overrides, loader)
    return [*space.fixed, *overrides_of(next(space.probes(1)))]


def _check_package(config: DictConfig, package: str | None) -> None:
    """Refuse a part of the config to show that there is not, as Hydra does with exit code 1."""
    if package not in (None, "_global_") and OmegaConf.select(config, package) is None:
        raise ConfigError(f"--package: the config has no {package}; model is one of its parts")


def _parse(parser: Parser, arguments: list[str]) -> argparse.Namespace:
    """Read Hydra's flags, less those that would take another primary config or a pickle."""
    options: argparse.Namespace = parser.parse_intermixed_args(arguments)
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


def _launch(loader: Loader, overrides: list[str], multirun: bool, is_crossed: bool) -> int:
    """Compose and check what is to run, then run it: one job, or all of a sweep."""
    config = loader.compose(overrides, RunMode.MULTIRUN if multirun else RunMode.RUN)
    check_place_keys(parse_overrides(overrides), config.hydra.mode)
    choose_bits(config.get("bits"))
    if is_crossed:
        check_grid(config)
    job = Job(loader.allowed)
    try:
        with _logging_set_up(job):
            if config.hydra.mode == RunMode.RUN:
                _run(loader, config, job)
            elif config.hydra.sweeper._target_ == STUDY:
                with without_collector():
                    launcher = own_launcher(config.hydra.launcher)
                outcome = sweep(loader, config, job, StudySweeper(launcher))
                print_outcome(outcome)
                return 1 if outcome.failed else 0
            elif config.hydra.sweeper._target_ == RANGE_TEST:
                result = sweep(loader, config, job, RangeTest())
                from mnist_lab.cli.lr_range import print_range  # imports matplotlib

                print_range(result)
            else:
                _sweep_by_plugin(loader, config, job)
    except Exception as error:
        if isinstance(error, OSError) and not job.has_started:  # Hydra makes the run directory
            raise StorageError(f"{error.filename}: cannot be made: {error.strerror}") from error
        if not job.failures:  # of the sweep itself, or of a job in another process
            raise
        log.debug("The sweep ended with: %s", error)
    return job.result()


def _run(loader: Loader, config: DictConfig, job: Job) -> None:
    checked = resolved(config)
    check(checked)
    if checked.trainer.accelerator not in (None, "auto", "cpu"):
        with without_collector():
            from mnist_lab.training.precision import check_accelerator

        check_accelerator(checked.trainer.accelerator)
    run_dir, typed = run_dir_of(config), parse_overrides(given_overrides(config.hydra))
    if (run_dir / SWEEP).exists():
        raise ConfigError(f"{printable(run_dir)}: holds a sweep; choose another hydra.run.dir")
    may_go_further = any(override.key_or_group in LENGTHS for override in typed)
    if not (run_dir / MANIFEST).exists():
        check_source(checked)
    with (
        claimed(run_dir, lambda: check_same_config(run_dir, checked, may_go_further)),
        _logging_set_up(job),
    ):
        run(loader, config, job)
        job.result()  # a directory in which nothing was trained goes


@contextlib.contextmanager
def _logging_set_up(job: Job) -> Iterator[None]:
    """Turn what logging refuses before the first job starts into a ConfigError."""
    try:
        yield
    except ValueError as error:
        if type(error) is not ValueError or job.has_started:
            raise
        raise ConfigError(f"hydra.job_logging: {first_line(error)}") from error


def _sweep_by_plugin(loader: Loader, config: DictConfig, job: Job) -> None:
    """Run a sweep of Hydra's basic sweeper, or of another package, once its trials are checked."""
    if is_sealed(config):
        raise ConfigError(
            "protocol=sealed: needs hydra/sweeper=study, whose trials read no test images"
        )
    if is_launcher_of_the_lab(config.hydra.launcher):
        raise ConfigError(
            f"hydra/launcher={config.hydra.runtime.choices['hydra/launcher']}: needs "
            "hydra/sweeper=study; with another sweeper leave the launcher out"
        )
    trials = [
        (run_dir_of(trial), trial)
        for trial in checked_trials(loader, config, enumerate(_points(loader, config)))
    ]

    def check_runs() -> None:
        for run_dir, trial in trials:
            check_same_config(run_dir, trial)

    sweep(loader, config, job, claim=claimed(Path(config.hydra.sweep.dir), check_runs))


def _points(loader: Loader, master: DictConfig) -> list[list[str]]:
    """Return the overrides of each job, where they are known before the first one starts.

    Raises:
        ConfigError: the sweeper does not take one.
    """
    if not master.hydra.sweeper._target_.endswith(".BasicSweeper"):
        return []
    params = [f"{key}={value}" for key, value in (master.hydra.sweeper.params or {}).items()]
    parser = OverridesParser.create(config_loader=loader)  # knows what a glob stands for
    try:
        parsed = parser.parse_overrides([*params, *given_overrides(master.hydra)])
        (points,) = BasicSweeper.split_arguments(parsed, max_batch_size=None)
    except HydraException as error:
        raise ConfigError(explain(error)) from error
    except ValueError as error:  # range(1,3,0)
        raise ConfigError(f"hydra/sweeper=basic: {first_line(error)}") from error
    return points

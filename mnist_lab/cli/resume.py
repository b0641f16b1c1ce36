"""``mnist-lab resume DIR``: resumes a run, or a sweep, from its directory alone."""

import logging
import sys
from pathlib import Path

from mnist_lab.cli import train
from mnist_lab.cli.arguments import Parser
from mnist_lab.cli.heavy_imports import without_collector
from mnist_lab.config.saved import run_config
from mnist_lab.errors import UntrustedError
from mnist_lab.files.regular import check_links
from mnist_lab.runs.directory import is_rank_zero
from mnist_lab.sweeps.manifest import FILE as SWEEP
from mnist_lab.sweeps.manifest import stored_arguments

_HYDRA_KEYS = (
    "hydra/sweeper",
    "hydra/launcher",
    "hydra.sweeper.",
    "hydra.launcher.",
    "hydra.sweep.",
)


def main(arguments: list[str]) -> int:
    """Resume a run and print its result.

    Raises:
        LabError: something that the user can mend is wrong.
    """
    parser = Parser(
        "mnist-lab resume",
        description="Resumes a run that was stopped, from its last checkpoint, to the same bits as "
        "if it had not been; or a sweep.",
    )
    parser.add_argument("run", type=Path, help="the directory of a run or of a sweep")
    options, allowed = parser.parse_with_targets(arguments)
    check_links(options.run)
    if (options.run / SWEEP).exists():
        arguments = [*_sweep_arguments(options.run), *options.overrides]
        return train.main(arguments, typed=options.overrides)
    config = run_config(options.run, allowed)
    _log_to(options.run / "train.log" if is_rank_zero() else None)
    with without_collector():
        from mnist_lab.cli.result_table import print_result
        from mnist_lab.training.precision import check_accelerator
        from mnist_lab.training.run import run

    check_accelerator(config.trainer.accelerator)
    print_result(run(config))
    return 0


def _sweep_arguments(folder: Path) -> list[str]:
    """Return the command that started a sweep, if a file may say all that it says.

    Raises:
        InputError: the sweep's file is corrupt.
        UntrustedError: it sets more of Hydra's own keys than a sweep needs.
    """
    arguments = stored_arguments(folder)
    for text in arguments:
        key = text.lstrip("+~").partition("=")[0]
        if key.startswith("hydra") and not key.startswith(_HYDRA_KEYS):
            raise UntrustedError(
                f"{folder / SWEEP}: {text.lstrip('+~')}: is taken from the command line "
                f"only; give the command that started the sweep, with hydra.sweep.dir={folder}"
            )
    return arguments


def _log_to(path: Path | None) -> None:
    """Log to the terminal and, if there is a path, to a file, as Hydra sets up logging."""
    handlers: list[logging.Handler] = [logging.StreamHandler(sys.stdout)]
    if path is not None:
        handlers.append(logging.FileHandler(path, encoding="utf-8", delay=True))
    logging.basicConfig(
        level=logging.INFO,
        format="[%(asctime)s] %(message)s",
        datefmt="%H:%M:%S",
        handlers=handlers,
    )

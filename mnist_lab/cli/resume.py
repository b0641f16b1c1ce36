"""``mnist-lab resume DIR``: resumes a run, or a sweep, from its directory alone."""

import logging
import sys
from pathlib import Path

from mnist_lab.cli import train
from mnist_lab.cli.arguments import Parser
from mnist_lab.cli.heavy_imports import without_collector
from mnist_lab.cli.terminal import say
from mnist_lab.config.lengths import typed_lengths
from mnist_lab.config.overrides import opened_targets, typed_source
from mnist_lab.config.renames import typed_overrides
from mnist_lab.config.saved import run_config
from mnist_lab.files.regular import check_links
from mnist_lab.runs.archive import unpack
from mnist_lab.runs.directory import SWEEP, is_rank_zero
from mnist_lab.runs.logs import Formatter
from mnist_lab.sweeps.stored_command import resuming_arguments


def main(arguments: list[str]) -> int:
    """Resume a run and print its result."""
    parser = Parser(
        "mnist-lab resume",
        description="Resumes a run that was stopped, from its last checkpoint, to the same bits as "
        "if it had not been; or a sweep.",
    )
    parser.add_argument("run", type=Path, help="the directory of a run or a sweep, or its archive")
    parser.add_argument(
        "--config-dir", action="append", default=[], help="of a sweep: the conf folder of your own"
    )
    parser.add_argument(
        "overrides",
        nargs="*",
        default=[],
        help="allow_targets=[my_package.] for own code; of a run that goes further: "
        "trainer.max_epochs=20, or trainer.max_steps; of a sweep: what it goes further by, and its "
        "places, such as hydra.sweeper.storage",
    )
    options = parser.parse_intermixed_args(arguments)
    if options.run.is_file():
        options.run = unpack(options.run, Path())
        say(f"unpacked: {options.run}")
    check_links(options.run)
    options.overrides = typed_overrides(options.overrides)
    if (options.run / SWEEP).exists():
        words = resuming_arguments(options.run, options.overrides, options.config_dir)
        return train.main(words, typed=options.overrides)
    lengths = typed_lengths(options.overrides, also=("init_from",))
    allowed, source = opened_targets(options.overrides), typed_source(options.overrides)
    config = run_config(options.run, allowed, init_from=source, lengths=lengths)
    _log_to(options.run / "train.log" if is_rank_zero() else None)
    with without_collector():
        from mnist_lab.cli.run_result import print_result
        from mnist_lab.training.checkpoints.longer_run import go_further
        from mnist_lab.training.precision import check_accelerator
        from mnist_lab.training.run import run

    check_accelerator(config.trainer.accelerator)
    go_further(config)
    result = run(config)
    print_result(result)
    return 1 if result.diverged else 0


def _log_to(path: Path | None) -> None:
    """Log to the terminal and, if there is a path, to a file, as Hydra sets up logging."""
    handlers: list[logging.Handler] = [logging.StreamHandler(sys.stdout)]
    if path is not None:
        handlers.append(logging.FileHandler(path, encoding="utf-8", delay=True))
    for handler in handlers:
        handler.setFormatter(Formatter())
    logging.basicConfig(level=logging.INFO, handlers=handlers)

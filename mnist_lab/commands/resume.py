"""``mnist-lab resume RUN``: goes on with a run from its directory alone."""

import logging
import sys
from pathlib import Path

from mnist_lab.commands.arguments import Parser, only_targets
from mnist_lab.config import run_config
from mnist_lab.runs import is_rank_zero


def main(arguments: list[str]) -> int:
    """Go on with a run and print its result.

    Raises:
        LabError: something that the user can mend is wrong.
    """
    parser = Parser(
        "mnist-lab resume",
        description="Goes on with a run that was stopped, from its last checkpoint, to the same "
        "bits as if it had not been.",
    )
    parser.add_argument("run", type=Path, help="the run's directory")
    parser.add_argument("overrides", nargs="*", help="only allow_targets=[my_package.]")
    options = parser.parse_intermixed_args(arguments)
    config = run_config(options.run, only_targets(options.overrides))
    _log_to(options.run / "train.log" if is_rank_zero() else None)
    from mnist_lab.job import run

    run(config)
    return 0


def _log_to(path: Path | None) -> None:
    """Log as Hydra has a run log."""
    handlers: list[logging.Handler] = [logging.StreamHandler(sys.stdout)]
    if path is not None:
        handlers.append(logging.FileHandler(path, encoding="utf-8", delay=True))
    logging.basicConfig(
        level=logging.INFO,
        format="[%(asctime)s] %(message)s",
        datefmt="%H:%M:%S",
        handlers=handlers,
    )

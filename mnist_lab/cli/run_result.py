"""Result of a run on the terminal."""

import logging
import shlex
from typing import TYPE_CHECKING

from mnist_lab.cli.folded_table import folded_table
from mnist_lab.cli.terminal import say, width
from mnist_lab.files.tensorboard import EVENTS
from mnist_lab.runs.directory import OFFLINE, display_path, is_rank_zero
from mnist_lab.runs.logs import log_to_file
from mnist_lab.runs.summary import counted, metrics_table
from mnist_lab.training.observer import current_observer

if TYPE_CHECKING:
    from mnist_lab.training.run import Result

_log = logging.getLogger(__name__)


def print_result(result: "Result") -> None:
    """Print the result of a run, how long it took, and the commands that show its curves.

    The same lines go to ``train.log``. Nothing is printed in a sweep, which has a table of all
    trials, nor by ranks other than 0.
    """
    if not is_rank_zero() or current_observer() is not None:
        return
    run_dir, metrics = display_path(result.run_dir), result.metrics
    lines = []
    headings, *rows = metrics_table(metrics)
    if rows:  # a barebones run measures nothing but time
        lines = [str(run_dir), *folded_table(headings, rows, width(), headings[1:])]
    lines.append(
        f"{counted(metrics['epochs'], 'epoch')}, {counted(metrics['steps'], 'step')} in "
        f"{metrics['time/fit']:.1f} s; {metrics['time/total']:.1f} s with set-up and test"
    )
    if any(result.run_dir.glob(EVENTS)):
        lines.append(f"tensorboard --logdir {shlex.quote(str(run_dir.parent))}")
    if any(result.run_dir.glob(OFFLINE)):
        lines.append(f"wandb sync {shlex.quote(str(run_dir))}/{OFFLINE}")
    say("", *lines)
    log_to_file(*lines)
    if names := result.diverged:
        verb = "is" if len(names) == 1 else "are"
        _log.warning("%s: training diverged: %s %s NaN", run_dir, ", ".join(names), verb)

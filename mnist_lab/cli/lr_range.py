"""Result of a learning-rate range test on the terminal, and the file of its plot."""

from mnist_lab.cli.terminal import say
from mnist_lab.files.atomic import write_atomic, write_errors
from mnist_lab.report.lr_range import plot_range
from mnist_lab.runs.directory import display_path
from mnist_lab.runs.summary import counted
from mnist_lab.sweeps.lr_range import CSV, PLOT, Range


def print_range(result: Range) -> None:
    """Write a test's plot, and print what it says and where it is.

    Raises:
        StorageError: the plot cannot be written.
    """
    place, means, suggestion = display_path(result.folder), result.means, result.suggestion
    count = len(result.losses)
    title = f"training loss after {counted(result.steps, 'step')} at constant learning rates"
    title += f", mean of {count} seeds" if count > 1 else ""
    path = result.folder / PLOT
    with write_errors(path):
        write_atomic(path, plot_range(result.rates, result.losses, means, suggestion, title))
    say("", title)
    say(f"lowest: {means[result.lowest]:.4f} at {result.rates[result.lowest]:.2g}")
    if result.diverges is not None:
        say(f"diverges: from {result.rates[result.diverges]:.2g} on")
    if suggestion is None:
        say("suggestion: none, as no rate lowered the loss; try lower ones, hydra.sweeper.low=1e-8")
    else:
        steepest = result.rates[result.steepest]
        say(
            f"suggestion: optimizer.lr={suggestion:.2g}, between the steepest descent at "
            f"{steepest:.2g} and the lowest loss"
        )
    say(f"points: {place / CSV}", f"plot: {place / PLOT}")

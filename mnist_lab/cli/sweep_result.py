"""Result of a sweep on the terminal: the best trials, what failed, and what to do next."""

from rich.table import Table

from mnist_lab.cli.terminal import Terminal, say
from mnist_lab.runs.directory import display_path
from mnist_lab.runs.manifest import RunState
from mnist_lab.runs.summary import headings, metric_text
from mnist_lab.sweeps.records import counts, short
from mnist_lab.sweeps.results import CSV, Leaderboard
from mnist_lab.sweeps.sweeper import Outcome

_ROWS = 10
_STATES = (
    *(RunState.FINISHED, RunState.RUNNING, RunState.PRUNED),
    *(RunState.FAILED, RunState.INTERRUPTED),
)


def print_outcome(outcome: Outcome) -> None:
    """Print a sweep's best trials, and each failure in a line."""
    console = Terminal()
    board, place = outcome.board, display_path(outcome.sweep_dir)
    console.print()
    console.print(best_trials(board))
    number_of, total = counts(board.records), len(board.records)
    states = ", ".join(f"{number_of[state]} {state}" for state in _STATES if number_of[state])
    console.print(f"{total} {'trial' if total == 1 else 'trials'}: {states}")
    if outcome.failed:
        console.print(f"what failed: {place / '<trial>' / 'train.log'}")
    console.print(f"all trials: {place / CSV}")
    if outcome.command:
        console.print(f"train the best again: {outcome.command}")
    if number_of[RunState.RUNNING]:
        console.print(f"{number_of[RunState.RUNNING]} still running in other processes")
    for record in outcome.failed:
        say(f"mnist-lab train: {record.name}: {record.error}", to_stderr=True)


def best_trials(board: Leaderboard) -> Table:
    """Return the best finished trials as a table; of several objectives, the front."""
    front = board.front() if len(board.objectives) > 1 else None
    records = [record for record in board.finished if front is None or record.number in front][
        :_ROWS
    ]
    title = "best trials" if front is None else "trials that none beats in every objective"
    table = Table(title=title, title_justify="left", title_style="bold", show_edge=False)
    table.add_column("trial", justify="right")
    keys = list(dict.fromkeys(key for record in records for key in record.params))
    for name in headings([key.lstrip("+") for key in keys]):
        table.add_column(name, justify="right", overflow="fold")
    metrics = list(dict.fromkeys([*board.objectives, "test/acc", "time/fit"]))
    for name in metrics:
        table.add_column(name, justify="right")
    for record in records:
        values = [short(record.params.get(key, "")) for key in keys]
        results = [metric_text(name, record.metrics.get(name)) or "-" for name in metrics]
        table.add_row(str(record.number), *values, *results)
    return table

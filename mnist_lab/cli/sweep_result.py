"""Result of a sweep on the terminal: the best trials, what failed, and what to do next."""

import shlex
from collections.abc import Iterator

from mnist_lab.cli.cross_validation import has_folds, mean_of_folds, settings_of
from mnist_lab.cli.folded_table import folded_table
from mnist_lab.cli.terminal import Terminal, say
from mnist_lab.errors import printable
from mnist_lab.runs.directory import OFFLINE, display_path
from mnist_lab.runs.manifest import SEEDS, RunState
from mnist_lab.runs.summary import counted, headings, spread_text
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
    is_crossed = has_folds(board)
    if not is_crossed or len(settings_of(board)) == 1:
        say(*best_trials(board, console.width))
    if is_crossed:
        say(*mean_of_folds(board, console.width))
    number_of, total = counts(board.records), len(board.records)
    states = ", ".join(f"{number_of[state]} {state}" for state in _STATES if number_of[state])
    console.print(f"{counted(total, 'trial')}: {states}")
    if outcome.failed:
        console.print(f"what failed: {place / '<trial>' / 'train.log'}")
    if any("test/acc" in record.metrics for record in board.records):
        command = shlex.join(["mnist-lab", "report", str(place), "--test"])
        console.print(f"their test accuracy: {command}")
    console.print(f"all trials: {place / CSV}")
    if any(outcome.sweep_dir.glob(f"*/{OFFLINE}")):
        console.print(f"to W&B: wandb sync {shlex.quote(str(place))}/*/{OFFLINE}")
    if outcome.command:
        console.print(f"train the best again: {outcome.command}")
    if number_of[RunState.RUNNING]:
        console.print(f"{number_of[RunState.RUNNING]} still running in other processes")
    for record in outcome.failed:
        say(f"mnist-lab train: {record.name}: {record.error}", to_stderr=True)


def best_trials(board: Leaderboard, width: int) -> Iterator[str]:
    """Yield the lines of a table of the best finished trials; of several objectives, the front.

    Trials that differ in their seed alone are one row.
    """
    front = board.front() if len(board.objectives) > 1 else None
    groups = [group for group in board.groups if front is None or group.records[0].number in front][
        :_ROWS
    ]
    has_seeds = any(len(group.records) > 1 for group in groups)
    keys = dict.fromkeys(
        key
        for group in groups
        for record in group.records
        for key in record.params
        if not (has_seeds and key.lstrip("+") in SEEDS)
    )
    metrics = list(dict.fromkeys([*board.objectives, "time/fit"]))
    columns = [*headings([key.lstrip("+") for key in keys]), *(["n"] * has_seeds), *metrics]
    rows = []
    for group in groups:
        cells = [short(group.records[0].params.get(key, "")) for key in keys]
        cells += [str(len(group.records))] * has_seeds
        cells += [spread_text(name, *group.spread(name)) or "-" for name in metrics]
        rows.append([",".join(str(record.number) for record in group.records), *cells])
    yield "best trials" if front is None else "trials that none beats in every objective"
    table = [list(map(printable, row)) for row in (["trial", *columns], *rows)]
    yield from folded_table(table[0], table[1:], width, table[0])

"""Result of a sweep on the terminal: its best trials or mean over folds, and what to do next."""

import shlex
from collections.abc import Iterator

from mnist_lab.cli.folded_table import folded_table
from mnist_lab.cli.terminal import say, width
from mnist_lab.config.cross_validation import FOLD
from mnist_lab.errors import printable
from mnist_lab.runs.directory import OFFLINE, display_path
from mnist_lab.runs.manifest import SEEDS, RunState
from mnist_lab.runs.summary import (
    counted,
    headings,
    interval_text,
    metric_text,
    not_logged,
    spread_text,
)
from mnist_lab.sweeps.records import Record, counts, short
from mnist_lab.sweeps.results import CSV, Group, TrialTable
from mnist_lab.sweeps.sweeper import Outcome

_ROWS = 10
_Setting = tuple[tuple[str, str], ...]  # keys and values
_STATES = (
    *(RunState.FINISHED, RunState.RUNNING, RunState.PRUNED),
    *(RunState.FAILED, RunState.INTERRUPTED),
)


def print_outcome(outcome: Outcome) -> None:
    """Print a sweep's best trials, and each failure in a line."""
    trials, place = outcome.trials, display_path(outcome.sweep_dir)
    say("")
    is_crossed = any(FOLD in record.params for record in trials.records)
    settings = _settings_of(trials)
    if not is_crossed or len(settings) == 1:
        say(*best_trials(trials, width()))
    if is_crossed:
        say(*_mean_of_folds(trials, settings, width()))
    number_of, total = counts(trials.records), len(trials.records)
    states = ", ".join(f"{number_of[state]} {state}" for state in _STATES if number_of[state])
    say(f"{counted(total, 'trial')}: {states}")
    if any(record.directory for record in outcome.failed):
        say(f"what failed: {place / '<trial>' / 'train.log'}")
    if any("test/acc" in record.metrics for record in trials.records):
        command = shlex.join(["mnist-lab", "report", str(place), "--test"])
        say(f"their test accuracy: {command}")
    say(f"all trials: {place / CSV}")
    if any(outcome.sweep_dir.glob(f"*/{OFFLINE}")):
        say(f"to W&B: wandb sync {shlex.quote(str(place))}/*/{OFFLINE}")
    if outcome.command:
        say(f"train the best again: {outcome.command}")
    if number_of[RunState.RUNNING]:
        say(f"{number_of[RunState.RUNNING]} still running in other processes")
    if line := _unmeasured(trials):
        say(f"mnist-lab train: {line}", to_stderr=True)
    for record in outcome.failed:
        say(f"mnist-lab train: {record.name}: {record.error}", to_stderr=True)


def _unmeasured(trials: TrialTable) -> str:
    """Return the line that says that trials validate, and none logs the monitor; else nothing."""
    monitor = next(iter(trials.objectives))
    metrics = [record.metrics for group in trials.groups for record in group.records]
    names = dict.fromkeys(name for values in metrics for name in values)
    if monitor in names or not any(name.startswith("val") for name in names):
        return ""
    return not_logged(monitor, names)


def best_trials(trials: TrialTable, width: int) -> Iterator[str]:
    """Yield the lines of a table of the best finished trials; of several objectives, the front.

    Trials that differ in their seed alone are one row.
    """
    front = trials.front() if len(trials.objectives) > 1 else None
    groups = [
        group for group in trials.groups if front is None or group.records[0].number in front
    ][:_ROWS]
    has_seeds = any(len(group.records) > 1 for group in groups)
    keys = dict.fromkeys(
        key
        for group in groups
        for record in group.records
        for key in record.params
        if not (has_seeds and key.lstrip("+") in SEEDS)
    )
    metrics = list(dict.fromkeys([*trials.objectives, "time/fit"]))
    columns = [*headings([key.lstrip("+") for key in keys]), *(["n"] * has_seeds), *metrics]
    rows = []
    for group in groups:
        cells = [short(group.records[0].params.get(key, "")) for key in keys]
        cells += [str(group.count)] * has_seeds
        cells += [spread_text(name, group.spread(name)) or "-" for name in metrics]
        rows.append([",".join(str(record.number) for record in group.records), *cells])
    yield "best trials" if front is None else "trials that none beats in every objective"
    table = [list(map(printable, row)) for row in (["trial", *columns], *rows)]
    yield from folded_table(table[0], table[1:], width, table[0])


def _settings_of(trials: TrialTable) -> dict[_Setting, list[Record]]:
    """Return the finished trials of each setting, which differ in the fold alone."""
    settings: dict[_Setting, list[Record]] = {}
    for record in (record for group in trials.groups for record in group.records):
        key = tuple((name, text) for name, text in record.params.items() if name != FOLD)
        settings.setdefault(key, []).append(record)
    return settings


def _mean_of_folds(
    trials: TrialTable, settings: dict[_Setting, list[Record]], width: int
) -> Iterator[str]:
    """Yield the lines of a table of each setting's mean over its folds, the best first.

    The 95 % interval is Student's t over the folds, whose training images overlap: it is narrower
    than one over independent data (Bengio and Grandvalet, 2004, JMLR 5).
    """
    objective, mode = next(iter(trials.objectives.items()))
    rows = [
        (
            dict(setting),
            group.count,
            {name: group.spread(name) if group.count else None for name in trials.objectives},
        )
        for setting, records in settings.items()
        for group in [Group.of(records)]
    ]
    sign = -1 if mode == "max" else 1
    rows.sort(key=lambda row: sign * spread.mean if (spread := row[2][objective]) else float("inf"))
    keys = list(dict.fromkeys(key for setting, _, _ in rows for key in setting))
    columns = [*headings([key.lstrip("+") for key in keys]), "folds"]
    for name in trials.objectives:
        columns += [name, "95 % interval"]
    table = []
    for setting, count, spreads in rows:
        cells = [*(short(setting.get(key, "")) for key in keys), str(count)]
        for name, spread in spreads.items():
            mean = metric_text(name, spread.mean) if spread else "-"
            cells += [mean, interval_text(name, spread) or "-"]
        table.append(list(map(printable, cells)))
    yield "mean of folds"
    yield from folded_table(list(map(printable, columns)), table, width, columns)

"""``mnist-lab runs``: the list of runs and sweeps."""

import argparse
import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from mnist_lab.cli.arguments import Parser
from mnist_lab.cli.runs import ACTIONS
from mnist_lab.cli.terminal import say, say_table
from mnist_lab.errors import printable
from mnist_lab.report.leaderboard import setting_text
from mnist_lab.report.listing import differences_text, entries, what_differs, with_sweeps
from mnist_lab.report.read_runs import Entry, has_trials
from mnist_lab.report.selection import FIELDS, chosen, first_of_each, full_name, ranked
from mnist_lab.runs.directory import OUTPUTS
from mnist_lab.runs.summary import csv_text, headings, metric_text

DIFFERS = "what differs"

_LEFT = ("run", "state", "model", "monitor", "tag", "tags", "note", "error", DIFFERS)
_MAX_CELL = 1_000  # characters of a stranger's text


def main(arguments: list[str]) -> int:
    """List runs."""
    options = _parse(arguments)
    runs = selected(options)
    rows = runs if options.trials or options.where or options.best_of else with_sweeps(runs)
    if options.sort:
        rows = ranked(rows, full_name(options.sort, runs), options.reverse)
    elif options.best_of:
        rows = ranked(rows, "monitored")
    elif options.reverse:
        rows = rows[::-1]
    if options.best_of:
        rows = first_of_each(rows, full_name(options.best_of, runs))
    _print(options, rows[: options.limit], runs)
    return 0


def add_selection(parser: argparse.ArgumentParser) -> None:
    """Add the options by which runs are chosen."""
    parser.add_argument(
        "--where",
        metavar="TERMS",
        help="runs and trials for which all terms hold: 'model=cnn lr<=1e-3 val/acc>98%% "
        "state=failed tag=paper age<2d'; = != with any setting, metric or column, and < <= > >= "
        "with those that are numbers, and with started",
    )


def selected(options: argparse.Namespace) -> list[Entry]:
    """Return the runs in the folders that hold for ``--where``, newest first."""
    runs = entries(map(Path, options.places or [OUTPUTS]))
    return runs if options.where is None else chosen(runs, options.where)


def _parse(arguments: list[str]) -> argparse.Namespace:
    parser = Parser(
        "mnist-lab runs",
        description="Every run and sweep in or below some folders, newest first. What differs is "
        "the settings in which they differ.",
        epilog="The first word may be an action, each with a --help of its own:\n"
        + "\n".join(f"  {name:8}{text}" for name, (_, text) in ACTIONS.items()),
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument("places", nargs="*", metavar="DIR", help=f"folders, else {OUTPUTS}")
    add_selection(parser)
    parser.add_argument("--trials", action="store_true", help="a row for each trial of a sweep")
    parser.add_argument(
        "--sort", metavar="NAME", help="by a column, metric or setting; the best metric first"
    )
    parser.add_argument("--reverse", action="store_true", help="turn the order round")
    parser.add_argument(
        "--best-of", metavar="NAME", help="the best run for each value: --best-of model"
    )
    parser.add_argument("--columns", metavar="NAMES", help="with commas: run,lr,val/acc,note")
    parser.add_argument("--limit", type=_count, metavar="N", help="the first N rows")
    parser.add_argument(
        "--test",
        action="store_true",
        help="show test accuracy of a sweep's trials, too, which nothing should be chosen by",
    )
    output = parser.add_mutually_exclusive_group()
    output.add_argument("--csv", action="store_true", help="print CSV, with all settings")
    output.add_argument("--json", action="store_true", help="print JSON, with all settings")
    options: argparse.Namespace = parser.parse_intermixed_args(arguments)
    return options


def _count(text: str) -> int:
    if not text.isdecimal() or int(text) < 1:
        raise argparse.ArgumentTypeError(f"{text}: must be a number from 1")
    return int(text)


def _print(options: argparse.Namespace, rows: Sequence[Entry], runs: Sequence[Entry]) -> None:
    names = None
    if options.columns:
        names = [full_name(name.strip(), runs) for name in options.columns.split(",")]
    if options.csv or options.json:
        records = [row.record() for row in rows]
        if names:
            records = [{name: row.value(name) for name in names} for row in rows]
        if options.json:
            print(json.dumps(records, indent=2, default=str))
        else:
            print(csv_text(records), end="")
        return
    if not rows:
        say("no such runs" if options.where else "no runs there", to_stderr=True)
        return
    print_rows(rows, names or shown_columns(rows, options.test or not has_trials(rows)))


def shown_columns(rows: Sequence[Entry], shows_test: bool) -> list[str]:
    """Return what is shown unless columns are chosen; what no row has is left out."""
    monitors = dict.fromkeys(row.monitor for row in rows if row.monitor in row.metrics)
    test = ["test/acc"] if shows_test else []
    names = ["run", "age", "state", "model", DIFFERS, *monitors, *test, "time", "tags"]
    return [
        name
        for name in dict.fromkeys(names)
        if name in ("run", DIFFERS) or any(row.value(name) for row in rows)
    ]


def print_rows(rows: Sequence[Entry], names: Sequence[str]) -> None:
    """Print runs as a table that folds."""
    keys = what_differs(rows)
    ends = headings(keys)
    texts = [
        [
            differences_text(row, keys, ends) if name == DIFFERS else cell(name, row.value(name))
            for name in names
        ]
        for row in rows
    ]
    shown = headings(list(names))
    right = [head for head, name in zip(shown, names, strict=True) if name not in _LEFT]
    say_table(list(map(printable, shown)), texts, right)


def cell(name: str, value: Any) -> str:
    """Return a value as one line for a table."""
    if value is None or value == ():
        return ""
    if name == "age":
        return _age(value)
    if isinstance(value, tuple):
        value = " ".join(value)
    if name == "time":
        return metric_text("time/total", value)
    is_metric = isinstance(value, float) and (name == "monitored" or "/" in name)
    text = metric_text(name, value) if is_metric else setting_text(value)
    # A path is never cut off; what a stranger wrote into a manifest may have any length.
    return printable(text if name not in FIELDS or name == "run" else text[:_MAX_CELL])


def _age(seconds: float) -> str:
    for unit, size in (("d", 86400), ("h", 3600), ("min", 60)):
        if seconds >= size:
            return f"{seconds // size:.0f} {unit}"
    return f"{max(seconds, 0):.0f} s"

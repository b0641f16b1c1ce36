"""``mnist-lab report DIR…``: a leaderboard over any set of runs and sweeps."""

import argparse
import json
import warnings
from collections.abc import Iterable, Sequence
from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING

from mnist_lab.cli.arguments import Parser, check_may_write, split_targets
from mnist_lab.cli.heavy_imports import without_collector
from mnist_lab.cli.terminal import say, say_table, watched
from mnist_lab.config.extras import require
from mnist_lab.errors import InputError, LabError, printable
from mnist_lab.report.leaderboard import SHOWN, Leaderboard
from mnist_lab.report.read_runs import Collected, collect, has_trials
from mnist_lab.runs.directory import write
from mnist_lab.runs.logs import log_messages
from mnist_lab.runs.manifest import is_sealed
from mnist_lab.runs.summary import counted

if TYPE_CHECKING:
    from mnist_lab.inference.predictions import Predictions
    from mnist_lab.report.compare import Comparison

_GENERATOR = "mnist-lab report"  # as the page says
_SHOWN_ROWS = 30  # of the table on a terminal
_SHOWN_BROKEN = 10
_CURVES = 10  # best rows whose learning curves are on the page
_MODELS = 3  # best rows whose mistakes are on it


def main(arguments: list[str]) -> int:
    """Report on runs; return 0 if there was one at least."""
    options = _parse(arguments)
    places, overrides = split_targets(options.places, "DIR")
    if options.html:
        require("report", "plotly", "jinja2", by="--html")
        check_may_write(options.html, options.overwrite, _GENERATOR)
    collected = collect(map(Path, places), lambda paths: watched(paths, "reading runs"))
    if not collected.runs and len(collected.broken) == 1:
        raise InputError(*collected.broken)
    _print_left_out(collected)
    if not collected.runs:
        raise InputError(f"{', '.join(places)}: no finished run in or below it")
    board = Leaderboard(collected.runs, options.by)
    comparison = None
    if options.compare:
        _silence_lightning()
        with without_collector():
            from mnist_lab.report.compare import compare

        comparison = compare(board, options.compare, overrides)
    shows_test = options.test or not has_trials(collected.runs)
    _print_result(options, board, comparison, collected, shows_test)
    if options.html:
        _write_page(options, board, comparison, overrides, shows_test)
        say(f"page: {options.html}", to_stderr=options.csv or options.json)
    return 0


def _parse(arguments: list[str]) -> argparse.Namespace:
    parser = Parser(
        "mnist-lab report",
        description="A leaderboard over the runs in or below some directories. Runs that differ in "
        "nothing but their seed are one row, with mean, standard deviation and 95 % interval "
        "(Student's t); rows are sorted by val/acc, or by what all runs monitor. Runs that are not "
        "finished are counted.",
    )
    parser.add_argument("places", nargs="+", metavar="DIR", help="directories of runs and sweeps")
    parser.add_argument(
        "--html", type=Path, metavar="FILE", help="write a page that needs no network"
    )
    parser.add_overwrite("a page of a report")
    parser.add_argument(
        "--by", metavar="METRIC", help="sort by it: val/f1; else by what all runs monitor"
    )
    parser.add_argument(
        "--test",
        action="store_true",
        help="show test accuracy of a sweep's trials, too, which nothing should be chosen by",
    )
    output = parser.add_mutually_exclusive_group()
    output.add_argument("--csv", action="store_true", help="print the leaderboard as CSV")
    output.add_argument("--json", action="store_true", help="print it as JSON")
    parser.add_argument(
        "--compare",
        nargs=2,
        metavar=("A", "B"),
        help="compare two rows by their numbers, or two runs by their directories: difference, "
        "interval, McNemar's test on the same test images",
    )
    options: argparse.Namespace = parser.parse_intermixed_args(arguments)
    return options


def _print_result(
    options: argparse.Namespace,
    board: Leaderboard,
    comparison: "Comparison | None",
    collected: Collected,
    shows_test: bool,
) -> None:
    if options.json:
        content = {
            "sorted_by": board.sorted_by,
            "rows": board.records(),
            "comparison": asdict(comparison) if comparison else None,
            "broken": collected.broken,
            "unfinished": collected.unfinished,
        }
        print(json.dumps(content, indent=2))
        return
    if options.csv:
        print(board.csv(), end="")
    else:
        _print_table(board, shows_test)
    if comparison:  # beside --csv on stderr, so that the output stays a table
        say("", *comparison.lines(), to_stderr=options.csv)


def _print_left_out(collected: Collected) -> None:
    for text in collected.broken[:_SHOWN_BROKEN]:
        say(f"mnist-lab report: left out: {text}", to_stderr=True)
    if more := len(collected.broken[_SHOWN_BROKEN:]):
        say(f"mnist-lab report: left out: {more:,} more that cannot be read", to_stderr=True)
    if collected.unfinished:
        states = ", ".join(f"{count:,} {state}" for state, count in collected.unfinished.items())
        say(f"mnist-lab report: left out: not finished: {states}", to_stderr=True)


def _silence_lightning() -> None:
    """Leave out what Lightning prints for each model that is evaluated."""
    log_messages()
    warnings.filterwarnings("ignore", module="lightning")


def _print_table(board: Leaderboard, shows_test: bool) -> None:
    shown = board.rows[:_SHOWN_ROWS]
    rows = [  # reversed: a setting with the name of a metric does not take its place
        {cell.heading: printable(cell.text) for cell in reversed(board.cells(row, shows_test))}
        for row in shown
    ]
    judged = (*SHOWN[:2], "test/acc 95 %", board.sorted_by)
    numbers = ("row", "n", *judged, *board.added, *SHOWN[4:])
    names = (*numbers, "protocol", *(board.headings or ["model"]), "tags", "best run")
    columns = [name for name in dict.fromkeys(names) if any(row.get(name) for row in rows)]
    texts = [[row[name] for name in columns] for row in rows]
    say(
        f"sorted by {board.sorted_by}; mean ± standard deviation, and the 95 % interval of the mean"
    )
    say_table(columns, texts, numbers)
    if len(board.rows) > _SHOWN_ROWS:
        say(f"{counted(len(board.rows) - _SHOWN_ROWS, 'more row')}: --csv, --json or --html")
    if any(row.repeats_seeds for row in shown):
        say("* a seed occurs twice, so standard deviation and interval are too small")


def _write_page(
    options: argparse.Namespace,
    board: Leaderboard,
    comparison: "Comparison | None",
    overrides: Sequence[str],
    shows_test: bool,
) -> None:
    from mnist_lab.report.curves import curves
    from mnist_lab.report.page import page

    _silence_lightning()
    rows = board.rows[:_CURVES]
    curves_of = {
        name: curves(board.best_run(row).path, board.sorted_by)
        for name, row in watched(
            list(zip(board.names(rows), rows, strict=True)), "reading learning curves"
        )
    }
    models = list(_predictions(board, overrides, options.test))
    text = page(board, curves_of, models, comparison.lines() if comparison else (), shows_test)
    write(options.html, text)


def _predictions(
    board: Leaderboard, overrides: Sequence[str], shows_test: bool
) -> Iterable[tuple[str, "Predictions"]]:
    """Yield the predictions of the best rows' models; one that cannot be read is left out.

    Those of sealed runs read their test images once more, and are left out unless asked for.
    """
    with without_collector():
        from mnist_lab.inference.evaluate import predict_test_images

    rows = board.rows[:_MODELS]
    pairs = list(zip(board.names(rows), rows, strict=True))
    for name, row in watched(pairs, "asking the best models"):
        if is_sealed(row.settings) and not shows_test:
            continue
        try:
            yield name, predict_test_images(board.best_run(row).path, overrides)
        except LabError as error:
            say(f"mnist-lab report: no mistakes of row {row.number}: {error}", to_stderr=True)

"""``mnist-lab runs show`` and ``diff``: all about one run, and what differs between two."""

import re
import shlex
import sys
from collections.abc import Iterable, Iterator
from itertools import groupby
from pathlib import Path

from mnist_lab.cli.arguments import Parser
from mnist_lab.cli.folded_table import fold
from mnist_lab.cli.runs.listing import cell
from mnist_lab.cli.terminal import say, say_table, width
from mnist_lab.errors import InputError, printable
from mnist_lab.files.tensorboard import EVENTS
from mnist_lab.report.details import changed_settings, differences_of, environment_of
from mnist_lab.report.leaderboard import setting_text
from mnist_lab.report.read_runs import BROKEN, Entry, read_entry
from mnist_lab.runs.directory import CONFIG, MANIFEST, METRICS, check_is_run
from mnist_lab.runs.manifest import read_manifest
from mnist_lab.runs.summary import metric_text, metrics_table

_LABEL = 10  # columns
_CURVE = (100, 15)  # columns at most, and lines
_MARKS = (("braille", "⠤"), ("dot", "•"))  # of the two curves
_MAX_TEXT = 1_000  # characters of a stranger's text
_COSTS = ("epochs", "steps", "num_params", "time/fit", "time/total")


def show(arguments: list[str]) -> None:
    """Print all about one run."""
    parser = Parser(
        "mnist-lab runs show",
        description="All about one run: its state, the config that differs from the defaults, "
        "metrics, tags, note, versions and time, and the curve of the metric that it is judged by.",
    )
    parser.add_argument("run", type=Path, help="the directory of a run")
    entry = _run_in(parser.parse_intermixed_args(arguments).run)
    say(str(entry.path))
    for label, text in _facts(entry):
        first, *more = fold(printable(text[:_MAX_TEXT]), width() - _LABEL) or [""]
        say(f"{label:{_LABEL}}{first}", *(f"{'':{_LABEL}}{line}" for line in more))
    headings, *rows = metrics_table(entry.metrics)
    if rows:
        say("")
        say_table(headings, rows, headings[1:])
    if lines := list(_curve(entry, min(width(), _CURVE[0]))):
        say("", *lines)


def diff(arguments: list[str]) -> None:
    """Print what differs between two runs."""
    parser = Parser(
        "mnist-lab runs diff",
        description="What differs between two runs: config, versions, code, machine, data and "
        "metrics. (mnist-lab report --compare tests whether one model is better.)",
    )
    parser.add_argument("a", type=Path, metavar="A", help="the directory of a run")
    parser.add_argument("b", type=Path, metavar="B", help="the directory of another")
    options = parser.parse_intermixed_args(arguments)
    first, second = _run_in(options.a), _run_in(options.b)
    for entry in (first, second):
        if entry.state == BROKEN:
            raise InputError(entry.error)
    rows = list(differences_of(first, second))
    say(f"A  {first.path}", f"B  {second.path}")
    if not rows:
        say("no difference")
        return
    texts = [list(map(printable, row)) for row in _once(rows)]
    names = ["", "", "A", "B", "B - A"] if any(row[4] for row in rows) else ["", "", "A", "B"]
    texts = [row[: len(names)] for row in texts]
    say("")
    say_table(names, texts, names[2:])


def _run_in(path: Path) -> Entry:
    """Return the run in a directory.

    Raises:
        ConfigError: it is a sweep's.
        InputError: there is none.
    """
    check_is_run(path)
    if any((path / name).is_file() for name in (MANIFEST, METRICS, CONFIG)):
        return read_entry(path)
    raise InputError(f"{path}: no directory of a run")


def _once(rows: Iterable[tuple[str, ...]]) -> Iterator[tuple[str, ...]]:
    """Yield rows with the first text only in the first of those that share it."""
    for text, group in groupby(rows, lambda row: row[0]):
        for number, row in enumerate(group):
            yield ("" if number else text, *row[1:])


def _facts(entry: Entry) -> Iterator[tuple[str, str]]:
    """Yield labels and texts about a run."""
    state = f"{entry.state}: {entry.error}" if entry.error else entry.state
    yield "state", state
    if entry.state == BROKEN:
        return
    took = metric_text("time/total", entry.metrics.get("time/total"))
    when = f"{entry.value('started')}, {cell('age', entry.value('age'))} ago"
    yield "started", f"{when}, took {took}" if took else when
    if entry.labels.tags:
        yield "tags", " ".join(entry.labels.tags)
    if entry.labels.note:
        yield "note", entry.labels.note
    yield "model", str(entry.value("model"))
    changed = {key: setting_text(value) for key, value in changed_settings(entry).items()}
    yield "config", " ".join(f"{k}={v}" for k, v in changed.items()) or "the defaults"
    manifest = read_manifest(entry.path) if (entry.path / MANIFEST).exists() else {}
    if isinstance(command := manifest.get("command"), list) and command:
        words = [Path(str(command[0])).name, *map(str, command[1:])]
        yield "command", shlex.join(words)
    for part, values in environment_of(entry.path).items():
        if part in ("versions", "machine") and values:
            yield part, ", ".join(f"{name} {value}" for name, value in values.items())
        if part == "code" and values.get("commit"):
            more = " with changes" if values.get("diff_sha256") else ""
            yield part, f"commit {values['commit'][:12]}{more}"
    if isinstance(attempts := manifest.get("attempts"), list) and len(attempts) > 1:
        yield "attempts", str(len(attempts))
    costs = {name: entry.metrics[name] for name in _COSTS if name in entry.metrics}
    if costs:
        yield "cost", ", ".join(f"{name} {metric_text(name, v)}" for name, v in costs.items())


def _curve(entry: Entry, width: int) -> Iterator[str]:
    """Yield the lines of a plot of the monitored metric, and of the training's."""
    if entry.state == BROKEN or not any(entry.path.glob(EVENTS)):
        return
    from mnist_lab.report.curves import curves

    monitor = entry.monitor
    names = dict.fromkeys((monitor, re.sub("^val", "train", monitor)))
    logged = curves(entry.path, *names)
    points = {name: logged[name] for name in names if len(logged.get(name, [])) > 1}
    if not points or "utf" not in (sys.stdout.encoding or "").lower():
        return
    import plotext

    plotext.clear_figure()
    plotext.theme("clear")
    plotext.plotsize(width, _CURVE[1])
    for name, (marker, _) in zip(points, _MARKS, strict=False):
        epochs, values = zip(*points[name], strict=True)
        plotext.plot(epochs, values, marker=marker)
    # The legend of plotext lies on the curve.
    legend = (f"{sign} {printable(name)}" for name, (_, sign) in zip(points, _MARKS, strict=False))
    plotext.title("   ".join(legend))
    plotext.xticks(_ticks([epoch for curve in points.values() for epoch, _ in curve]))
    plotext.xlabel("epoch")
    plain = str(plotext.uncolorize(plotext.build()))  # each line ends with an escape sequence
    yield from (line.rstrip() for line in plain.splitlines())


def _ticks(epochs: list[float]) -> list[int]:
    low, high = round(min(epochs)), round(max(epochs))
    step = max(1, -(-(high - low) // 8))
    return list(range(low, high + 1, step))

"""Leaderboard of runs: a row for all that differ in their seed alone, best on validation first."""

import difflib
import math
import os
import re
from collections.abc import Iterable, Mapping, Sequence
from functools import cached_property
from pathlib import Path
from typing import Any, NamedTuple

from mnist_lab.config.metrics import mode_of, without_class
from mnist_lab.errors import ConfigError, listed, printable
from mnist_lab.report.read_runs import Entry, grouped
from mnist_lab.report.settings import differing
from mnist_lab.runs.directory import display_path, finite
from mnist_lab.runs.summary import (
    Spread,
    added_metrics,
    csv_text,
    headings,
    interval,
    interval_text,
    metric_text,
    spread_text,
)

SHOWN = ("val/acc", "test/acc", "val/loss", "test/loss", "num_params", "time/fit")
_COLUMNS = ("row", "n", "tags", "note")  # which a setting's last part is not to be taken for
_NET = "model.net._target_"
_LISTED = 10  # names of metrics in an error
_SPLITS = ("val", "test", "train")
_OF_SPLIT = re.compile("(val|test|train)[/_](.+)")
_ERROR = re.compile("loss|error|brier|nll|ece|hamming|perplexity|(^|_)(mse|mae|rmse)")
_ADDED = 8  # columns of metrics besides the lab's own


class Row:
    """One or more runs that differ in nothing but their seed."""

    def __init__(self, runs: Sequence[Entry]) -> None:
        self.runs = sorted(runs, key=lambda run: (str(run.seed), str(run.path)))
        self.settings = runs[0].settings
        if net := self.settings.get(_NET):  # the class that a model of any module is about
            self.settings = {**self.settings, "model._target_": net}
        self.number = 0  # rank in the leaderboard, from 1

    @property
    def tags(self) -> str:
        """The tags that its runs have."""
        return " ".join(dict.fromkeys(tag for run in self.runs for tag in run.labels.tags))

    @property
    def note(self) -> str:
        """The notes about its runs."""
        return "; ".join(dict.fromkeys(run.labels.note for run in self.runs if run.labels.note))

    @cached_property
    def metrics(self) -> dict[str, Spread]:
        """The spread of each metric."""
        names = dict.fromkeys(name for run in self.runs for name in run.metrics)
        return {
            name: Spread.of([run.metrics[name] for run in self.runs if name in run.metrics])
            for name in names
        }

    def mean(self, name: str) -> float:
        """Return a metric's mean, or NaN where no run has it."""
        return self.metrics[name].mean if name in self.metrics else math.nan

    def cell(self, name: str) -> str:
        """Return a metric for a table, with the number of runs that have it where not all do."""
        spread = self.metrics.get(name)
        if spread is None:
            return ""
        is_accuracy = name.endswith("/acc")  # which has its standard deviation as well
        text = spread_text(name, spread) if is_accuracy else metric_text(name, spread.mean)
        return text if spread.n == len(self.runs) else f"{text} (n={spread.n})"

    @property
    def test_readings(self) -> int | None:
        """How often the runs' test images were read, together; None where not all count it."""
        known = [run.test_readings for run in self.runs if run.test_readings is not None]
        return sum(known) if len(known) == len(self.runs) else None

    @property
    def target(self) -> str:
        """The full name of the model's class."""
        return str(self.settings.get("model._target_"))

    @property
    def model(self) -> str:
        """The name of the model's class."""
        return self.target.rpartition(".")[2]

    @property
    def protocol(self) -> str:
        """The protocol, and of sealed runs the number of readings of their test images."""
        if self.test_readings is None:
            return "open"
        times = "once" if self.test_readings == 1 else f"{self.test_readings} times"
        return f"sealed, read {times}" if self.test_readings else "sealed, not read"

    @property
    def repeats_seeds(self) -> bool:
        """Whether two runs have the same seed, so that they are not independent."""
        return len({str(run.seed) for run in self.runs}) < len(self.runs)


class Cell(NamedTuple):
    """A cell of the table: text, the value it is sorted by, whether it is words."""

    heading: str
    text: str
    value: str = ""
    words: bool = False


def _last_if_nan(value: float) -> float:
    return -math.inf if math.isnan(value) else value


class Leaderboard:
    """All rows, the best on validation first; those without validation come last.

    They are sorted by what all runs monitor, which ``val/acc`` takes the place of where that is not
    of validation; by test, which would no longer be an honest estimate, only if that is asked for.

    Args:
        runs: finished ones.
        by: the metric that rows are sorted by, the best first; None is what the runs monitor.

    Raises:
        ConfigError: no run has that metric.
    """

    def __init__(self, runs: Sequence[Entry], by: str | None = None) -> None:
        rows = [Row(group) for group in grouped(runs)]
        known = {name for row in rows for name in row.metrics}
        monitors = {(run.settings.get("monitor"), run.settings.get("mode")) for run in runs}
        monitor, mode = next(iter(monitors)) if len(monitors) == 1 else (None, None)
        others = ("test", "train") if "val/acc" in known else ("test",)
        is_by_monitor = monitor in known and not str(monitor).startswith(others)
        self.sorted_by = str(monitor) if is_by_monitor else "val/acc"
        self.sign = -1 if is_by_monitor and mode == "min" else 1
        if by is not None and by != self.sorted_by:
            if by not in known:
                shown = [name for name in _in_order(known) if "class_" not in name]
                hint = nearest(by, known) or listed(shown, _LISTED, ", ")
                raise ConfigError(f"--by {by}: no run has it; {hint}")
            settings = next(row.settings for row in rows if by in row.metrics)
            self.sorted_by, self.sign = by, better_sign(by, settings)
        self.rows = sorted(
            rows,
            key=lambda row: (
                -_last_if_nan(self.sign * row.mean(self.sorted_by)),
                str(row.runs[0].path),
            ),
        )
        added = added_metrics(name for row in rows for name in row.metrics)
        of_splits = [f"{split}/{name}" for name in added for split in ("val", "test")][:_ADDED]
        judged = [self.sorted_by, re.sub("^val", "test", self.sorted_by)]
        self.added = [  # columns of the table, between the splits' own and the cost
            *(name for name in dict.fromkeys(judged) if name in known - {*SHOWN, *of_splits}),
            *of_splits,
        ]
        for number, row in enumerate(self.rows, start=1):
            row.number = number
        keys = [key for key in differing(row.settings for row in self.rows) if _is_choice(key)]
        self._label_keys = _differing_of_models(self.rows)
        varied = set().union(*self._label_keys.values())
        labels = [name for name in ("tags", "note") if any(getattr(row, name) for row in self.rows)]
        counts = any(row.test_readings is not None for row in self.rows)
        self._words = [*(["protocol"] if counts else []), *labels]
        # What was varied comes before what differs only since the models do.
        self.keys = sorted(keys, key=lambda key: (key != "model._target_", key not in varied))
        self.headings = _headings(self.keys)

    def best_run(self, row: Row) -> Entry:
        """Return the run that is best by what the rows are sorted by; where none is, the first."""
        return max(
            row.runs,
            key=lambda run: _last_if_nan(self.sign * run.metrics.get(self.sorted_by, math.nan)),
        )

    def label(self, row: Row, keys: Mapping[str, set[str]] | None = None) -> str:
        """Return in what a row differs: its model where there are several, and settings.

        Args:
            row: the row.
            keys: for each model the settings to name; None are those in which its rows differ.
        """
        chosen = (self._label_keys if keys is None else keys)[row.target]
        parts = [
            f"{name}={setting_text(row.settings.get(key))}"
            for key, name in zip(self.keys, self.headings, strict=True)
            if key in chosen
        ]
        is_one = len(self._label_keys if keys is None else keys) == 1
        return " ".join(parts if parts and is_one else [row.model, *parts])

    def name(self, row: Row) -> str:
        """Return a row's number and label."""
        return f"{row.number}: {self.label(row)}"

    def names(self, rows: Sequence[Row]) -> list[str]:
        """Return the number of each of some rows, and in what these differ from each other."""
        keys = _differing_of_models(rows)
        return [f"{row.number}: {self.label(row, keys)}" for row in rows]

    def row_of(self, name: str) -> tuple[Row, Entry | None]:
        """Return the row of a number, or that of a run's directory and the run.

        Raises:
            ConfigError: there is no such row, or the directory is no run of the report.
        """
        path = Path(name)
        if not path.exists() and name.isdecimal():
            if not 1 <= int(name) <= len(self.rows):
                raise ConfigError(f"--compare {name}: no such row; there are 1 to {len(self.rows)}")
            return self.rows[int(name) - 1], None
        place = os.path.realpath(path)
        for row in self.rows:
            for run in row.runs:
                if os.path.realpath(run.path) == place:
                    return row, run
        raise ConfigError(
            f"--compare {name}: must be a row's number or the directory of a finished run in the "
            "directories that are reported"
        )

    def cells(self, row: Row, shows_test: bool = True) -> list[Cell]:
        """Return a row as cells, whose headings are those of every row."""

        def metrics(*names: str) -> list[Cell]:
            shown = [name for name in names if shows_test or not name.startswith("test")]
            return [_metric_cell(row, name) for name in shown]

        # The result comes first: on a phone nothing else is seen without scrolling.
        first = metrics(*SHOWN[:2])
        cells = [Cell("row", str(row.number), str(row.number)), *first]
        keys, names = self.keys or ["model._target_"], self.headings or ["model"]
        for key, heading in zip(keys, names, strict=True):
            if heading not in self._words:  # as protocol, which has a column that says more
                value = row.settings.get(key)
                text = row.model if key == "model._target_" else setting_text(value)
                cells.append(Cell(heading, text, text, isinstance(value, str)))
        for name in self._words:
            text = getattr(row, name)
            cells.append(Cell(name, text, text, words=True))
        n = f"{len(row.runs)}{'*' if row.repeats_seeds else ''}"
        cells.append(Cell("n", n, str(len(row.runs))))
        for cell in first:
            text = interval_text(cell.heading, row.metrics.get(cell.heading))
            cells.append(Cell(f"{cell.heading} 95 %", text, cell.value if text else ""))
        cells += metrics(*SHOWN[2:4], *self.added, *SHOWN[4:])
        place = printable(str(display_path(self.best_run(row).path)))
        return [*cells, Cell("best run", place, place, words=True)]

    def records(self) -> list[dict[str, Any]]:
        """Return the rows for other programs, flat."""
        records = []
        for row in self.rows:
            record: dict[str, Any] = {"row": row.number, "n": len(row.runs)}
            for key, name in zip(self.keys, self.headings, strict=True):
                record[name] = row.settings.get(key)
            for name, spread in row.metrics.items():
                figures = {name: spread.mean}
                if spread.n != len(row.runs):
                    figures[f"{name}/n"] = spread.n
                if name.split("/")[0] in ("val", "test", "train", "time"):
                    low, high = interval(name, spread) or (math.nan, math.nan)
                    figures[f"{name}/std"] = spread.std if spread.std is not None else math.nan
                    figures |= {f"{name}/ci95_low": low, f"{name}/ci95_high": high}
                record |= finite(figures)
            record["test_readings"] = row.test_readings
            record |= {name: getattr(row, name) for name in self._words if name != "protocol"}
            record["directories"] = [str(run.path) for run in row.runs]
            records.append(record)
        return records

    def csv(self) -> str:
        """Return the rows as CSV."""
        return csv_text(self.records())


def _differing_of_models(rows: Sequence[Row]) -> dict[str, set[str]]:
    """Return for each model the settings in which its rows differ."""
    return {
        target: set(differing(row.settings for row in rows if row.target == target))
        for target in {row.target for row in rows}
    }


def nearest(typed: str, names: Iterable[str]) -> str:
    """Return a question after the name that is probably meant, or nothing.

    The last part of a name is enough; of several that end so it is the first one's.
    """
    names = _in_order(names)
    ends = {re.split("[./]", name)[-1]: name for name in reversed(names)}
    near = difflib.get_close_matches(typed, [*ends, *names], 1)
    return f"did you mean {ends.get(near[0], near[0])}?" if near else ""


def _in_order(names: Iterable[str]) -> list[str]:
    """Return names, those of validation before those of test, and these before others."""
    return sorted(
        names, key=lambda name: (*(not name.startswith(f"{split}/") for split in _SPLITS), name)
    )


def better_sign(name: str, settings: Mapping[str, Any] | None = None) -> int:
    """Return 1 where more of a metric is better, else -1, for a run of these settings."""
    parts = _OF_SPLIT.fullmatch(name)
    if parts is None:
        return -1
    if target := (settings or {}).get(f"metrics.{without_class(parts[2])}._target_"):
        return 1 if mode_of(str(target)) == "max" else -1
    return -1 if _ERROR.search(parts[2]) else 1


def _is_choice(key: str) -> bool:
    """Return whether a key is worth a column; the name of a schedule is, its target is not."""
    return key == "model._target_" or not key.endswith("._target_")


def _headings(keys: Sequence[str]) -> list[str]:
    names = headings(["model" if key == "model._target_" else key for key in keys])
    return [key if name in _COLUMNS else name for key, name in zip(keys, names, strict=True)]


def setting_text(value: Any) -> str:
    """Return a setting for a table."""
    if value is None:
        return ""
    if isinstance(value, float):
        return f"{value:g}"
    return str(value).lower() if isinstance(value, bool) else str(value)


def _metric_cell(row: Row, name: str) -> Cell:
    mean = row.mean(name)
    return Cell(name, row.cell(name), repr(mean) if math.isfinite(mean) else "")

"""Runs as rows: one for all that differ in nothing but their seed, the best on validation first."""

import csv
import io
import math
from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any

from mnist_lab.errors import ConfigError
from mnist_lab.report.read_runs import Run, differing, grouped

SORTED_BY = "val/acc"  # never by test: that would choose by what is to be an honest estimate
SHOWN = ("val/acc", "test/acc", "val/loss", "test/loss", "num_params", "time/fit")
_CONFIDENCE = 0.95


@dataclass(frozen=True)
class Spread:
    """A metric over the runs of a row.

    Args:
        n: number of runs that have it.
        mean: of them.
        std: standard deviation of the sample; None of one run.
        half: half of the 95 % interval of the mean, by Student's t; None of one run.
    """

    n: int
    mean: float
    std: float | None = None
    half: float | None = None

    @classmethod
    def of(cls, values: Sequence[float]) -> "Spread":
        """Return the spread of some values, one at least."""
        n = len(values)
        mean = math.fsum(values) / n if all(map(math.isfinite, values)) else math.nan
        if n < 2 or math.isnan(mean):
            return cls(n, mean)
        std = math.sqrt(math.fsum((one - mean) ** 2 for one in values) / (n - 1))
        return cls(n, mean, std, student_t(n - 1) * std / math.sqrt(n))


def student_t(freedom: int) -> float:
    """Return how many standard errors a two-sided 95 % interval reaches to each side."""
    from scipy.special import stdtrit  # a tenth of the time that scipy.stats takes to import

    return float(stdtrit(freedom, (1 + _CONFIDENCE) / 2))


class Row:
    """Runs that differ in nothing but their seed.

    Args:
        runs: one at least.
    """

    def __init__(self, runs: Sequence[Run]) -> None:
        self.runs = sorted(runs, key=lambda run: (str(run.seed), str(run.directory)))
        self.settings = runs[0].settings
        self.number = 0  # its place in the leaderboard, from 1

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

    @property
    def target(self) -> str:
        """The full name of the model's class."""
        return str(self.settings.get("model._target_"))

    @property
    def model(self) -> str:
        """The name of the model's class."""
        return self.target.rpartition(".")[2]

    @property
    def repeats_seeds(self) -> bool:
        """Whether a seed is there twice, so that the runs are not as many as they seem."""
        return len({str(run.seed) for run in self.runs}) < len(self.runs)

    @property
    def best_run(self) -> Run:
        """The run that is best on validation; where there is none, the first."""
        return max(self.runs, key=lambda run: _last_if_nan(run.metrics.get(SORTED_BY, math.nan)))


def _last_if_nan(value: float) -> float:
    return -math.inf if math.isnan(value) else value


class Leaderboard:
    """All rows, the best on validation first; those without validation come last.

    Args:
        runs: finished ones.
    """

    def __init__(self, runs: Sequence[Run]) -> None:
        rows = [Row(group) for group in grouped(runs)]
        self.rows = sorted(
            rows, key=lambda row: (-_last_if_nan(row.mean(SORTED_BY)), str(row.runs[0].directory))
        )
        for number, row in enumerate(self.rows, start=1):
            row.number = number
        self.keys = [key for key in differing(row.settings for row in self.rows) if _is_choice(key)]
        self.headings = headings(self.keys)
        self._telling = {  # what tells the rows of a model from each other
            target: set(differing(row.settings for row in self.rows if row.target == target))
            for target in {row.target for row in self.rows}
        }

    def label(self, row: Row) -> str:
        """Return what tells a row from the others, in words."""
        known = zip(self.keys, self.headings, strict=True)
        telling = self._telling[row.target]
        parts = [f"{name}={shown(row.settings.get(key))}" for key, name in known if key in telling]
        return " ".join([row.model, *parts])

    def row_of(self, name: str) -> tuple[Row, Run | None]:
        """Return the row of a number, or that of a run's directory and the run.

        Raises:
            ConfigError: there is no such row, or the directory is no run of the report.
        """
        path = Path(name)
        if not path.exists() and name.isdecimal():
            if not 1 <= int(name) <= len(self.rows):
                raise ConfigError(f"--compare {name}: no such row; there are 1 to {len(self.rows)}")
            return self.rows[int(name) - 1], None
        place = path.resolve()
        for row in self.rows:
            for run in row.runs:
                if run.directory.resolve() == place:
                    return row, run
        raise ConfigError(
            f"--compare {name}: must be a row's number or the directory of a finished run in the "
            "directories that are reported"
        )

    def records(self) -> list[dict[str, Any]]:
        """Return the rows for other programs, flat."""
        records = []
        for row in self.rows:
            record: dict[str, Any] = {"row": row.number, "n": len(row.runs)}
            for key, name in zip(self.keys, self.headings, strict=True):
                record[name] = row.settings.get(key)
            for name, spread in row.metrics.items():
                record[name] = _number(spread.mean)
                if name.split("/")[0] in ("val", "test", "train", "time"):
                    half = spread.half if spread.half is not None else math.nan
                    record[f"{name}/std"] = _number(spread.std)
                    record[f"{name}/ci95_low"] = _number(spread.mean - half)
                    record[f"{name}/ci95_high"] = _number(spread.mean + half)
            record["directories"] = [str(run.directory) for run in row.runs]
            records.append(record)
        return records

    def csv(self) -> str:
        """Return the rows as CSV."""
        records = [
            record | {"directories": " ".join(record["directories"])} for record in self.records()
        ]
        names = list(dict.fromkeys(name for record in records for name in record))
        names = [*(name for name in names if name != "directories"), "directories"]
        text = io.StringIO()
        writer = csv.DictWriter(text, names, lineterminator="\n")
        writer.writeheader()
        writer.writerows({name: _cell(one) for name, one in record.items()} for record in records)
        return text.getvalue()


def _is_choice(key: str) -> bool:
    """Return whether a key says more than the others: no schedule's target, say, but its name."""
    return key == "model._target_" or not key.endswith("._target_")


def headings(keys: Sequence[str]) -> list[str]:
    """Return the last part of each key, where that is enough to tell them apart."""
    names = ["model" if key == "model._target_" else key for key in keys]
    last = [name.rpartition(".")[2] for name in names]
    taken = {"row", "n"}
    return [
        end if last.count(end) == 1 and end not in taken else name
        for name, end in zip(names, last, strict=True)
    ]


def shown(value: Any) -> str:
    """Return a setting as a table has it."""
    if value is None:
        return ""
    if isinstance(value, float):
        return f"{value:g}"
    return str(value).lower() if isinstance(value, bool) else str(value)


def metric_text(name: str, spread: Spread | None) -> str:
    """Return a metric as a table has it, with its standard deviation."""
    if spread is None:
        return ""
    if math.isnan(spread.mean):
        return "nan"
    if name.endswith("/acc"):
        std = f" ± {spread.std:.2%}" if spread.std is not None else ""
        return f"{spread.mean:.2%}".removesuffix("%") + (std or "%")
    if name.startswith("time/"):
        return f"{spread.mean:.1f} s"
    return f"{spread.mean:,.0f}" if spread.mean.is_integer() else f"{spread.mean:.4f}"


def interval_text(spread: Spread | None) -> str:
    """Return the 95 % interval of an accuracy as a table has it."""
    if spread is None or spread.half is None:
        return ""
    low, high = spread.mean - spread.half, spread.mean + spread.half
    return f"{low * 100:.2f} to {high:.2%}"


def _number(value: float | None) -> float | None:
    return value if value is not None and math.isfinite(value) else None


def _cell(value: Any) -> Any:
    """Keep a spreadsheet from taking what a file says for a formula."""
    if isinstance(value, str) and value.startswith(("=", "+", "-", "@", "\t", "\r")):
        return f"'{value}"
    return value

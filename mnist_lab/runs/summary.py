"""Metrics and counts of a run in words: as a table, as text and as CSV."""

import csv
import io
import math
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from mnist_lab.errors import listed, printable

_CONFIDENCE = 0.95
_COUNTS = ("epochs", "steps", "num_params")


def metrics_table(metrics: Mapping[str, float], class_names: Iterable[str] = ()) -> list[list[str]]:
    """Return headings, and a row of accuracy, loss and what metrics= has added for each split.

    The classes that are named have a row each, of their accuracy on the test images. Where no split
    has the lab's accuracy and loss, each metric has a row.
    """
    splits = [
        split
        for split in ("train", "val", "test")
        if f"{split}/acc" in metrics and f"{split}/loss" in metrics
    ]
    if not splits:
        names = [name for name in metrics if name not in _COUNTS and not name.startswith("time/")]
        return [["", "value"], *([name, metric_text(name, metrics[name])] for name in names)]
    added = added_metrics(metrics)
    rows = [["", "accuracy", "loss", *added]]
    for split in splits:
        names = [f"{split}/{end}" for end in ("acc", "loss", *added)]
        rows.append([split, *(metric_text(name, metrics.get(name)) for name in names)])
    for label, name in enumerate(class_names):
        if (of_class := metrics.get(f"test/acc_class_{label}")) is not None:
            rows.append([f"  {name}", f"{of_class:.2%}", *[""] * (len(added) + 1)])
    return rows


def added_metrics(names: Iterable[str]) -> list[str]:
    """Return the metrics of validation and test besides the lab's own, without their splits."""
    parts = [name.partition("/") for name in names if "class_" not in name]
    ends = dict.fromkeys(end for split, _, end in parts if split in ("val", "test"))
    return [end for end in ends if end not in ("acc", "loss", "num_samples")]


def not_logged(monitor: str, names: Iterable[str]) -> str:
    """Return the line that says of a monitor what a model logs instead: ``val_loss``."""
    known = [
        name
        for name in names
        if name.startswith(("val", "train")) and not name.endswith("num_samples")
        if "class_" not in name
    ]
    if not known:
        return f"monitor={monitor}: not logged, nor is anything else; call self.log in the model"
    # Those of validation first, and of these a loss.
    known.sort(key=lambda name: (not name.startswith("val"), "loss" not in name))
    there = listed(known, 6, between=", ")
    return f"monitor={monitor}: not logged; there are {there}; type monitor={known[0]}"


def headings(keys: Sequence[str]) -> list[str]:
    """Return the last part of each dotted key, or the whole key where that does not say which."""
    last = [key.rpartition(".")[2] for key in keys]
    return [
        end if last.count(end) == 1 and end != "name" else key
        for key, end in zip(keys, last, strict=True)
    ]


def counted(number: float, noun: str) -> str:
    """Return a number of things: ``1 trial``, ``2 trials``."""
    return f"{number:,.0f} {noun}{'' if number == 1 else 's'}"


def size_text(size: float) -> str:
    """Return a number of bytes in a unit that fits, from MB on with a decimal."""
    if size < 1e6:
        return f"{size:.0f} B" if size < 1e3 else f"{size / 1e3:.0f} kB"
    return f"{size / 1e6:.1f} MB" if size < 1e9 else f"{size / 1e9:.1f} GB"


def metric_text(name: str, value: float | None) -> str:
    """Return a metric for a table: percent, seconds, a whole number, or four decimals."""
    if value is None:
        return ""
    if math.isnan(value):
        return "nan"
    if name.endswith("/acc"):
        return f"{value:.2%}"
    if name.startswith("time/"):
        return f"{value:.1f} s"
    return f"{value:,.0f}" if value.is_integer() and abs(value) >= 1 else f"{value:.4f}"


@dataclass(frozen=True)
class Spread:
    """A metric over runs that differ in nothing but their seed, or fold.

    Args:
        n: number of runs that have the metric.
        mean: their mean.
        std: standard deviation of the sample; None for one run.
        half: half of the 95 % interval of the mean, by Student's t; None for one run.
    """

    n: int
    mean: float
    std: float | None = None
    half: float | None = None

    @classmethod
    def of(cls, values: Sequence[float]) -> "Spread":
        """Return the spread of one value or more."""
        n = len(values)
        mean = math.fsum(values) / n if all(map(math.isfinite, values)) else math.nan
        if n < 2 or math.isnan(mean):
            return cls(n, mean)
        std = math.sqrt(math.fsum((value - mean) ** 2 for value in values) / (n - 1))
        from scipy.special import stdtrit  # a tenth of the time that scipy.stats takes to import

        errors = float(stdtrit(n - 1, (1 + _CONFIDENCE) / 2))
        return cls(n, mean, std, errors * std / math.sqrt(n))


def spread_text(name: str, spread: Spread | None) -> str:
    """Return a metric's mean for a table, with the standard deviation where there is one."""
    if spread is None:
        return ""
    text = metric_text(name, spread.mean)
    if spread.std is None or name.startswith("time/"):
        return text
    return f"{text.removesuffix('%')} ± {metric_text(name, spread.std)}"


def interval(name: str, spread: Spread) -> tuple[float, float] | None:
    """Return the 95 % interval of a metric, if it has one; an accuracy's ends at 0 and 1."""
    if spread.half is None:
        return None
    low, high = spread.mean - spread.half, spread.mean + spread.half
    is_share = (name.endswith("/acc") or "/acc_class_" in name) and 0 <= spread.mean <= 1
    return (max(low, 0.0), min(high, 1.0)) if is_share else (low, high)


def interval_text(name: str, spread: Spread | None) -> str:
    """Return the 95 % interval of a metric for a table."""
    if spread is None or (ends := interval(name, spread)) is None:
        return ""
    return f"{metric_text(name, ends[0]).removesuffix('%')} to {metric_text(name, ends[1])}"


def csv_text(rows: Sequence[Mapping[str, Any]]) -> str:
    """Return rows as CSV, a column for each key that one of them has, in order of appearance.

    A list, as of tags, is one text.
    """
    text = io.StringIO()
    names = dict.fromkeys(name for row in rows for name in row)
    writer = csv.DictWriter(text, names, lineterminator="\n")
    writer.writerow({name: printable(name) for name in names})
    writer.writerows({name: _safe(value) for name, value in row.items()} for row in rows)
    return text.getvalue()


def _safe(value: Any) -> Any:
    """Quote text that a spreadsheet would run as a formula; a number is none."""
    if isinstance(value, list | tuple):
        value = " ".join(value)
    if not isinstance(value, str):
        return value
    value = printable(value)
    if not value.startswith(("=", "+", "-", "@", "\\t", "\\r")):
        return value
    try:
        float(value)
    except ValueError:
        return f"'{value}"
    return value

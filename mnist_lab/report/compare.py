"""Comparison of two rows or runs, over the seeds they share and on the same test images."""

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

from mnist_lab.errors import ConfigError
from mnist_lab.report.leaderboard import Leaderboard, Row
from mnist_lab.report.read_runs import Entry
from mnist_lab.runs.summary import Spread, counted

if TYPE_CHECKING:
    from mnist_lab.inference.predictions import Predictions

_Z = 1.959964  # standard errors of a normal distribution's 95 % interval
_METRICS = ("val/acc", "test/acc", "test/loss")


@dataclass(frozen=True)
class McNemar:
    """Two models on the same images.

    Args:
        images: number of them.
        only_a: images that only A classifies correctly.
        only_b: images that only B classifies correctly.
        difference: accuracy of A minus that of B.
        low: lower end of the difference's 95 % interval (Agresti and Min, 2005).
        high: its upper end.
        p_value: of the exact two-sided test that both are right equally often.
    """

    images: int
    only_a: int
    only_b: int
    difference: float
    low: float
    high: float
    p_value: float


@dataclass(frozen=True)
class Comparison:
    """A against B.

    Args:
        names: of both, in words.
        directories: of the two runs whose predictions are compared.
        seeds: that both rows have.
        by_seed: for each metric, A - B over the shared seeds.
        mcnemar: on the test images.
    """

    names: tuple[str, str]
    directories: tuple[str, str]
    seeds: list[str]
    by_seed: dict[str, Spread]
    mcnemar: McNemar

    def lines(self) -> list[str]:
        """Return the comparison as lines of text."""
        test = self.mcnemar
        verdict = "no difference between these two models is shown"
        if test.p_value < 0.05:
            verdict = "these two models differ"
        # Below 1e-300 a float does not hold three digits.
        p_value = "< 1e-300" if test.p_value < 1e-300 else f"= {test.p_value:.3g}"
        return [
            f"A: {self.names[0]}",
            f"B: {self.names[1]}",
            *(_difference(name, spread) for name, spread in self.by_seed.items()),
            f"the same {test.images:,} test images, {self.directories[0]} against "
            f"{self.directories[1]}:",
            f"  right in A alone {test.only_a:,}, in B alone {test.only_b:,}; A - B "
            f"{test.difference * 100:+.2f} points, 95 % interval {test.low * 100:+.2f} to "
            f"{test.high * 100:+.2f}",
            f"  McNemar's exact test: p {p_value}; {verdict}",
        ]


def _difference(name: str, spread: Spread) -> str:
    is_accuracy = name.endswith("/acc")
    unit, digits = (100, 2) if is_accuracy else (1, 4)
    text = f"{name}: A - B {spread.mean * unit:+.{digits}f}{' points' if is_accuracy else ''}"
    if spread.half is not None:
        low, high = spread.mean - spread.half, spread.mean + spread.half
        text += f", 95 % interval {low * unit:+.{digits}f} to {high * unit:+.{digits}f}"
    return f"{text} ({f'{spread.n} shared seeds' if spread.n > 1 else 'one pair of runs'})"


def mcnemar(a: "Predictions", b: "Predictions") -> McNemar:
    """Compare the predictions of two models for the same images.

    Raises:
        ConfigError: they are not the same images.
    """
    from scipy.stats import binomtest

    if a.labels.shape != b.labels.shape or not (a.labels.equal(b.labels)):
        raise ConfigError("--compare: the two were tested on other images; choose runs of one set")
    right_a, right_b = a.is_correct, b.is_correct
    only_a, only_b = int((right_a & ~right_b).sum()), int((right_b & ~right_a).sum())
    images = len(a.labels)
    total = only_a + only_b
    p_value = float(binomtest(only_a, total).pvalue) if total else 1.0
    # Half an image is added to each of the four cells, by which the interval keeps its level.
    n, first, second = images + 2, only_a + 0.5, only_b + 0.5
    middle = (first - second) / n
    half = _Z * math.sqrt(first + second - (first - second) ** 2 / n) / n
    return McNemar(
        images,
        only_a,
        only_b,
        (only_a - only_b) / images,
        max(-1.0, middle - half),
        min(1.0, middle + half),
        p_value,
    )


def compare(board: Leaderboard, names: Sequence[str], overrides: Sequence[str]) -> Comparison:
    """Compare two rows or runs.

    Metrics of rows are compared over the seeds that both have, predictions between the run of each
    row that is best on validation.

    Raises:
        ConfigError: there is no such row or run, or they were tested on other images.
        InputError: a checkpoint cannot be read.
    """
    (row_a, run_a), (row_b, run_b) = (board.row_of(name) for name in names)
    names_of_data = ("data.dataset", "data.split", "data.root")
    data_a, data_b = (
        " ".join(str(row.settings[name]) for name in names_of_data if row.settings.get(name))
        for row in (row_a, row_b)
    )
    if data_a != data_b:
        raise ConfigError(f"--compare: tested on {data_a} and on {data_b}; choose runs of one set")
    pairs = _pairs(row_a, run_a, row_b, run_b)
    chosen = run_a or board.best_run(row_a), run_b or board.best_run(row_b)
    from mnist_lab.inference.evaluate import predict_test_images

    return Comparison(
        names=(_named(board, row_a, run_a), _named(board, row_b, run_b)),
        directories=(str(chosen[0].path), str(chosen[1].path)),
        seeds=[str(a.seed) for a, b in pairs if str(a.seed) == str(b.seed)],
        by_seed=_by_seed(pairs),
        mcnemar=mcnemar(*(predict_test_images(run.path, overrides) for run in chosen)),
    )


def _by_seed(pairs: Sequence[tuple[Entry, Entry]]) -> dict[str, Spread]:
    by_seed = {}
    for name in _METRICS:
        differences = [
            a.metrics[name] - b.metrics[name]
            for a, b in pairs
            if name in a.metrics and name in b.metrics
        ]
        if differences:
            by_seed[name] = Spread.of(differences)
    return by_seed


def _named(board: Leaderboard, row: Row, run: Entry | None) -> str:
    where = f" ({run.path})" if run is not None else f" ({counted(len(row.runs), 'run')})"
    return f"row {row.number}, {board.label(row)}{where}"


def _pairs(
    row_a: Row, run_a: Entry | None, row_b: Row, run_b: Entry | None
) -> list[tuple[Entry, Entry]]:
    """Return the pairs of runs to compare: those of equal seed, or the two that are named."""
    if run_a is not None and run_b is not None:
        return [(run_a, run_b)]
    runs_a = {str(run.seed): run for run in reversed([run_a] if run_a else row_a.runs)}
    runs_b = {str(run.seed): run for run in reversed([run_b] if run_b else row_b.runs)}
    return [(runs_a[seed], runs_b[seed]) for seed in sorted(runs_a.keys() & runs_b.keys())]

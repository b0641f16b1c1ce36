"""Two rows or runs side by side: over the seeds that they share, and over the same test images."""

import math
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from typing import TYPE_CHECKING, Any

from mnist_lab.errors import ConfigError
from mnist_lab.report.leaderboard import Leaderboard, Row, Spread
from mnist_lab.report.read_runs import Run

if TYPE_CHECKING:
    from mnist_lab.inference.predictions import Answers

_Z = 1.959964  # standard errors of a normal distribution's 95 % interval
_METRICS = ("val/acc", "test/acc", "test/loss")


@dataclass(frozen=True)
class McNemar:
    """Two models on the same images.

    Args:
        images: number of them.
        only_a: images that A alone has right.
        only_b: images that B alone has right.
        difference: accuracy of A less that of B.
        low: the difference's 95 % interval: Agresti and Min, 2005.
        high: its other end.
        p_value: of the exact two-sided test that neither is more often right than the other.
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
        directories: of the two runs whose answers are compared.
        seeds: that both rows have.
        by_seed: for each metric, A less B over the shared seeds.
        mcnemar: on the test images.
    """

    names: tuple[str, str]
    directories: tuple[str, str]
    seeds: list[str]
    by_seed: dict[str, Spread]
    mcnemar: McNemar

    def record(self) -> dict[str, Any]:
        """Return it for other programs."""
        return asdict(self)

    def lines(self) -> list[str]:
        """Return it in words."""
        lines = [f"A: {self.names[0]}", f"B: {self.names[1]}"]
        for name, spread in self.by_seed.items():
            unit, digits = (100, 2) if name.endswith("/acc") else (1, 4)
            text = f"{name}: A less B {spread.mean * unit:+.{digits}f}"
            text += " points" if unit == 100 else ""
            if spread.half is not None:
                low, high = spread.mean - spread.half, spread.mean + spread.half
                text += f", 95 % interval {low * unit:+.{digits}f} to {high * unit:+.{digits}f}"
            of = f"{spread.n} shared seeds" if spread.n > 1 else "one pair of runs"
            lines.append(f"{text} ({of})")
        test = self.mcnemar
        lines += [
            f"the same {test.images:,} test images, {self.directories[0]} against "
            f"{self.directories[1]}:",
            f"  right in A alone {test.only_a:,}, in B alone {test.only_b:,}; A less B "
            f"{test.difference * 100:+.2f} points, 95 % interval {test.low * 100:+.2f} to "
            f"{test.high * 100:+.2f}",
            f"  McNemar's exact test: p = {test.p_value:.3g}; {_verdict(test.p_value)}",
        ]
        return lines


def _verdict(p_value: float) -> str:
    if p_value < 0.05:
        return "these two models differ"
    return "no difference between these two models is shown"


def mcnemar(a: "Answers", b: "Answers") -> McNemar:
    """Compare the answers of two models to the same images.

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

    Of rows, the metrics are compared over the seeds that both have, and on the test images the run
    of each that is best on validation.

    Args:
        board: where they are.
        names: two numbers of rows, or directories of runs.
        overrides: ``allow_targets``, where the models are the user's own.

    Raises:
        ConfigError: there is no such row or run, or they were tested on other images.
        InputError: a checkpoint cannot be read.
    """
    (row_a, run_a), (row_b, run_b) = (board.row_of(name) for name in names)
    datasets = [row.settings.get("data.dataset") for row in (row_a, row_b)]
    if datasets[0] != datasets[1]:
        raise ConfigError(
            f"--compare: tested on {datasets[0]} and on {datasets[1]}; choose runs of one set"
        )
    pairs = _pairs(row_a, run_a, row_b, run_b)
    by_seed = {}
    for name in _METRICS:
        gains = [
            a.metrics[name] - b.metrics[name]
            for a, b in pairs
            if name in a.metrics and name in b.metrics
        ]
        if gains:
            by_seed[name] = Spread.of(gains)
    chosen = run_a or row_a.best_run, run_b or row_b.best_run
    from mnist_lab.inference.evaluate import answers

    test = mcnemar(*(answers(run.directory, overrides) for run in chosen))
    return Comparison(
        names=(_named(board, row_a, run_a), _named(board, row_b, run_b)),
        directories=(str(chosen[0].directory), str(chosen[1].directory)),
        seeds=[str(a.seed) for a, b in pairs if str(a.seed) == str(b.seed)],
        by_seed=by_seed,
        mcnemar=test,
    )


def _named(board: Leaderboard, row: Row, run: Run | None) -> str:
    where = f" ({run.directory})" if run is not None else f" ({len(row.runs)} runs)"
    return f"row {row.number}, {board.label(row)}{where}"


def _pairs(row_a: Row, run_a: Run | None, row_b: Row, run_b: Run | None) -> list[tuple[Run, Run]]:
    """Return the runs to set against each other: those of equal seed, or the two that are named."""
    if run_a is not None and run_b is not None:
        return [(run_a, run_b)]
    ones = {str(run.seed): run for run in reversed([run_a] if run_a else row_a.runs)}
    others = {str(run.seed): run for run in reversed([run_b] if run_b else row_b.runs)}
    return [(ones[seed], others[seed]) for seed in sorted(ones.keys() & others.keys())]

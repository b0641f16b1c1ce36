"""What a learning-rate range test suggests, and which commands it refuses."""

import math
from pathlib import Path

import pytest
from door import call

from mnist_lab.sweeps.lr_range import CSV, Range

RATES = [1e-4, 1e-3, 1e-2, 1e-1, 1.0]


def result(*losses: list[float]) -> Range:
    return Range(Path("x"), 50, RATES[: len(losses[0])], list(losses))


def test_the_mean_over_seeds_counts_and_is_infinite_where_one_is() -> None:
    means = result([2.0, 1.0, math.nan], [3.0, 2.0, 1.0]).means
    assert means == [2.5, 1.5, math.inf]


@pytest.mark.parametrize(
    ("losses", "lowest", "diverges"),
    [
        ([2.3, 2.0, 1.0, 0.5, 0.4], 4, None),
        ([2.3, 1.0, 0.4, 0.8, 2.4], 2, 4),
        ([2.3, 1.0, 0.4, math.nan, math.nan], 2, 3),
        ([2.3, 1.0, 0.4, 2.4, 2.0], 2, None),  # it came back
        ([2.3, 2.4, 2.5, 2.6, 2.7], 0, 1),
    ],
)
def test_where_it_is_lowest_and_from_where_it_diverges(
    losses: list[float], lowest: int, diverges: int | None
) -> None:
    found = result(losses)
    assert (found.lowest, found.diverges) == (lowest, diverges)


def test_the_suggestion_is_between_the_steepest_descent_and_the_lowest_loss() -> None:
    assert result([2.3, 2.2, 0.8, 0.4, 3.0]).suggestion == pytest.approx(1e-3**0.5 * 1e-1**0.5)
    assert result([2.3, 1.0, 0.4]).suggestion == pytest.approx(1e-3)
    assert result([2.3, 2.4, math.nan]).suggestion is None


REFUSED = {
    "optimizer.lr=1e-3,1e-2": "optimizer.lr=1e-3,1e-2: must have one value with sweep=lr_range",
    "seed=0,1": "seed=0,1: must have one value with sweep=lr_range",
    "cv=5": "cv=5: must be left out with sweep=lr_range",
    "hydra.sweeper.low=0": "hydra.sweeper.low=0.0: must be a number above 0",
    "hydra.sweeper.low=1 hydra.sweeper.high=0.1": "hydra.sweeper.low=1.0: must be below",
    "hydra.sweeper.rates=2": "hydra.sweeper.rates=2: must be",
    "hydra.sweeper.steps=many": "hydra.sweeper.steps",
    "hydra.sweeper.n_trials=3": "hydra.sweeper.n_trials: no such key",
    "model.dropout=2": "model.dropout=2: must be",
    "scheduler._target_=os.system": "scheduler._target_=os.system",
    "hydra/sweeper=basic": "sweep=lr_range: must be typed, and hydra/sweeper must be left out",
}


@pytest.mark.parametrize("typed", REFUSED)
def test_what_does_not_fit_is_one_line_and_nothing_is_made(typed: str, tmp_path: Path) -> None:
    done = call(f"train model=mlp sweep=lr_range {typed} hydra.sweep.dir=s", tmp_path)
    assert done.returncode in (2, 4)
    assert REFUSED[typed] in done.stderr
    assert len(done.stderr.splitlines()) == 1
    assert not list(tmp_path.iterdir())


@pytest.mark.parametrize(
    "name", ["manifest.json", "sweep.json", "config.yaml", "lr_range.png", CSV]
)
def test_a_result_is_not_overwritten(name: str, tmp_path: Path) -> None:
    (tmp_path / "s").mkdir()
    (tmp_path / "s" / name).write_text("{}")
    done = call("train model=softmax sweep=lr_range hydra.sweep.dir=s", tmp_path)
    assert (done.returncode, len(done.stderr.splitlines())) == (2, 1)
    assert f"s: has a {name} already; choose another hydra.sweep.dir" in done.stderr

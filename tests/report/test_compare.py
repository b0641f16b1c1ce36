"""McNemar's test and its interval, against worked figures."""

from dataclasses import replace
from pathlib import Path

import pytest
import torch
from made_runs import make_run

from mnist_lab.errors import ConfigError
from mnist_lab.inference.predictions import Predictions
from mnist_lab.report.compare import Comparison, compare, mcnemar
from mnist_lab.report.leaderboard import Leaderboard
from mnist_lab.report.read_runs import collect

IMAGES = torch.zeros(100, 1, 28, 28, dtype=torch.uint8)
LABELS = torch.zeros(100, dtype=torch.int64)


def predictions(right: range, labels: torch.Tensor = LABELS) -> Predictions:
    preds = torch.ones(100, dtype=torch.int64)
    preds[list(right)] = 0
    return Predictions(IMAGES, labels, torch.eye(10)[preds])


def test_counts_what_one_alone_has_right() -> None:
    test = mcnemar(predictions(range(90)), predictions(range(10, 94)))
    assert (test.only_a, test.only_b, test.images) == (10, 4, 100)
    assert test.difference == pytest.approx(0.06)
    # 2 * P(X <= 4) of 14 throws of a coin
    assert test.p_value == pytest.approx(2 * (1 + 14 + 91 + 364 + 1001) / 2**14)
    assert test.low < 0 < test.difference < test.high


def test_the_same_answers_do_not_differ() -> None:
    test = mcnemar(predictions(range(90)), predictions(range(90)))
    assert test.p_value == 1
    assert test.low == pytest.approx(-test.high)


def test_a_p_value_that_no_float_holds_is_not_zero() -> None:
    test = replace(mcnemar(predictions(range(90)), predictions(range(9))), p_value=0.0)
    lines = Comparison(("a", "b"), ("x", "y"), [], {}, test).lines()
    assert lines[-1] == "  McNemar's exact test: p < 1e-300; these two models differ"


def test_other_images_are_refused() -> None:
    with pytest.raises(ConfigError, match="other images"):
        mcnemar(predictions(range(90)), predictions(range(90), LABELS + 1))


def test_other_sets_are_refused_before_a_model_is_read(tmp_path: Path) -> None:
    make_run(tmp_path / "a", 0, 0.9)
    make_run(tmp_path / "b", 0, 0.8, data={"dataset": "kmnist"})
    board = Leaderboard(collect([tmp_path]).runs)
    with pytest.raises(ConfigError, match="tested on mnist and on kmnist"):
        compare(board, ["1", "2"], [])

"""What cv=K stands for."""

import re

import pytest

from mnist_lab.config.cross_validation import folds_for
from mnist_lab.errors import ConfigError

_SWEEP = ["data.folds=5", "data.fold=range(5)", "hydra.sweeper.sampler=grid"]


@pytest.mark.parametrize(
    ("typed", "expected"),
    [
        ([], [*_SWEEP, "hydra/launcher=fused"]),
        (["model=cnn", "seed=0,1"], ["model=cnn", "seed=0,1", *_SWEEP, "hydra/launcher=fused"]),
        (["hydra/launcher=parallel"], ["hydra/launcher=parallel", *_SWEEP]),
        (["hydra/sweeper=basic"], ["hydra/sweeper=basic", *_SWEEP[:2]]),
    ],
)
def test_it_is_a_sweep_over_folds(typed: list[str], expected: list[str]) -> None:
    assert folds_for(["cv=5", *typed]) == expected


@pytest.mark.parametrize(
    ("typed", "message"),
    [
        ("cv=1", "cv=1: must be the number of folds"),
        ("cv=5,10", "cv=5,10: must be the number of folds"),
        ("cv=", "cv=: must be the number of folds"),
        ("cv=5 data.fold=1", "data.fold=1: must be left out with cv=5"),
        ("cv=5 data.folds=3", "data.folds=3: must be left out with cv=5"),
        ("cv=5 hydra.sweeper.sampler=tpe", "hydra.sweeper.sampler=tpe: must be grid with cv=5"),
        ("cv=5 sweep=lr_range", "cv=5: must be left out with sweep=lr_range"),
        ("cv=5 optimizer.lr=interval(0.1,1)", "must be listed values with cv=5"),
    ],
)
def test_what_does_not_fit_is_one_line(typed: str, message: str) -> None:
    with pytest.raises(ConfigError, match=re.escape(message)):
        folds_for(typed.split())

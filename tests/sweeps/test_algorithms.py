"""Options of samplers and pruners."""

import pytest

from mnist_lab.errors import ConfigError
from mnist_lab.sweeps.algorithms import build_pruner


def test_options_of_a_pruner() -> None:
    with pytest.raises(ConfigError, match=r"hydra\.sweeper\.pruner_options: .* 'bogus'"):
        build_pruner("hyperband", {"bogus": 1})
    with pytest.raises(ConfigError, match=r"arguments of optuna's SuccessiveHalvingPruner"):
        build_pruner("successive_halving", {"min_resource": -1})

"""Settings of a sweep: ranges, and those that do not go together."""

from typing import Any

import pytest
from omegaconf import OmegaConf

from mnist_lab.errors import ConfigError
from mnist_lab.sweeps.settings import (
    Settings,
    check_settings,
    objectives_of,
    read_settings,
    search_of,
)


def read(**values: Any) -> Settings:
    return read_settings(OmegaConf.merge(OmegaConf.structured(Settings), values))


def run_config(**values: Any) -> Any:
    plain = {"monitor": "val/acc", "mode": "max", "metrics": None, "data": {"val_size": 5000}}
    return OmegaConf.create(plain | {"trainer": {"limit_val_batches": None}} | values)


def test_defaults() -> None:
    settings = read(sampler="tpe")
    check_settings(settings)
    assert settings.total(7) == 20
    assert [settings.at_once(20, name) for name in ("x.BasicLauncher", "x.Other")] == [1, 16]
    grid = read(sampler="grid")
    assert grid.total(7) == 7
    assert [grid.at_once(7, name) for name in ("x.BasicLauncher", "x.Other")] == [1, 7]
    assert read(batch_size=3).at_once(7, "x.BasicLauncher") == 3


@pytest.mark.parametrize(
    ("values", "message"),
    [
        ({"sampler": "tp"}, "hydra.sweeper.sampler=tp: must be one of auto, grid, tpe"),
        ({"pruner": "hyper"}, "did you mean hyperband?"),
        ({"n_trials": 0}, "hydra.sweeper.n_trials=0: must be a whole number at least 1"),
        ({"batch_size": -1}, "hydra.sweeper.batch_size=-1"),
        ({"seed": -1}, "hydra.sweeper.seed=-1"),
        ({"sampler_options": [1]}, "hydra.sweeper.sampler_options=[1]: must be a mapping"),
        ({"sampler": "grid", "n_trials": 3}, "a grid has as many as its points"),
        ({"sampler": "grid", "sampler_options": {"a": 1}}, "a grid has none"),
        ({"sampler_options": {"seed": 1}}, "set hydra.sweeper.seed"),
        ({"storage": "sqlite:///x"}, "needs hydra.sweeper.study_name"),
    ],
)
def test_bad_settings(values: dict[str, Any], message: str) -> None:
    with pytest.raises(ConfigError) as caught:
        check_settings(read(**values))
    assert message in str(caught.value)


def test_no_pruner_takes_no_options_of_a_recipe() -> None:
    options = {"min_resource": 1}
    assert read(pruner="none", pruner_options=options).pruner_options == {}
    assert read(pruner="median", pruner_options=options).pruner_options == options


def test_objectives() -> None:
    settings = read(sampler="tpe", objectives={"num_params": "min"})
    objectives = objectives_of(settings, run_config(monitor="val/loss", mode="min"), is_own=False)
    assert list(objectives.items()) == [("val/loss", "min"), ("num_params", "min")]
    parts = search_of(settings, objectives)
    assert (parts["objectives.num_params"], parts["seed"]) == ("min", 0)
    assert "seed" not in search_of(read(sampler="grid"), objectives)
    own = read(sampler="tpe", objectives={"mine": "max"})
    assert objectives_of(own, run_config(), is_own=True)["mine"] == "max"


@pytest.mark.parametrize(
    ("values", "config", "message"),
    [
        ({"objectives": {"val/ac": "max"}}, {}, "did you mean val/acc?"),
        ({"objectives": {"test/acc": "max"}}, {}, "must be one of val/acc, val/loss"),
        ({"objectives": {"num_params": "max"}}, {}, "num_params=max: must be min"),
        ({"objectives": {"val/loss": "low"}}, {}, "val/loss=low: must be min"),
        ({"objectives": {"num_params": "min"}, "pruner": "median"}, {}, "pruner=median: must be"),
        ({}, {"data": {"val_size": 0}}, "val/acc: cannot be searched by without a validation"),
        ({}, {"trainer": {"limit_val_batches": 0}}, "without a validation"),
    ],
)
def test_bad_objectives(values: dict[str, Any], config: dict[str, Any], message: str) -> None:
    with pytest.raises(ConfigError) as caught:
        objectives_of(read(**{"sampler": "tpe"} | values), run_config(**config), is_own=False)
    assert message in str(caught.value)


def test_a_grid_may_be_unmeasured() -> None:
    config = run_config(data={"val_size": 0})
    assert objectives_of(read(sampler="grid"), config, is_own=False) == {"val/acc": "max"}

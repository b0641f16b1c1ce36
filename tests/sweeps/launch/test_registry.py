"""Checks of a launcher's settings, and plugins that Hydra finds without a folder for them."""

import re
from pathlib import Path
from typing import Any

import pytest
from hydra.core.plugins import Plugins
from hydra.plugins.launcher import Launcher
from hydra.types import HydraContext
from omegaconf import OmegaConf

from mnist_lab.config.sweep_schema import PACKAGE, Fused, Parallel, Ray, Slurm
from mnist_lab.errors import ConfigError
from mnist_lab.sweeps.launch.registry import prepare_launcher, register
from mnist_lab.sweeps.trial import Sweep, TrialTask


@pytest.mark.parametrize(
    ("schema", "values", "message"),
    [
        (Fused, {"max_stack": 0}, "hydra.launcher.max_stack=0: must be"),
        (Parallel, {"workers": -1}, "hydra.launcher.workers=-1: must be"),
        (Slurm, {"parameters": [1]}, "hydra.launcher.parameters=[1]: must be a mapping"),
        (Ray, {"num_gpus": -0.5}, "hydra.launcher.num_gpus=-0.5: must be"),
    ],
)
def test_a_wrong_setting(schema: Any, values: dict[str, Any], message: str) -> None:
    with pytest.raises(ConfigError) as caught:
        prepare_launcher(OmegaConf.structured(schema(**values)))
    assert message in str(caught.value)


def test_a_package_that_is_missing(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("mnist_lab.config.extras.find_spec", lambda _: None)
    line = "hydra.launcher: ray is not installed; pip install 'mnist_lab[ray]'"
    with pytest.raises(ConfigError, match=re.escape(line)):
        prepare_launcher(OmegaConf.structured(Ray))


def test_hydra_can_build_what_was_prepared() -> None:
    node = OmegaConf.structured(Fused(max_stack=3))
    prepare_launcher(node)
    launcher = Plugins.instance().instantiate_launcher(
        HydraContext(config_loader=None, callbacks=None),  # type: ignore[arg-type]
        TrialTask(lambda _: None, Sweep(Path(), None, ())),  # type: ignore[arg-type]
        OmegaConf.create({"hydra": {"launcher": node}}),
    )
    assert (type(launcher).__name__, launcher.max_stack) == ("FusedLauncher", 3)


def test_a_launcher_of_hydra_is_left_alone() -> None:
    prepare_launcher(OmegaConf.create({"_target_": "hydra.BasicLauncher"}))


class Mine(Launcher):
    """A launcher that does nothing."""

    def __init__(self, knob: int) -> None:
        self.knob = knob

    def setup(self, **_: Any) -> None:
        pass

    def launch(self, job_overrides: Any, initial_job_idx: int) -> Any:
        return []


@pytest.mark.parametrize("again", range(2))
def test_hydra_builds_what_is_registered(again: int) -> None:
    register(Mine)
    config = OmegaConf.create(
        {"hydra": {"launcher": {"_target_": f"{PACKAGE}.Mine", "knob": again}}}
    )
    launcher = Plugins.instance().instantiate_launcher(
        HydraContext(config_loader=None, callbacks=None),  # type: ignore[arg-type]
        lambda _: None,
        config,
    )
    assert isinstance(launcher, Mine)
    assert launcher.knob == again

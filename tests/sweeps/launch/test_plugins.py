"""Plugins that Hydra finds without a folder hydra_plugins."""

from typing import Any

import pytest
from hydra.core.plugins import Plugins
from hydra.plugins.launcher import Launcher
from hydra.types import HydraContext
from omegaconf import OmegaConf

from mnist_lab.config.sweep_schema import PACKAGE
from mnist_lab.sweeps.launch.plugins import register


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

"""Checks of a launcher's settings, and what is built by them."""

import re
from typing import Any

import pytest
from omegaconf import OmegaConf

from mnist_lab.config.sweep_schema import Fused, Parallel, Ray, Slurm
from mnist_lab.errors import ConfigError
from mnist_lab.sweeps.launch.fused import FusedLauncher
from mnist_lab.sweeps.launch.registry import own_launcher


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
        own_launcher(OmegaConf.structured(schema(**values)))
    assert message in str(caught.value)


def test_a_package_that_is_missing(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("mnist_lab.config.extras.find_spec", lambda _: None)
    line = "hydra.launcher: ray is not installed; pip install 'mnist_lab[ray]'"
    with pytest.raises(ConfigError, match=re.escape(line)):
        own_launcher(OmegaConf.structured(Ray))


def test_a_launcher_of_the_lab_is_built_with_its_settings() -> None:
    build = own_launcher(OmegaConf.structured(Fused(max_stack=3, stack="exact")))
    assert build is not None
    launcher = build()
    assert isinstance(launcher, FusedLauncher)
    assert (launcher.max_stack, launcher.stack) == (3, "exact")


def test_a_launcher_of_hydra_is_left_to_hydra() -> None:
    assert own_launcher(OmegaConf.create({"_target_": "hydra.BasicLauncher"})) is None

"""The public names, each from the package itself."""

import subprocess
import sys
from typing import Any

import pytest
import torch
from hydra.utils import instantiate
from omegaconf import OmegaConf

import mnist_lab
from mnist_lab.errors import ConfigError


def test_names_are_there() -> None:
    for name in mnist_lab.__all__:
        assert callable(getattr(mnist_lab, name))


def test_importing_the_package_is_free() -> None:
    code = "import sys, mnist_lab; print([n for n in ('torch', 'hydra') if n in sys.modules])"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True)
    assert done.stdout.strip() == "[]", done.stderr


@pytest.mark.thorough
def test_train_is_the_function_whatever_was_imported_before() -> None:
    code = (
        "import mnist_lab.cli.train, mnist_lab.training.run, mnist_lab.__main__\n"
        "from mnist_lab import train\n"
        "assert callable(train), train"
    )
    subprocess.run([sys.executable, "-c", code], check=True)


def test_compose_in_a_fresh_process() -> None:
    code = (
        "from mnist_lab import compose\n"
        "config = compose('model=cnn', 'optimizer.lr=1e-2')\n"
        "print(config.model._target_, config.optimizer.lr, 'hydra' in config)"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True)
    assert (done.stdout, done.stderr) == ("mnist_lab.models.CNN 0.01 False\n", "")


NET = ["model=module", "model.net._target_=own_code.Net", "model.net.width=3"]


# Hydra 1.4 warns of what is built without a list of what may be, which is the caller's to give.
@pytest.mark.filterwarnings(r"ignore:hydra.utils.instantiate\(\) resolved:UserWarning")
@pytest.mark.parametrize(
    "overrides",
    [["model=softmax"], ["model=mlp"], ["model=cnn", "model.kernel_size=[3,3]"], NET],
    ids=lambda overrides: overrides[0],
)
def test_what_a_composed_config_names_is_built_from_lists_of_omegaconf(
    overrides: list[str],
) -> None:
    config = mnist_lab.compose(*overrides, "allow_targets=[own_code]")
    model: Any = instantiate(config.model, optimizer=config.optimizer, scheduler=config.scheduler)
    assert model(torch.zeros(2, 1, 28, 28)).shape == (2, 10)
    assert not any(map(OmegaConf.is_config, model.hparams.values()))
    assert model.hparams["in_shape"] == (1, 28, 28)
    assert type(model.optimizer_settings["betas"]) is list
    datamodule = instantiate(config.data)
    assert isinstance(datamodule, mnist_lab.MNISTDataModule)


def test_compose_takes_a_list_and_refuses_as_the_command_does() -> None:
    assert mnist_lab.compose(["seed=3", "model=softmax"]) == mnist_lab.compose(
        "seed=3", "model=softmax"
    )
    with pytest.raises(ConfigError, match=r"optimizer\.lrr: no such key"):
        mnist_lab.compose("optimizer.lrr=1")
    with pytest.raises(ConfigError, match="-m"):
        mnist_lab.compose("seed=1,2")

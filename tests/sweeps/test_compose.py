"""Configs of trials, composed in a short way."""

from typing import Any

import pytest
from hydra.types import RunMode
from omegaconf import OmegaConf

from mnist_lab.config.compose import Loader, resolved
from mnist_lab.errors import ConfigError, UntrustedError
from mnist_lab.sweeps.compose import Points


def points(*overrides: str) -> Points:
    loader = Loader(overrides)
    return Points(loader, loader.compose(overrides, RunMode.MULTIRUN), overrides)


@pytest.mark.parametrize(
    "point",
    [
        ["optimizer.lr=0.1", "seed=3"],
        ["model=cnn", "model.channels=[8,16]", "optimizer=sgd", "optimizer.momentum=0.5"],
        ["experiment=tf_deep_1000", "model.dropout=0.25"],
        ["+callbacks.timer._target_=lightning.pytorch.callbacks.Timer", "callbacks=early_stopping"],
        ["~callbacks.pictures", "seed=${hydra:job.num}"],
    ],
    ids=" ".join,
)
def test_configs_are_those_of_hydra(point: list[str]) -> None:
    fixed = ["trainer.max_epochs=3", "scheduler=cosine"]
    loader = Loader(fixed)
    master = loader.compose(fixed, RunMode.MULTIRUN)
    expected: Any = resolved(loader.load_sweep_config(master, [*fixed, *point]), 5)
    config = points(*fixed).config(point, 5)
    plain: Any = OmegaConf.to_container(expected)
    del plain["hydra"]
    assert OmegaConf.to_container(config) == plain


def test_check_names_the_point() -> None:
    with pytest.raises(
        ConfigError, match=r"^optimizer.lr=-1 model=softmax: optimizer.lr=-1.0: must"
    ):
        points("model=softmax").check([["optimizer.lr=1"], ["optimizer.lr=-1"]])
    with pytest.raises(ConfigError, match=r"lrr: no such key; did you mean optimizer\.lr\?"):
        points().check([["optimizer.lrr=1"]])
    with pytest.raises(ConfigError, match=r"trainer=ddp_cpu: trainer\.devices=2: must be 1"):
        points("trainer=ddp_cpu").check([["seed=1"]])


def test_trials_are_compared_by_one_value() -> None:
    other = ["experiment=cnn", "callbacks.checkpoint.monitor=val/loss"]
    with pytest.raises(ConfigError, match="mode=max: must be min"):
        points().check([["seed=1"], other])
    with pytest.raises(ConfigError, match=r"monitor=val/loss: must be val/acc as in the other"):
        points().check([["seed=1"], ["monitor=val/loss", "mode=min"]])


def test_first_is_returned() -> None:
    first = points().check([["seed=7"], ["seed=8"]])
    assert first is not None
    assert first.seed == 7
    assert points().check([]) is None


@pytest.mark.parametrize("key", ["model._target_", "+callbacks.mine._target_"])
def test_foreign_code_is_refused(key: str) -> None:
    with pytest.raises(UntrustedError, match=r"os\.system"):
        points().check([[f"{key}=os.system"]])

"""Trials are composed once, by a short way, to what Hydra would compose."""

from typing import Any

import pytest
from hydra.types import RunMode
from omegaconf import DictConfig, OmegaConf

from mnist_lab.config import hydra_internals
from mnist_lab.config.compose import Loader
from mnist_lab.config.resolve import follow_data, resolved, run_dir_of
from mnist_lab.errors import ConfigError, UntrustedError
from mnist_lab.sweeps.compose import checked_trials


def checked(fixed: list[str], *trials: list[str]) -> list[DictConfig]:
    """Return the configs of trials, with some overrides that all have."""
    loader = Loader(fixed)
    master = loader.compose(fixed, RunMode.MULTIRUN)
    return list(checked_trials(loader, master, enumerate([*fixed, *trial] for trial in trials)))


def plain(config: DictConfig) -> Any:
    return OmegaConf.to_container(config)


POINTS = [
    ["optimizer.lr=0.1", "seed=3"],
    ["model=cnn", "model.channels=[8,16]", "optimizer=sgd", "optimizer.momentum=0.5"],
    ["experiment=tf_deep_1000", "model.dropout=0.25"],
    ["+callbacks.timer._target_=lightning.pytorch.callbacks.Timer", "callbacks=early_stopping"],
    ["~callbacks.pictures", "seed=${hydra:job.num}"],
]


@pytest.mark.thorough(keep=1)
@pytest.mark.parametrize("point", POINTS, ids=" ".join)
def test_configs_are_those_of_hydra(point: list[str]) -> None:
    fixed = ["trainer.max_epochs=3", "scheduler=cosine", "hydra.run.dir=r"]
    loader = Loader(fixed)
    master = loader.compose(fixed, RunMode.MULTIRUN)
    overrides = [*fixed[:2], *point]
    of_hydra = hydra_internals.ConfigLoaderImpl.load_sweep_config(loader, master, overrides)
    of_hydra.hydra.mode = RunMode.MULTIRUN
    follow_data(of_hydra)
    ours = loader.trial(master, overrides, 5)
    expected = plain(resolved(of_hydra, 5))
    assert {**plain(ours), "hydra": None} == {**expected, "hydra": None}
    launched = loader.load_sweep_config(master, overrides)
    assert plain(resolved(launched, 5, is_whole=True)) == plain(
        resolved(of_hydra, 5, is_whole=True)
    )
    assert run_dir_of(ours).name == "5"
    assert run_dir_of(ours).parent == run_dir_of(resolved(launched, 6)).parent


def test_a_trial_is_kept_for_its_launcher() -> None:
    loader = Loader([])
    master = loader.compose([], RunMode.MULTIRUN)
    loader.trial(master, ["seed=1"], 0)
    loader.trial(master, ["seed=2"], 1)
    loader.trial(master, ["optimizer.lr=1"], 2)
    sent = loader.only(master, [["seed=2"]])
    assert len(loader.variants) == 2
    assert len(sent.variants) == 1
    assert not sent.composed
    assert sent.load_sweep_config(master, ["seed=2"]).seed == 2
    assert loader.load_sweep_config(master, ["seed=3"]).seed == 3
    added = ["+model.other=1"]  # no plain value
    loader.trial(master, added, 3)
    assert list(loader.only(master, [added, ["seed=1"]]).composed) == [tuple(added)]


def test_check_names_the_point() -> None:
    with pytest.raises(
        ConfigError, match=r"^model=softmax optimizer.lr=-1: optimizer.lr=-1.0: must"
    ):
        checked(["model=softmax"], ["optimizer.lr=1"], ["optimizer.lr=-1"])
    with pytest.raises(ConfigError, match=r"lrr: no such key; did you mean optimizer\.lr\?"):
        checked([], ["optimizer.lrr=1"])
    with pytest.raises(ConfigError, match=r"trainer=ddp_cpu seed=1: trainer\.devices=2: must be 1"):
        checked(["trainer=ddp_cpu"], ["seed=1"])


def test_trials_are_compared_by_one_value() -> None:
    other = ["experiment=cnn", "callbacks.checkpoint.monitor=val/loss"]
    with pytest.raises(ConfigError, match="mode=max: must be min"):
        checked([], ["seed=1"], other)
    with pytest.raises(ConfigError, match=r"monitor=val/loss: must be val/acc as in the other"):
        checked([], ["seed=1"], ["monitor=val/loss", "mode=min"])


@pytest.mark.parametrize("key", ["model._target_", "+callbacks.mine._target_"])
def test_foreign_code_is_refused(key: str) -> None:
    with pytest.raises(UntrustedError, match=r"os\.system"):
        checked([], [f"{key}=os.system"])

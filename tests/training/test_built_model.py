"""What a model may be given as its arguments."""

from typing import Any

import pytest
from omegaconf import DictConfig, OmegaConf

from mnist_lab.config.compose import compose
from mnist_lab.errors import ConfigError
from mnist_lab.training.trainer import build_model


def config_with_module(is_kept: bool) -> DictConfig:
    """Return a config whose own model takes a module; its package is opened without a dot."""
    plain: Any = OmegaConf.to_container(compose(["allow_targets=[own_code]"]))
    layer = {"_target_": "torch.nn.ReLU"}
    plain["model"] = {"_target_": "own_code.WithModule", "is_kept": is_kept, "layer": layer}
    config = OmegaConf.create(plain)
    assert isinstance(config, DictConfig)
    return config


def test_a_module_is_refused_that_no_checkpoint_could_hold() -> None:
    with pytest.raises(
        ConfigError, match=r"model\.layer: is an object of ReLU, which no checkpoint"
    ):
        build_model(config_with_module(is_kept=True))


def test_a_module_that_the_model_leaves_out_is_taken() -> None:
    model = build_model(config_with_module(is_kept=False))
    assert "layer" not in model.hparams


def test_a_lightning_module_is_given_its_network_and_a_partial_optimizer() -> None:
    net = {"_target_": "own_code.Net", "width": 3}
    optimizer = {"_target_": "torch.optim.SGD", "_partial_": True, "lr": 0.5}
    model = build_model(config_of(target="own_code.Given", net=net, optimizer=optimizer))
    assert model.hparams.net is model.net
    assert model.hparams_initial == {}  # of which loggers write YAML
    assert model.configure_optimizers().defaults["lr"] == 0.5


def test_hyperparameters_need_not_be_saved_for_logs() -> None:
    net = {"_target_": "own_code.Net", "width": 3}
    model = build_model(config_of(target="own_code.Noted", net=net))
    assert model.hparams.net is model.net


def config_of(*settings: str, target: str, **arguments: Any) -> DictConfig:
    plain: Any = OmegaConf.to_container(compose(["allow_targets=[own_code]", *settings]))
    plain["model"] = {"_target_": target, **arguments}
    return OmegaConf.create(plain)


@pytest.mark.parametrize("arguments", [{}, {"optimizer": "adam"}])
def test_a_lightning_module_has_the_optimizer_of_its_own(arguments: dict[str, str]) -> None:
    model = build_model(config_of(target="own_code.Named", **arguments))
    assert dict(model.hparams) == {"optimizer": "sgd", "scheduler": "none", **arguments}


def test_what_a_model_sets_itself_goes_before_the_groups() -> None:
    own = {"optimizer": "sgd", "width": 3}
    config = config_of("scheduler=cosine", target="own_code.Narrow", **own)
    model = build_model(config)
    assert model.optimizer_settings == {"name": "sgd"}
    assert model.scheduler_settings["name"] == "cosine"

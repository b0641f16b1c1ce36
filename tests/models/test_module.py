import re
from typing import Any

import pytest
import torch
from own_code import Net

from mnist_lab.errors import ConfigError
from mnist_lab.models import Module

NET = {"_target_": "own_code.Net", "width": 3}


def test_holds_the_class_and_its_arguments() -> None:
    model = Module(net={**NET, "activation": {"_target_": "torch.nn.Tanh"}})
    assert isinstance(model.net, Net)
    assert isinstance(model.net.layers[2], torch.nn.Tanh)
    assert dict(model.hparams)["net"] == {**NET, "activation": {"_target_": "torch.nn.Tanh"}}
    assert model(torch.zeros(2, 1, 28, 28, dtype=torch.uint8)).shape == (2, 10)
    assert model.net.training


def test_draws_weights_of_layers_without_bias() -> None:
    for init in ("zeros", "glorot_uniform", "truncated_normal", "normal"):
        assert Module(net=NET, init=init).init == init


@pytest.mark.parametrize(
    ("net", "line"),
    [
        ({}, "model.net._target_: must be the dotted name of an nn.Module's class"),
        (
            {"_target_": "own_code.Missing"},
            "model.net._target_=own_code.Missing: cannot be imported",
        ),
        ({"_target_": "own_code.Callback"}, "own_code.Callback: must be a subclass of Module"),
        ({**NET, "widht": 3}, "unexpected keyword argument 'widht'; it takes width, activation"),
        ({**NET, "width": "many"}, "model.net._target_=own_code.Net: "),
        (
            {"_target_": "torch.nn.Identity"},
            "gives (2, 1, 28, 28) for 2 images, and model.num_classes=10",
        ),
        (
            {"_target_": "torch.nn.Linear", "in_features": 5, "out_features": 10},
            "does not take images (2, 1, 28, 28)",
        ),
    ],
)
def test_refuses_in_one_line(net: dict[str, Any], line: str) -> None:
    with pytest.raises(ConfigError, match=re.escape(line)) as refused:
        Module(net=net)
    assert len(str(refused.value).splitlines()) == 1


class Told(torch.nn.Module):
    def __init__(self, num_classes: int) -> None:
        super().__init__()
        self.layers = torch.nn.Sequential(torch.nn.Flatten(), torch.nn.Linear(784, num_classes))

    def forward(self, images: torch.Tensor) -> Any:
        return self.layers(images)


def test_a_network_that_needs_the_number_of_classes(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("own_code.Told", Told, raising=False)
    told: dict[str, Any] = {"_target_": "own_code.Told"}
    line = (
        "model.net._target_=own_code.Told: takes num_classes, which nothing says; type "
        "model.num_classes=10, or give the data module an attribute num_classes"
    )
    with pytest.raises(ConfigError, match=f"^{re.escape(line)}$"):
        Module(net=told)
    assert Module(net=told, num_classes=4).num_classes == 4
    assert Module(net={**told, "num_classes": 3}).num_classes == 3

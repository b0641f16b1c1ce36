import math

import pytest
import torch
from small_models import every_model, layers
from torch import nn

from mnist_lab.models import CNN, MLP, Classifier


@every_model
def test_zeros(model_class: type[Classifier]) -> None:
    assert all(not parameter.any() for parameter in model_class(init="zeros").parameters())


@every_model
def test_glorot_uniform(model_class: type[Classifier]) -> None:
    torch.manual_seed(0)
    for layer in layers(model_class(init="glorot_uniform")):
        area = math.prod(layer.weight.shape[2:])
        outputs, inputs = layer.weight.shape[:2]
        bound = math.sqrt(6 / ((inputs + outputs) * area))
        assert layer.weight.abs().max() <= bound
        assert layer.weight.abs().max() > 0.95 * bound
        assert layer.weight.std().item() == pytest.approx(bound / math.sqrt(3), rel=0.08)
        assert layer.bias is not None
        assert not layer.bias.any()


@every_model
def test_truncated_normal(model_class: type[Classifier]) -> None:
    torch.manual_seed(0)
    for layer in layers(model_class(init="truncated_normal")):
        assert layer.weight.abs().max() <= 0.2
        assert layer.weight.abs().max() > 0.18
        # A normal distribution that is cut at two deviations has 0.8796 of its deviation left.
        assert layer.weight.std().item() == pytest.approx(0.08796, rel=0.08)
        assert layer.bias is not None
        assert torch.equal(layer.bias, torch.full_like(layer.bias, 0.1))


def test_normal() -> None:
    torch.manual_seed(0)
    for layer in layers(MLP(hidden_dims=[1_000, 500], init="normal"))[:2]:
        assert layer.bias is not None
        for values in (layer.weight, layer.bias):
            assert values.mean().item() == pytest.approx(0, abs=0.1)
            assert values.std().item() == pytest.approx(1, abs=0.1)
        assert layer.bias.abs().max() > 2


@every_model
def test_default_is_torchs_own(model_class: type[Classifier]) -> None:
    torch.manual_seed(0)
    found = model_class().state_dict()
    torch.manual_seed(0)
    model = model_class()
    torch.manual_seed(0)
    for layer in layers(model):
        layer.reset_parameters()
    for name, values in model.state_dict().items():
        assert torch.equal(values, found[name])


@pytest.mark.parametrize("init", ["zeros", "glorot_uniform", "truncated_normal", "normal"])
def test_batch_norm_keeps_its_own_start(init: str) -> None:
    model = CNN(channels=[4], kernel_size=3, batch_norm=True, hidden_dims=[8], init=init)
    norms = [m for m in model.net.modules() if isinstance(m, nn.BatchNorm1d | nn.BatchNorm2d)]
    assert len(norms) == 2
    for norm in norms:
        assert norm.weight.eq(1).all()
        assert not norm.bias.any()

"""Stacked products are the lone ones, on one thread and on several."""

import random
from collections.abc import Iterator

import pytest
import torch
import torch.nn.functional as F
from torch import Tensor, nn

from mnist_lab.training.stacked import layers as stacked_layers
from mnist_lab.training.stacked.layers import StackedActivation, StackedBatchNorm, StackedLinear


@pytest.fixture(params=[1, 2, 3])
def _threads(request: pytest.FixtureRequest) -> Iterator[None]:
    torch.set_num_threads(request.param)
    yield
    torch.set_num_threads(1)


def _leaf(*shape: int) -> Tensor:
    return torch.randn(shape).requires_grad_()


SHAPES = [
    *((100, (784, 65)), (128, (784, 256)), (128, (256, 10)), (100, (65, 10)), (1000, (784, 10))),
    *((7, (65, 9)), (3, (64, 300)), (1, (16, 10)), (2, (16, 10)), (36, (30, 10)), (128, (16, 10))),
]


@pytest.mark.usefixtures("_threads")
def test_trials_that_share_a_batch_over_shapes_drawn_at_random() -> None:
    draw = random.Random(0)
    for _ in range(60):
        torch.manual_seed(0)
        batch, width = draw.randint(1, 260), draw.choice([7, 30, 65, 256, 784, 1024])
        layers = [nn.Linear(width, draw.randint(2, 140))]
        layers += [nn.Linear(width, layers[0].out_features) for _ in range(draw.randint(1, 9))]
        stacked = StackedLinear(layers)
        inputs = torch.rand(1, batch, width)
        given = torch.randn(len(layers), batch, layers[0].out_features)
        outputs = stacked(inputs, (len(layers),))
        outputs.backward(given)
        for number, layer in enumerate(layers):
            expected = layer(inputs[0])
            expected.backward(given[number])
            assert torch.equal(outputs[number], expected)
            assert stacked.weight.grad is not None
            assert layer.weight.grad is not None
            assert torch.equal(stacked.weight.grad[number], layer.weight.grad)


@pytest.mark.usefixtures("_threads")
@pytest.mark.parametrize("shares", [(4,), (1, 1, 1, 1), (1, 3)])
@pytest.mark.parametrize(("batch", "sizes"), SHAPES)
def test_linear_and_its_gradients(
    shares: tuple[int, ...], batch: int, sizes: tuple[int, int]
) -> None:
    torch.manual_seed(0)
    layers = [nn.Linear(*sizes) for _ in range(4)]
    stacked = StackedLinear(layers)
    inputs, given = _leaf(len(shares), batch, sizes[0]), torch.randn(4, batch, sizes[1])
    whose = [seed for seed, count in enumerate(shares) for _ in range(count)]
    needs_gradient = shares == (1, 1, 1, 1)
    outputs = stacked(inputs if needs_gradient else inputs.detach(), shares)
    outputs.backward(given)
    for number, layer in enumerate(layers):
        own = inputs[whose[number]].detach().requires_grad_()
        expected = layer(own)
        expected.backward(given[number])
        assert torch.equal(outputs[number], expected)
        for name, parameter in layer.named_parameters():
            gradient = stacked.get_parameter(name).grad
            assert gradient is not None
            assert parameter.grad is not None
            assert torch.equal(gradient[number], parameter.grad)
        if needs_gradient:
            assert inputs.grad is not None
            assert own.grad is not None
            assert torch.equal(inputs.grad[number], own.grad)


@pytest.mark.parametrize("activation", [nn.ReLU(), nn.GELU(), nn.SiLU(), nn.Tanh(), nn.Sigmoid()])
def test_activations_have_the_bits_of_lone_ones(activation: nn.Module) -> None:
    torch.manual_seed(0)
    inputs, given = _leaf(3, 7, 9), torch.randn(3, 7, 9)
    outputs = StackedActivation(activation)(inputs)
    outputs.backward(given)
    for number in range(3):
        own = inputs[number].detach().clone().requires_grad_()
        expected = activation(own)
        expected.backward(given[number])
        assert torch.equal(outputs[number], expected)
        assert inputs.grad is not None
        assert own.grad is not None
        assert torch.equal(inputs.grad[number], own.grad)


def test_batch_norm_in_one_call_is_that_of_each() -> None:
    torch.manual_seed(0)
    inputs = torch.randn(3, 20, 4)
    one_by_one, together = (StackedBatchNorm([nn.BatchNorm1d(4) for _ in range(3)]) for _ in "ab")
    torch.testing.assert_close(together._together(inputs), one_by_one(inputs))
    for name in ("running_mean", "running_var"):
        torch.testing.assert_close(together.get_buffer(name), one_by_one.get_buffer(name))


def test_dropout_in_one_call_keeps_each_trials_share() -> None:
    torch.manual_seed(0)
    rates = [0.0, 0.5, 0.2]
    dropout = stacked_layers.StackedDropout(rates, [torch.Generator() for _ in rates])
    inputs = torch.ones(3, 100, 100)
    kept = torch.tensor([1 - rate for rate in rates])
    for outputs in (dropout(inputs), dropout._together(inputs)):
        torch.testing.assert_close((outputs > 0).float().mean((1, 2)), kept, atol=0.02, rtol=0)
        torch.testing.assert_close(outputs.amax((1, 2)), 1 / kept)
    assert dropout.eval()(inputs) is inputs


def test_dropout_of_a_trial_is_torchs_own() -> None:
    dropout = stacked_layers.StackedDropout(
        [0.3, 0.6], [torch.Generator().manual_seed(seed) for seed in (1, 2)]
    )
    inputs = torch.randn(2, 5, 6)
    outputs = dropout(inputs)
    for number, rate in enumerate((0.3, 0.6)):
        torch.manual_seed(number + 1)
        assert torch.equal(outputs[number], F.dropout(inputs[number], rate))

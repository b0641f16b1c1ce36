"""Networks that torch.func stacks."""

import copy
from functools import partial
from typing import Any

import pytest
import torch
from own_code import Counting
from stack_trials import Trial, alone, stacked
from torch import Generator, Tensor, nn

from mnist_lab.models import CNN, Classifier, GlobalPoolCNN, Module
from mnist_lab.training.stacked.vmapped import VmappedNet


def small(**settings: Any) -> CNN:
    """Return a CNN in torch's own memory format.

    In the other one, channels_last, torch's batch norm on a CPU adds up in float32 without care:
    gradients of a lone run are then off by 1 %, and those of a stack, which uses the other kernel,
    are not.
    """
    model = CNN([3, 4], kernel_size=3, hidden_dims=[8], batch_norm=True, **settings)
    model.net.to(memory_format=torch.contiguous_format)
    return model


PLAIN = partial(CNN, channels=[3, 4], kernel_size=3, hidden_dims=[8])  # in channels_last
OWN = partial(Module, net={"_target_": "own_code.SmallConv", "width": 3})


def generators(count: int) -> list[Generator]:
    return [Generator().manual_seed(seed) for seed in range(count)]


def images_of(*streams: int) -> Tensor:
    return torch.randint(256, (*streams, 6, 1, 28, 28), dtype=torch.uint8)


@pytest.mark.parametrize("shares", [(1, 1, 1), (2, 1), (3,)])
@pytest.mark.parametrize(
    "build", [small, OWN, partial(GlobalPoolCNN, channels=[3, 3, 4], pool=[2, 2, 1], residual=True)]
)
def test_each_has_logits_gradients_and_statistics_as_alone(
    build: Any, shares: tuple[int, ...]
) -> None:
    models: list[Classifier] = [build().double() for _ in range(3)]
    lone = copy.deepcopy(models)
    images = images_of(len(shares))
    net = VmappedNet(models, generators(3)).train()
    for _ in range(2):
        logits = net(images, shares)
    logits.square().sum().backward()
    batches = images.repeat_interleave(torch.tensor(shares), 0)
    parameters = list(net.parameters())
    for position, (own, batch) in enumerate(zip(lone, batches, strict=True)):
        for _ in range(2):
            expected = own(batch)
        expected.square().sum().backward()
        torch.testing.assert_close(logits[position], expected, rtol=1e-9, atol=1e-9)
        for stack, parameter in zip(parameters, own.parameters(), strict=True):
            assert stack.grad is not None
            assert stack.grad.is_contiguous()
            torch.testing.assert_close(stack.grad[position], parameter.grad, rtol=1e-9, atol=1e-9)
        net.write_back(position, net.state_dict())
        torch.testing.assert_close(models[position].state_dict(), own.state_dict())


def test_evaluation_goes_a_few_trials_at_a_time(monkeypatch: pytest.MonkeyPatch) -> None:
    from mnist_lab.training.stacked import vmapped

    models = [small() for _ in range(5)]
    net, images = VmappedNet(models, generators(5)).eval(), images_of(1)
    whole = net(images, (5,))
    monkeypatch.setitem(vmapped._EVALUATED_AT_ONCE, "cpu", 12)  # two trials of six images
    torch.testing.assert_close(net(images, (5,)), whole, rtol=1e-5, atol=1e-6)
    torch.testing.assert_close(models[4].eval()(images[0]), whole[4], rtol=1e-5, atol=1e-6)


def test_those_that_stay_are_as_they_were() -> None:
    models = [small() for _ in range(4)]
    net, images = VmappedNet(models, generators(4)).eval(), images_of(1)
    before = net(images, (4,))
    net.keep([3, 1], generators(2))
    torch.testing.assert_close(net(images, (2,)), before[[3, 1]], rtol=1e-5, atol=1e-6)
    with torch.no_grad():
        for parameter in net.parameters():
            parameter.fill_(1.0)
    net.write_back(1, net.state_dict())
    are_ones = [all(bool((each == 1).all()) for each in own.parameters()) for own in models]
    assert are_ones == [False, True, False, False]


def test_buffers_that_are_bound_anew_are_kept() -> None:
    models = [Module(net={"_target_": "own_code.Counting"}) for _ in range(2)]
    net, images = VmappedNet(models, generators(2)).train(), images_of(2)
    for _ in range(3):
        net(images, (1, 1))
    net.write_back(0, net.state_dict())
    assert isinstance(models[0].net, Counting)
    assert models[0].net.steps.item() == 3


def test_dropout_of_each_is_its_own_and_is_drawn_again_from_the_same_state() -> None:
    models = [copy.deepcopy(own) for own in [small(dropout=0.5)] * 2]
    states = [generator.get_state() for generator in generators(2)]
    images, drawn = images_of(1), list[list[Tensor]]()
    for _ in range(2):
        its = [Generator().set_state(state) for state in states]
        net = VmappedNet(models, its).train()
        before = torch.get_rng_state()
        drawn.append([])
        for _ in range(2):
            with net.stream(images.device):  # as the stack does in each step
                drawn[-1].append(net(images, (2,)))
        assert torch.equal(torch.get_rng_state(), before)
    assert not torch.equal(drawn[0][0][0], drawn[0][0][1])  # of two trials
    assert not torch.equal(drawn[0][0], drawn[0][1])  # of two steps
    assert all(torch.equal(*pair) for pair in zip(*drawn, strict=True))


def test_frozen_parameters_stay() -> None:
    models = [small() for _ in range(2)]
    for own in models:
        assert isinstance(own.net, nn.Sequential)
        own.net[0].weight.requires_grad_(False)
    net = VmappedNet(models, generators(2)).train()
    assert len(list(net.parameters())) == sum(p.requires_grad for p in models[0].parameters())
    net(images_of(1), (2,)).sum().backward()
    assert all(parameter.grad is not None for parameter in net.parameters())


OPTIMIZERS: dict[str, list[dict[str, Any]]] = {
    "adam": [{"name": "adam", "lr": lr} for lr in (5e-4, 1e-3)],
    "adamw": [{"name": "adamw", "lr": 1e-3, "weight_decay": decay} for decay in (0.0, 0.1)],
    "sgd": [{"name": "sgd", "lr": 0.05, "momentum": momentum} for momentum in (0.5, 0.9)],
}


@pytest.mark.parametrize("kind", [small, OWN, PLAIN], ids=["batch norm", "own", "channels last"])
@pytest.mark.parametrize("name", OPTIMIZERS)
@pytest.mark.thorough(keep=3)
def test_trials_end_as_alone_after_twenty_steps(name: str, kind: Any) -> None:
    trials = [
        Trial(seed, kind=kind, data_seed=seed % 2, settings={"optimizer": optimizer})
        for seed, optimizer in enumerate(OPTIMIZERS[name] * 2)
    ]
    options = {"max_epochs": 2, "limit_train_batches": 10, "limit_test_batches": 1}
    states, metrics = stacked(trials, **options)
    for number, trial in enumerate(trials):
        lone = alone(trial, **options)
        check_near(states[number].state_dict, lone.weights, 1e-3)
        moments, expected = (state["state"] for state in (states[number].optimizer, lone.optimizer))
        assert moments.keys() == expected.keys()
        for own, other in zip(moments.values(), expected.values(), strict=True):
            assert own.keys() == other.keys()
            strides = [
                {key: each.stride() for key, each in state.items()} for state in (own, other)
            ]
            assert strides[0] == strides[1]
        assert metrics[number]["val/acc"] == pytest.approx(lone.metrics["val/acc"], abs=1e-2)


def check_near(weights: dict[str, Tensor], others: dict[str, Tensor], relative: float) -> None:
    """Check that all weights together differ by at most a share of their norm.

    A bias before batch norm has no gradient but rounding, which Adam takes for one.
    """
    assert weights.keys() == others.keys()
    one, other = (
        torch.cat([tensor.double().flatten() for tensor in tensors.values()])
        for tensors in (weights, others)
    )
    assert torch.linalg.vector_norm(one - other) <= relative * torch.linalg.vector_norm(other)


def test_precision_64_agrees_to_a_millionth() -> None:
    trials = [Trial(seed, kind=OWN) for seed in range(2)]
    options = {"max_epochs": 1, "precision": "64-true", "limit_test_batches": 1}
    stack_of = stacked(trials, **options)[0]
    for number, trial in enumerate(trials):
        lone = alone(trial, **options)
        assert lone.weights["net.layers.0.weight"].dtype == torch.float64
        check_near(stack_of[number].state_dict, lone.weights, 1e-6)


@pytest.mark.slow
@pytest.mark.parametrize("precision", ["64-true", "32-true"])
def test_eight_cnns_for_two_epochs(precision: str) -> None:
    trials = [Trial(seed, kind=small, batch_size=100) for seed in range(8)]
    options = {"precision": precision, "limit_train_batches": 1.0, "limit_val_batches": 1.0}
    states, metrics = stacked(trials, **options)
    runs = [alone(trial, **options) for trial in trials]
    if precision == "64-true":
        for number, lone in enumerate(runs):
            check_near(states[number].state_dict, lone.weights, 1e-6)
    mean = sum(metrics[number]["val/acc"] for number in range(8)) / 8
    assert mean == pytest.approx(sum(lone.metrics["val/acc"] for lone in runs) / 8, abs=1e-3)

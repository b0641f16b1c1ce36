"""One optimizer for many trials."""

from typing import Any

import torch
from torch.nn import Parameter

from mnist_lab.models.optimizers import build_optimizer
from mnist_lab.training.stacked.optimizer import StackedOptimizer


def _stacked(name: str, settings: list[dict[str, Any]]) -> StackedOptimizer:
    generator = torch.Generator().manual_seed(0)
    shapes = [(4, 5), (4,)]
    own = [
        build_optimizer(
            {"name": name, **one}, [Parameter(torch.zeros(shape)) for shape in shapes], fused=True
        )
        for one in settings
    ]
    parameters = [
        Parameter(torch.randn(len(settings), *shape, generator=generator)) for shape in shapes
    ]
    return StackedOptimizer(name, parameters, own)


def _give_gradients(optimizer: StackedOptimizer, step: int) -> None:
    generator = torch.Generator().manual_seed(step)
    for parameter in optimizer.parameters:
        parameter.grad = torch.randn(parameter.shape, generator=generator)


def test_closure_is_called_with_gradients_on() -> None:
    optimizer = _stacked("adam", [{"lr": 1e-2}, {"lr": 1e-1}])

    def closure() -> bool:
        _give_gradients(optimizer, 0)
        return torch.is_grad_enabled()

    assert optimizer.step(closure) is True
    assert optimizer.steps_taken == 1

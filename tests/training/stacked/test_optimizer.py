"""One optimizer for many trials."""

import torch
from stack_trials import give_gradients, stacked_optimizer


def test_closure_is_called_with_gradients_on() -> None:
    optimizer = stacked_optimizer("adam", [{"lr": 1e-2}, {"lr": 1e-1}])

    def closure() -> bool:
        give_gradients(optimizer, 0)
        return torch.is_grad_enabled()

    assert optimizer.step(closure) is True
    assert optimizer.steps_taken == 1

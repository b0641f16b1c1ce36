"""The formulas over the whole stack are those that torch's kernels compute a trial at a time."""

from typing import Any

import pytest
import torch
from stack_trials import Trial, give_gradients, stacked, stacked_optimizer

from mnist_lab.training.stacked.optimizer import StackedOptimizer

SETTINGS: dict[str, list[dict[str, Any]]] = {
    "adam": [
        {"lr": 1e-2},
        {"lr": 1e-3, "weight_decay": 0.1, "betas": (0.8, 0.9)},
        {"lr": 1e-1, "eps": 1e-3},
    ],
    "adamw": [{"lr": 1e-2}, {"lr": 1e-3, "weight_decay": 0.0}, {"lr": 1e-1, "eps": 1e-3}],
    "sgd": [
        {"lr": 1e-2},
        {"lr": 1e-1, "momentum": 0.9, "weight_decay": 0.1},
        {"lr": 1e-1, "momentum": 0.5, "nesterov": True},
    ],
    "sgd without momentum": [{"lr": 1e-2}, {"lr": 1e-1, "weight_decay": 0.1}],
}


@pytest.mark.parametrize("case", SETTINGS)
def test_steps_together_as_one_by_one(case: str, monkeypatch: pytest.MonkeyPatch) -> None:
    name = case.split()[0]
    together, one_by_one = (stacked_optimizer(name, SETTINGS[case]) for _ in range(2))
    monkeypatch.setattr(StackedOptimizer, "_is_on_cpu", property(lambda own: own is one_by_one))
    for step in range(5):
        for optimizer in (together, one_by_one):
            give_gradients(optimizer, step)
        one_by_one.step()
        together.step()
    torch.testing.assert_close(together.parameters, one_by_one.parameters, rtol=1e-5, atol=2e-6)
    first = 1 if case == "sgd" else 0  # without momentum has a buffer that is not looked at
    for name, tensors in together.moments.items():
        for tensor, expected in zip(tensors, one_by_one.moments[name], strict=True):
            torch.testing.assert_close(tensor[first:], expected[first:])


SCHEDULES = {
    "one_cycle": {"max_lr": 4e-3},
    "exponential": {"gamma": 0.5},
    "plateau": {"patience": 0, "threshold": 10.0, "factor": 0.1},
}


@pytest.mark.parametrize("schedule", SCHEDULES)
def test_settings_are_sent_whenever_they_change(
    schedule: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    settings = {"scheduler": {"name": schedule, **SCHEDULES[schedule]}}
    trials = [Trial(0, settings=settings), Trial(1), Trial(2, settings=settings)]

    def found() -> dict[int, torch.Tensor]:
        leaves = {0: [0]}
        states, _ = stacked(trials, lambda epoch, _: leaves.get(epoch, []), max_epochs=4)
        return {number: state.state_dict["net.1.weight"] for number, state in states.items()}

    expected = found()
    monkeypatch.setattr(StackedOptimizer, "_is_on_cpu", False)
    torch.testing.assert_close(found(), expected, rtol=1e-3, atol=1e-4)

"""Which trainers can train a stack."""

from typing import Any

import pytest
import torch
from lightning.pytorch.plugins import Precision
from lightning.pytorch.strategies import SingleDeviceStrategy
from stack_trials import Trial, alone, check_same, stacked, trainer

from mnist_lab import MLP, SoftmaxRegression
from mnist_lab.models import Classifier
from mnist_lab.training.stacked.fit import StackEpochLoop, max_stack, reason_trainer_is_not_stacked


@pytest.mark.parametrize(
    ("model", "trials"), [(MLP([65, 65]), 71), (MLP([512, 256]), 8), (SoftmaxRegression(), 509)]
)
def test_larger_models_come_in_smaller_stacks(model: Classifier, trials: int) -> None:
    assert max_stack(model, torch.device("cpu")) == trials


def test_on_a_gpu_its_memory_is_the_limit(monkeypatch: pytest.MonkeyPatch) -> None:
    gpu, model = torch.device("cuda"), MLP([512, 256])  # 8.6 MB with gradient and moments
    monkeypatch.setattr(torch.cuda, "mem_get_info", lambda _: (2_000_000_000, 8_000_000_000))
    assert max_stack(model, gpu) == 116
    assert max_stack(SoftmaxRegression(), gpu) == 512
    monkeypatch.setattr(torch.cuda, "mem_get_info", lambda _: (1_000_000, 8_000_000_000))
    assert max_stack(model, gpu) == 8


class OwnPrecision(Precision):
    """Changes how a step is taken."""


class OwnStrategy(SingleDeviceStrategy):
    """Changes what a step is taken on."""


@pytest.mark.parametrize(
    ("options", "reason"),
    [
        ({}, None),
        ({"plugins": [OwnPrecision()]}, "OwnPrecision is not stacked"),
        ({"strategy": OwnStrategy(torch.device("cpu"))}, "OwnStrategy is not stacked"),
        ({"precision": "bf16-mixed"}, "trainer.precision=bf16-mixed is not stacked"),
        ({"accumulate_grad_batches": 2}, "trainer.accumulate_grad_batches"),
        ({"gradient_clip_val": 1.0}, "trainer.gradient_clip_val"),
        ({"val_check_interval": 0.5}, "trainer.val_check_interval"),
        ({"max_time": "00:01:00:00"}, "trainer.max_time"),
        ({"min_epochs": 3}, "trainer.min_epochs"),
        ({"min_steps": 3}, "trainer.min_epochs"),
    ],
)
def test_why_not_trainer(options: dict[str, Any], reason: str | None) -> None:
    found = reason_trainer_is_not_stacked(trainer(**options))
    assert found is None if reason is None else str(found).startswith(reason)


@pytest.mark.parametrize(
    "options",
    [{"max_steps": 17, "max_epochs": 5}, {"overfit_batches": 3}, {"limit_val_batches": 0}],
)
def test_trainers_options_mean_what_they_mean_alone(options: dict[str, Any]) -> None:
    schedule = {"scheduler": {"name": "exponential", "gamma": 0.5}}
    trials = [Trial(0, settings=schedule), Trial(1)]
    states, metrics = stacked(trials, **options)
    for number, trial in enumerate(trials):
        lone = alone(trial, **options)
        check_same(states[number], lone)
        assert metrics[number]["test/loss"] == lone.metrics["test/loss"]
        assert ("val/acc" in metrics[number]) == ("val/acc" in lone.metrics)


def test_without_validation_images() -> None:
    trials = [Trial(0, val_size=0, settings={"scheduler": {"name": "plateau", "patience": 0}})]
    states, metrics = stacked(trials)
    lone = alone(trials[0])
    # The schedule keeps the training loss, of which the last bits may differ.
    assert states[0].state_dict.keys() == lone.weights.keys()
    assert metrics[0]["test/acc"] == lone.metrics["test/acc"]
    assert "val/acc" not in metrics[0]


def test_stacks_take_the_fast_loop(monkeypatch: pytest.MonkeyPatch) -> None:
    steps: list[str] = []
    step = StackEpochLoop._step

    def noted(self: StackEpochLoop, *arguments: Any) -> dict[str, Any]:
        steps.append("fast")
        return step(self, *arguments)

    monkeypatch.setattr(StackEpochLoop, "_step", noted)
    stacked([Trial(0)], max_epochs=1, limit_train_batches=3)
    assert len(steps) == 3
    states, _ = stacked([Trial(0)], max_epochs=1, limit_train_batches=3, profiler="simple")
    assert len(steps) == 3
    lone = alone(Trial(0), max_epochs=1, limit_train_batches=3)
    check_same(states[0], lone)

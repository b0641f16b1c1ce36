"""Steps that are recorded once and replayed; here what stands for the GPU runs them again."""

from functools import partial
from typing import Any

import pytest
import torch
from stack_trials import Trial, built, same, stacked, trainer
from torch import Tensor

from mnist_lab.models import CNN, Module
from mnist_lab.training.phases import Phases
from mnist_lab.training.stacked import cuda_graph
from mnist_lab.training.stacked.cuda_graph import Batch, GraphedStep
from mnist_lab.training.stacked.fit import fit
from mnist_lab.training.stacked.module import Stack
from mnist_lab.training.stacked.optimizer import StackedOptimizer


class Replayed(GraphedStep):
    """Takes the step anew at each replay, on the memory of the first batch."""

    recorded = 0
    replays = 0

    def __init__(self, step: Any, batch: Batch) -> None:
        images, labels = batch
        self._batch = images.clone(), labels.clone()
        self._step = step
        self._stack = step.func.__self__
        self._held = held(self._stack)
        Replayed.recorded += 1

    @staticmethod
    def is_for(device: torch.device) -> bool:
        return device.type == "cpu"

    def __call__(self, batch: Batch) -> tuple[Tensor, ...]:
        for own, part in zip(self._batch, batch, strict=True):
            own.copy_(part)
        Replayed.replays += 1
        assert held(self._stack) == self._held
        return tuple(output.clone() for output in self._step(self._batch))


def held(stack: Stack) -> Any:
    """Return what a recorded step goes by: where tensors are in memory, and numbers."""
    optimizer = stack._optimizer
    moments = [each for kind in optimizer.moments.values() for each in kind]
    own = [stack._rows, stack._sent_smoothing, optimizer._formulas._table]
    tensors = [*stack.net.parameters(), *stack.net.buffers(), *moments, *own]
    places = [tensor.data_ptr() for tensor in tensors if tensor.numel()]
    return places, stack._rates, stack.net.training, optimizer.steps_taken == 1


@pytest.fixture
def replayed(monkeypatch: pytest.MonkeyPatch) -> type[Replayed]:
    monkeypatch.setattr(cuda_graph, "GraphedStep", Replayed)
    monkeypatch.setattr(Replayed, "recorded", 0)
    monkeypatch.setattr(Replayed, "replays", 0)
    return Replayed


CNN_WITH_DROPOUT = partial(CNN, [2, 2], kernel_size=3, hidden_dims=[4], batch_norm=True)
CASES = {
    "schedules": [
        Trial(0, settings={"scheduler": {"name": "one_cycle", "max_lr": 0.1}}),
        Trial(1, settings={"optimizer": {"name": "adam", "lr": 1e-2, "weight_decay": 1e-3}}),
        Trial(2, settings={"label_smoothing": 0.1}),
    ],
    "dropout": [Trial(seed, settings={"dropout": 0.2}) for seed in (0, 1)],
    "momentum": [Trial(0, settings={"optimizer": {"name": "sgd", "lr": 0.1, "momentum": 0.9}})],
    "torch.func": [Trial(s, kind=CNN_WITH_DROPOUT, settings={"dropout": 0.2}) for s in (0, 1)],
}


@pytest.mark.parametrize("by_formulas", [False, True])
@pytest.mark.parametrize("case", CASES)
def test_replayed_steps_are_those_taken_one_by_one(
    case: str, by_formulas: bool, replayed: type[Replayed], monkeypatch: pytest.MonkeyPatch
) -> None:
    if by_formulas:
        monkeypatch.setattr(StackedOptimizer, "_is_on_cpu", False)
    found, its_metrics = stacked(CASES[case])
    assert (replayed.recorded, replayed.replays) == (1, 2 * 12 - 3)
    monkeypatch.setattr(replayed, "is_for", lambda _: False)
    expected, metrics = stacked(CASES[case])
    for number, state in expected.items():
        same(vars(found[number]) | {"running": None}, vars(state) | {"running": None})
    for number, its in metrics.items():
        assert its_metrics[number] | {"time/epoch": 0} == its | {"time/epoch": 0}


def test_a_step_is_recorded_anew_for_fewer_trials(replayed: type[Replayed]) -> None:
    stacked(CASES["schedules"], lambda epoch, _: [0] if epoch == 0 else [])
    assert (replayed.recorded, replayed.replays) == (2, 2 * (12 - 3))


def test_a_smaller_batch_is_not_replayed(replayed: type[Replayed]) -> None:
    trials = [Trial(0, val_size=59_960, batch_size=50), Trial(1, val_size=59_960, batch_size=50)]
    stacked(trials, max_epochs=3)
    assert replayed.recorded == 0
    trials = [Trial(0, val_size=59_700, batch_size=40), Trial(1, val_size=59_700, batch_size=40)]
    stacked(trials, max_epochs=3)  # of 7 batches and a smaller one
    assert (replayed.recorded, replayed.replays) == (1, 7 - 3 + 7 + 7)
    trials = [Trial(0, val_size=59_860, batch_size=40), Trial(1, val_size=59_860, batch_size=40)]
    stacked(trials, max_epochs=3)  # of 3 batches and a smaller one, after which none is recorded
    assert (replayed.recorded, replayed.replays) == (1, 7 - 3 + 7 + 7)


def test_a_step_is_recorded_anew_where_phases_change_what_it_holds(
    replayed: type[Replayed],
) -> None:
    trials = [Trial(seed, settings={"dropout": 0.2}) for seed in (0, 1)]
    stack, data = built(trials)
    phases = Phases([{"epoch": 1, "optimizer.lr": 1e-2}, {"epoch": 2, "model.dropout": 0.4}])
    stack._phases = [phases, None]
    fit(stack, data, trainer(max_epochs=3))
    assert (replayed.recorded, replayed.replays) == (2, 2 * 12 - 3 + 12 - 3)


def test_a_network_of_ones_own_is_not_recorded(replayed: type[Replayed]) -> None:
    net = {"_target_": "own_code.SmallConv", "width": 3}
    stacked([Trial(seed, kind=Module, settings={"net": net}) for seed in (0, 1)])
    assert replayed.recorded == 0


def test_what_cannot_be_recorded_is_taken_one_by_one(
    monkeypatch: pytest.MonkeyPatch, replayed: type[Replayed]
) -> None:
    expected, _ = stacked(CASES["torch.func"])
    attempts = []

    def fails(own: Replayed, step: Any, batch: Batch) -> None:
        attempts.append(own)
        with monkeypatch.context() as within:
            within.setattr(step.func.__self__, "_losses", stopped)
            step(batch)

    def stopped(_: Any) -> None:
        raise RuntimeError("operation not permitted when stream is capturing")

    assert replayed.recorded == 1
    monkeypatch.setattr(Replayed, "__init__", fails)
    found, _ = stacked(CASES["torch.func"])
    assert len(attempts) == 1
    for number, state in expected.items():
        same(found[number].state_dict, state.state_dict)

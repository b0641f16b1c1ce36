"""A trial in a stack is the trial that it would be alone."""

import itertools
import math
from typing import Any

import pytest
import torch
from stack_trials import Trial, alone, built, check_same, same, stacked, trainer
from torchvision.transforms import v2

from mnist_lab.errors import ConfigError
from mnist_lab.models import Classifier
from mnist_lab.training.stacked.fit import fit
from mnist_lab.training.stacked.module import Metrics

INITS = ("default", "glorot_uniform", "truncated_normal", "normal")


def adam(**settings: Any) -> dict[str, Any]:
    return {"optimizer": {"name": "adam", **settings}}


def test_sixteen_trials_equal_their_lone_runs() -> None:
    lrs, decays, seeds = (1e-3, 3e-3), (0.0, 1e-3), (0, 1)
    points = itertools.product(lrs, decays, seeds, INITS[:2])
    trials = [
        Trial(seed, settings={"init": init, **adam(lr=lr, weight_decay=decay)})
        for lr, decay, seed, init in points
    ]
    states, metrics = stacked(trials)
    assert len(states) == 16
    for number, trial in enumerate(trials):
        lone = alone(trial)
        check_same(states[number], lone)
        for name in ("val/loss", "val/acc", "test/loss", "test/acc", "test/acc_class_3"):
            assert metrics[number][name] == lone.metrics[name]
        assert metrics[number]["test/num_samples"] == 2000
        assert metrics[number]["train/acc"] == lone.metrics["train/acc"]
        assert metrics[number]["train/loss"] == pytest.approx(lone.metrics["train/loss"], rel=1e-5)


SGD = {"name": "sgd", "lr": 0.1}
MIXED: dict[str, list[Trial]] = {
    "label smoothing": [Trial(1, settings={"label_smoothing": rate}) for rate in (0.0, 0.1, 1.0)],
    "dropout": [
        Trial(seed, settings={"dropout": rates})
        for seed, rates in enumerate((0.0, 0.5, [0.0, 0.3], [0.2, 0.1]))
    ],
    "batch norm": [Trial(seed, settings={"batch_norm": True}) for seed in (1, 2)],
    "activation": [Trial(seed, settings={"activation": "tanh"}) for seed in (1, 2)],
    "output": [Trial(seed, (), settings={"output": "log_sigmoid"}) for seed in (1, 2)],
    "softmax": [Trial(0, (), settings=adam(lr=lr)) for lr in (1e-3, 1e-1)],
    "augmentation": [Trial(seed, augment="affine") for seed in (1, 1, 2)],
    "a list of augmentations": [
        Trial(seed, augment=["cutout", v2.RandomRotation(9)], batch_size=20) for seed in (1, 2)
    ],
    "mixup": [
        Trial(seed, augment="mixup", settings={"label_smoothing": share})
        for seed, share in ((1, 0.0), (1, 0.2), (2, 0.0))
    ],
    "batches shared by some": [Trial(seed, data_seed=seed % 2) for seed in range(3)],
    "adam": [
        Trial(0, settings=adam(betas=betas, eps=eps))
        for betas, eps in (((0.9, 0.999), 1e-8), ([0.7, 0.9], 1e-4))
    ],
    "adamw": [
        Trial(0, settings={"optimizer": {"name": "adamw", "lr": lr, "weight_decay": decay}})
        for lr, decay in ((1e-3, 0.01), (1e-2, 0.5), (1e-3, 0.0))
    ],
    "sgd": [
        Trial(0, settings={"optimizer": {**SGD, **more}})
        for more in (
            {},
            {"weight_decay": 0.01},
            {"momentum": 0.9},
            {"momentum": 0.8, "nesterov": True, "weight_decay": 0.01},
        )
    ],
    "sgd without momentum": [Trial(seed, settings={"optimizer": SGD}) for seed in (0, 1)],
    "schedules": [
        Trial(0, settings={"scheduler": scheduler, "optimizer": optimizer})
        for optimizer in ({"name": "sgd", "lr": 0.1, "momentum": 0.5},)
        for scheduler in (
            {"name": "none"},
            {"name": "cosine", "eta_min": 1e-3},
            {"name": "one_cycle"},
            {"name": "one_cycle", "pct_start": 0.5, "cycle_momentum": False},
            {"name": "exponential", "gamma": 0.5},
            {"name": "plateau", "patience": 0, "factor": 0.5},
        )
    ],
    "one schedule for the seeds": [
        Trial(seed, settings={"scheduler": {"name": name}, **adam(lr=lr)})
        for name in ("one_cycle", "cosine", "none")
        for lr in (1e-3, 1e-2)
        for seed in (0, 1)
    ],
    "one_cycle with adam": [
        Trial(0, settings={"scheduler": {"name": "one_cycle"}, **adam(lr=lr)})
        for lr in (1e-3, 1e-2)
    ],
}


@pytest.mark.thorough(keep=1)
@pytest.mark.parametrize("case", MIXED)
def test_settings_may_differ_within_a_stack(case: str) -> None:
    trials = MIXED[case]
    states, metrics = stacked(trials)
    for number, trial in enumerate(trials):
        lone = alone(trial)
        check_same(states[number], lone)
        for name in ("val/loss", "val/acc", "test/loss", "test/acc"):
            assert metrics[number][name] == lone.metrics[name]


def test_last_batch_may_be_smaller() -> None:
    trials = [Trial(seed, batch_size=300, val_size=59_000) for seed in (0, 1)]
    states, _ = stacked(trials, limit_train_batches=1.0)
    for number, trial in enumerate(trials):
        check_same(states[number], alone(trial, limit_train_batches=1.0))


LEAVERS = [
    Trial(0, settings={"scheduler": {"name": "one_cycle"}}),  # which goes on for another
    Trial(1, settings={"dropout": 0.5, "scheduler": {"name": "one_cycle"}}),
    Trial(2, settings={"label_smoothing": 0.1}),
    Trial(3, settings={"dropout": [0.0, 0.2]}),
    Trial(1, settings={**adam(lr=1e-2), "scheduler": {"name": "plateau", "patience": 0}}),
]


def test_others_go_on_when_trials_leave() -> None:
    there: list[list[int]] = []

    def leave(epoch: int, metrics: Metrics) -> list[int]:
        there.append(sorted(metrics))
        return [[0, 2], [3], []][epoch]

    states, _ = stacked(LEAVERS, leave, max_epochs=3)
    assert there == [[0, 1, 2, 3, 4], [1, 3, 4], [1, 4]]
    assert sorted(states) == [1, 4]
    whole, _ = stacked(LEAVERS, max_epochs=3)
    for number in states:
        check_same(states[number], alone(LEAVERS[number], max_epochs=3))
        same(states[number].state_dict, whole[number].state_dict)


@pytest.mark.parametrize("min_epochs", [None, 3])
def test_training_ends_when_all_have_left(min_epochs: int | None) -> None:
    epochs: list[int] = []

    def leave(epoch: int, metrics: Metrics) -> list[int]:
        epochs.append(epoch)
        return list(metrics)

    states, metrics = stacked([Trial(0), Trial(1)], leave, max_epochs=5, min_epochs=min_epochs)
    assert epochs[0] == 0
    assert (states, metrics) == ({}, {})


def test_a_diverged_trial_harms_no_other() -> None:
    wild = {"optimizer": {"name": "sgd", "lr": 1e30}}
    trials = [Trial(0, settings=wild), Trial(0, settings={"optimizer": SGD})]
    seen: list[Metrics] = []

    def watch(_epoch: int, metrics: Metrics) -> list[int]:
        seen.append(metrics)
        return [one for one in metrics if not math.isfinite(metrics[one]["train/loss"])]

    states, _ = stacked(trials, watch)
    assert [sorted(metrics) for metrics in seen] == [[0, 1], [1]]
    check_same(states[1], alone(trials[1]))


def test_metrics_of_each_epoch() -> None:
    seen: list[Metrics] = []

    def watch(_epoch: int, metrics: Metrics) -> list[int]:
        seen.append(metrics)
        return []

    stacked([Trial(0), Trial(1)], watch, check_val_every_n_epoch=2)
    names = {"train/loss", "train/acc", "time/epoch"}
    assert [set(metrics[0]) for metrics in seen] == [names, names | {"val/loss", "val/acc"}]
    assert seen[0][0] != seen[0][1]


def test_steps_that_a_lone_run_logs() -> None:
    logged: list[tuple[int, Metrics]] = []
    stack, data = built([Trial(0, settings={"scheduler": {"name": "cosine"}}), Trial(1)])
    fit(stack, data, trainer(), on_log=lambda step, metrics: logged.append((step, metrics)))
    assert [step for step, _ in logged] == [4, 9, 14, 19]
    first = logged[0][1]
    assert set(first[0]) == {"train/loss_step", "train/acc_step", "lr"}
    assert first[0]["lr"] < first[1]["lr"] == 1e-3


def test_unstacked_state_loads_as_an_ordinary_checkpoint() -> None:
    trial = Trial(3, settings={"dropout": [0.0, 0.5], "batch_norm": True})
    stack, data = built([Trial(0, settings={"batch_norm": True}), trial])
    fit(stack, data, trainer(max_epochs=1))
    state = stack.unstack(1)
    model, *_ = trial.build()
    model.load_state_dict(state.state_dict)
    model.eval()
    optimizer = model.configure_optimizers()
    optimizer.load_state_dict(state.optimizer)
    assert {int(one["step"]) for one in optimizer.state.values()} == {12}
    images = data.split(train=False).images[:10]
    stack.eval()
    assert torch.equal(model(images), stack(images[None])[stack.trials.index(1)])


def test_running_sums_are_those_of_a_lone_classifier() -> None:
    stack, data = built([Trial(0), Trial(1)])
    seen: list[dict[str, Any]] = []

    def note(step: int, _: Metrics) -> None:
        if step == 4:
            seen.append(stack.unstack(1).running)

    fit(stack, data, trainer(max_epochs=1, limit_train_batches=5), on_log=note)
    (running,) = seen
    model, its_data, _ = Trial(1).build()
    found: list[dict[str, Any]] = []
    log_steps = Classifier.on_before_optimizer_step

    def then_note(self: Classifier, optimizer: Any) -> None:
        log_steps(self, optimizer)
        if self.global_step == 4:
            found.append(self.running_state())

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(Classifier, "on_before_optimizer_step", then_note)
        trainer(max_epochs=1, limit_train_batches=5).fit(model, its_data)
    torch.testing.assert_close(running["sums"], found[0]["sums"])
    assert running["recent"].shape == found[0]["recent"].shape == (3, 0)


def test_plateau_needs_a_validation_in_each_epoch() -> None:
    stack, data = built([Trial(0, settings={"scheduler": {"name": "plateau"}})])
    with pytest.raises(ConfigError, match="needs val/loss"):
        fit(stack, data, trainer(check_val_every_n_epoch=2))

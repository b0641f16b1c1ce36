"""Trials that the tests of stacks train, alone and stacked."""

from collections.abc import Callable, Iterable
from dataclasses import dataclass, field
from typing import Any

import lightning as L
import torch
from torch import Tensor
from torch.nn import Parameter

from mnist_lab import MLP, MNISTDataModule, SoftmaxRegression
from mnist_lab.models import Classifier
from mnist_lab.models.optimizers import build_optimizer
from mnist_lab.training.fit import train
from mnist_lab.training.stacked.fit import evaluate, fit
from mnist_lab.training.stacked.module import Metrics, Stack, TrialState
from mnist_lab.training.stacked.optimizer import StackedOptimizer


@dataclass(frozen=True)
class Trial:
    """A model's settings and a seed, from which it is built as a run builds it."""

    seed: int = 0
    hidden_dims: tuple[int, ...] = (16, 12)  # none is softmax regression
    batch_size: int = 50
    val_size: int = 5_000
    augment: Any = None
    kind: Callable[..., Classifier] | None = None  # None is an MLP or softmax regression
    data_seed: int | None = None
    settings: dict[str, Any] = field(default_factory=dict)

    def build(self) -> tuple[Classifier, MNISTDataModule, Tensor]:
        L.seed_everything(self.seed, verbose=False)
        seed = self.seed if self.data_seed is None else self.data_seed
        data = MNISTDataModule(
            batch_size=self.batch_size, val_size=self.val_size, augment=self.augment, seed=seed
        )
        hidden = list(self.hidden_dims)
        if self.kind is not None:
            model = self.kind(**self.settings)
        else:
            model = MLP(hidden, **self.settings) if hidden else SoftmaxRegression(**self.settings)
        return model, data, torch.get_rng_state()


def trainer(**options: Any) -> L.Trainer:
    defaults = {
        "accelerator": "cpu",
        "max_epochs": 2,
        "limit_train_batches": 12,
        "limit_val_batches": 1,
        "limit_test_batches": 2,
        "log_every_n_steps": 5,
        "logger": False,
        "enable_checkpointing": False,
        "enable_progress_bar": False,
        "enable_model_summary": False,
        "num_sanity_val_steps": 0,
    }
    return L.Trainer(**{**defaults, **options})


@dataclass
class Alone:
    """What a lone run came to."""

    metrics: dict[str, float]
    weights: dict[str, Tensor]
    optimizer: dict[str, Any]
    schedule: dict[str, Any] | None
    rng: Tensor


def alone(trial: Trial, **options: Any) -> Alone:
    model, data, _ = trial.build()
    its_trainer = trainer(**options)
    metrics = train(model, data, its_trainer)
    schedules = [one.scheduler.state_dict() for one in its_trainer.lr_scheduler_configs]
    return Alone(
        metrics,
        model.state_dict(),
        its_trainer.optimizers[0].state_dict(),
        schedules[0] if schedules else None,
        torch.get_rng_state(),
    )


def built(trials: Iterable[Trial], precision: str = "32-true") -> tuple[Stack, MNISTDataModule]:
    models, data, states = zip(*(trial.build() for trial in trials), strict=True)
    if precision == "64-true":
        models = tuple(model.double() for model in models)
    return Stack(models, [(one.seed, None) for one in data], states), data[0]


def stacked(
    trials: list[Trial],
    on_epoch_end: Callable[[int, Metrics], Iterable[int]] | None = None,
    **options: Any,
) -> tuple[dict[int, TrialState], Metrics]:
    """Return the states and metrics of the trials that are left."""
    stack, data = built(trials, options.get("precision", "32-true"))
    fit(stack, data, trainer(**options), on_epoch_end)
    states = {trial: stack.unstack(trial) for trial in stack.trials}
    trained = stack.metrics
    found = evaluate(stack, data, trainer(**options))
    return states, {trial: trained[trial] | found[trial] for trial in found}


def check_same(state: TrialState, lone: Alone) -> None:
    """Check that a trial's state has the bits of a lone run's."""
    same(state.state_dict, lone.weights)
    same(state.optimizer, lone.optimizer)
    same(state.schedule, lone.schedule)
    same(state.rng, lone.rng)


def same(one: Any, other: Any) -> None:
    """Check that nested values are equal, tensors bit for bit."""
    if isinstance(other, Tensor):
        assert one.dtype == other.dtype
        assert torch.equal(one, other)
    elif isinstance(other, dict):
        assert one.keys() == other.keys()
        for key in other:
            same(one[key], other[key])
    elif isinstance(other, list | tuple):
        assert len(one) == len(other)
        for left, right in zip(one, other, strict=True):
            same(left, right)
    else:
        assert one == other


def stacked_optimizer(name: str, settings: list[dict[str, Any]]) -> StackedOptimizer:
    """Return the optimizer of two small stacked tensors, with settings for each trial."""
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


def give_gradients(optimizer: StackedOptimizer, step: int) -> None:
    """Give its parameters the gradients of a step."""
    generator = torch.Generator().manual_seed(step)
    for parameter in optimizer.parameters:
        parameter.grad = torch.randn(parameter.shape, generator=generator)

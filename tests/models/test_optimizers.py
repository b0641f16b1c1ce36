import math
from collections.abc import Callable
from typing import Any

import lightning as L
import pytest
import torch
import torch.nn.functional as F
from lightning.pytorch.callbacks import GradientAccumulationScheduler
from own_training import Streamed
from small_models import trainer

from mnist_lab.data import MNISTDataModule
from mnist_lab.errors import ConfigError
from mnist_lab.models import SoftmaxRegression
from mnist_lab.models.optimizers import build_optimizer

OPTIMIZERS: list[dict[str, Any]] = [
    {"name": "adam", "lr": 0.01, "betas": [0.8, 0.99], "eps": 1e-7},
    {"name": "adamw", "lr": 0.01, "weight_decay": 0.1},
    {"name": "sgd", "lr": 0.01},
    {"name": "sgd", "lr": 0.01, "momentum": 0.9, "nesterov": True, "weight_decay": 1e-4},
]
SCHEDULES: dict[str, tuple[dict[str, Any], Callable[[int], float]]] = {  # share of lr at each step
    "none": ({}, lambda _: 1),
    "cosine": (
        {"eta_min": 0.001},
        lambda step: 0.1 + 0.9 * (1 + math.cos(math.pi * step / 6)) / 2,
    ),
    "one_cycle": (  # up to step 2, down to the last
        {"pct_start": 0.5, "div_factor": 10, "final_div_factor": 5, "anneal_strategy": "linear"},
        lambda step: [0.1, 0.55, 1, 0.673333, 0.346667, 0.02][step],
    ),
    "exponential": ({"gamma": 0.5}, lambda step: 0.5 ** (step // 2)),
    "plateau": (  # by this measure no epoch after the first is a better one
        {"factor": 0.3, "patience": 0, "threshold": 1e9, "threshold_mode": "abs"},
        lambda step: 1 if step < 4 else 0.3,
    ),
}


class Rates(L.Callback):
    """Keeps the learning rate of each step."""

    def __init__(self) -> None:
        self.seen: list[float] = []

    def on_train_batch_start(self, trainer: L.Trainer, *_: Any) -> None:
        self.seen.append(trainer.optimizers[0].param_groups[0]["lr"])


@pytest.mark.parametrize("scheduler", SCHEDULES)
@pytest.mark.parametrize("optimizer", OPTIMIZERS, ids=lambda o: f"{o['name']}{len(o)}")
@pytest.mark.parametrize("val_size", [0, 5_000])
def test_optimizer_and_schedule_step(
    optimizer: dict[str, Any], scheduler: str, val_size: int
) -> None:
    settings, share = SCHEDULES[scheduler]
    model = SoftmaxRegression(
        init="zeros", optimizer=optimizer, scheduler={"name": scheduler, **settings}
    )
    rates = Rates()
    options = {"max_epochs": 3, "limit_train_batches": 2, "limit_val_batches": 1}
    fitter = trainer(model, **options, callbacks=[rates])
    fitter.fit(model, datamodule=MNISTDataModule(val_size=val_size))
    assert rates.seen == pytest.approx([0.01 * share(step) for step in range(6)], rel=1e-3)
    (built,) = fitter.optimizers
    assert type(built).__name__.lower() == optimizer["name"]
    for name in set(optimizer) - {"name", "lr", "betas"}:
        if name != "momentum" or scheduler != "one_cycle":  # which moves it
            assert built.param_groups[0][name] == optimizer[name]
    assert all(parameter.abs().max() > 0 for parameter in model.parameters())


def test_default_is_adam_with_torchs_defaults() -> None:
    model = SoftmaxRegression()
    optimizer = model.configure_optimizers()
    assert type(optimizer) is torch.optim.Adam
    assert (optimizer.defaults["lr"], optimizer.defaults["betas"]) == (1e-3, (0.9, 0.999))


def test_first_step_of_sgd_is_the_gradients() -> None:
    model = SoftmaxRegression(init="zeros", optimizer={"name": "sgd", "lr": 0.5})
    datamodule = MNISTDataModule(batch_size=100)
    images, labels = next(iter(datamodule.train_dataloader()))
    trainer(model, max_steps=1, limit_val_batches=0).fit(model, datamodule=datamodule)
    # With all logits equal the gradient is the mean of (1/10 - target) times the image.
    error = 0.1 - F.one_hot(labels, 10).float()
    expected = -0.5 * error.T @ (images.view(100, 784).float() / 255) / 100
    weight, bias = model.parameters()
    assert torch.allclose(weight, expected, atol=1e-6)
    assert torch.allclose(bias, -0.5 * error.mean(dim=0), atol=1e-6)


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"optimizer": {"name": "adam", "lr": -1}}, r"optimizer=adam: .*-1"),
        ({"optimizer": {"name": "adam", "betas": [0.9, 1.5]}}, r"optimizer=adam: .*1\.5"),
        ({"optimizer": {"name": "adam", "momentum": 0.9}}, r"optimizer=adam: .*momentum"),
        ({"optimizer": {"name": "sgd", "betas": [0.9, 0.99]}}, r"optimizer=sgd: .*betas"),
        ({"optimizer": {"name": "sgd", "lr": 0.1, "nesterov": True}}, r"optimizer=sgd: Nesterov"),
        ({"optimizer": {"name": "sgd", "lr": "fast"}}, r"optimizer=sgd: "),
        ({"scheduler": {"name": "exponential"}}, r"scheduler=exponential: .*gamma"),
        ({"scheduler": {"name": "cosine", "gamma": 1}}, r"scheduler=cosine: .*gamma"),
        ({"scheduler": {"name": "one_cycle", "pct_start": 7}}, r"scheduler=one_cycle: .*pct_start"),
        ({"scheduler": {"name": "plateau", "factor": 2.0}}, r"scheduler=plateau: .*[Ff]actor"),
    ],
)
def test_setting_that_torch_refuses_is_named(settings: Any, message: str) -> None:
    model = SoftmaxRegression(**settings)
    with pytest.raises(ConfigError, match=message):
        trainer(model, max_epochs=1, limit_train_batches=1).fit(model, datamodule=MNISTDataModule())


@pytest.mark.parametrize("scheduler", ["cosine", "one_cycle"])
def test_schedule_of_a_run_without_end_is_refused(scheduler: str) -> None:
    model = SoftmaxRegression(scheduler={"name": scheduler})
    fitter = trainer(model, max_epochs=-1, limit_train_batches=1)
    with pytest.raises(ConfigError, match=rf"scheduler={scheduler}: needs the length of the run"):
        fitter.fit(model, datamodule=MNISTDataModule())


def test_a_rise_of_a_single_step_is_refused() -> None:
    model = SoftmaxRegression(scheduler={"name": "one_cycle", "pct_start": 0.1})
    fitter = trainer(model, max_steps=10, max_epochs=None)
    with pytest.raises(ConfigError, match=r"scheduler\.pct_start=0\.1: is one step of this run"):
        fitter.fit(model, datamodule=MNISTDataModule())


def test_a_schedule_over_an_unknown_number_of_steps_is_refused() -> None:
    model = SoftmaxRegression(scheduler={"name": "cosine"})
    changing = GradientAccumulationScheduler({0: 2, 1: 4})
    fitter = trainer(model, max_epochs=2, limit_train_batches=4, callbacks=[changing])
    with pytest.raises(ConfigError, match=r"scheduler=cosine: needs the length of the run, which"):
        fitter.fit(model, datamodule=MNISTDataModule())


@pytest.mark.parametrize(
    ("optimizer", "line"),
    [
        ({"name": "torch.optim.RMSprop", "lr": 0.01, "alpha": 0.9}, None),
        ({"name": "torch.optim.Adagrad", "lr": None}, None),
        (
            {"name": "torch.optim.RMSprop", "alhpa": 0.9},
            "unexpected keyword argument 'alhpa'; it takes lr, alpha",
        ),
        ({"name": "torch.optim.RMSprop", "alpha": -1.0}, "Invalid alpha value"),
        ({"name": "torch.nn.Linear"}, "must be a subclass of Optimizer"),
        ({"name": "torch.optim.Missing"}, "cannot be imported"),
    ],
)
def test_optimizer_by_its_class(optimizer: dict[str, Any], line: str | None) -> None:
    weight = torch.nn.Parameter(torch.ones(2))
    if line is not None:
        with pytest.raises(ConfigError, match=line):
            build_optimizer(optimizer, [weight], fused=True)
        return
    built = build_optimizer(optimizer, [weight], fused=True)
    given = {name: value for name, value in optimizer.items() if name != "name" and value}
    assert given.items() <= built.defaults.items()
    weight.sum().backward()  # type: ignore[no-untyped-call]
    built.step()
    assert (weight < 1).all()


@pytest.mark.parametrize(
    ("scheduler", "expected"),
    [
        (
            {"name": "warmup_cosine", "warmup": 0.4, "eta_min": 0.1},
            [1 / 3, 2 / 3, 1, None, None, 0.1],
        ),
        (
            {"name": "torch.optim.lr_scheduler.StepLR", "step_size": 1, "gamma": 0.1},
            [1, 1, 0.1, 0.1, 0.01, 0.01],
        ),
        (
            {
                "name": "torch.optim.lr_scheduler.StepLR",
                "step_size": 2,
                "gamma": 0.1,
                "interval": "step",
            },
            [1, 1, 0.1, 0.1, 0.01, 0.01],
        ),
    ],
)
def test_schedule_by_step_and_by_epoch(
    scheduler: dict[str, Any], expected: list[float | None]
) -> None:
    model = SoftmaxRegression(optimizer={"name": "torch.optim.SGD", "lr": 1.0}, scheduler=scheduler)
    rates = Rates()
    trainer(model, callbacks=[rates], max_epochs=3, limit_train_batches=2, limit_val_batches=1).fit(
        model, datamodule=MNISTDataModule()
    )
    for seen, share in zip(rates.seen, expected, strict=True):
        assert share is None or seen == pytest.approx(share, abs=0.3 if share == 0.1 else 1e-6)


def test_schedule_that_lacks_an_argument() -> None:
    model = SoftmaxRegression(scheduler={"name": "torch.optim.lr_scheduler.StepLR"})
    with pytest.raises(ConfigError, match="missing a required argument: 'step_size'"):
        trainer(model, max_epochs=1).fit(model, datamodule=MNISTDataModule())


def test_a_schedule_over_batches_without_a_length_is_refused() -> None:
    model = SoftmaxRegression(scheduler={"name": "one_cycle"})
    line = (
        "scheduler=one_cycle: needs the length of the run, and the training batches have none; "
        "take scheduler=none, or set trainer.max_steps"
    )
    with pytest.raises(ConfigError, match=f"^{line}$"):
        trainer(model, max_epochs=2).fit(model, datamodule=Streamed())
    trainer(model, max_steps=5).fit(model, datamodule=Streamed())

"""Many models trained in one call."""

import copy
from pathlib import Path
from typing import Any

import lightning as L
import pytest
import torch
from lightning.pytorch.callbacks import EarlyStopping
from lightning.pytorch.loggers import CSVLogger
from own_code import Images, Lit
from torch import Tensor
from torch.nn.utils.parametrizations import spectral_norm

from mnist_lab import CNN, MLP, MNISTDataModule, SoftmaxRegression, train, train_many
from mnist_lab.data import Split
from mnist_lab.errors import ConfigError
from mnist_lab.models import Classifier

SHORT = {
    **{"max_epochs": 1, "limit_train_batches": 5, "limit_val_batches": 1},
    **{"limit_test_batches": 1, "accelerator": "cpu", "precision": "32-true"},
    "enable_progress_bar": False,
}


def build() -> list[Classifier]:
    L.seed_everything(0, verbose=False)
    return [
        MLP(hidden_dims=[9], optimizer={"name": "adam", "lr": 1e-2}),
        CNN(channels=[2], kernel_size=3, hidden_dims=[4]),
        MLP(hidden_dims=[9], optimizer={"name": "adam", "lr": 1e-3}),
        SoftmaxRegression(),
        MLP(hidden_dims=[9], optimizer={"name": "adam", "lr": 1e-3}),
    ]


def test_each_is_what_it_would_have_been_alone() -> None:
    models, alone, seeds = build(), build(), [0, 0, 3, 0, 4]
    results = train_many(models, MNISTDataModule(batch_size=50), seeds, "exact", **SHORT)
    for model, lone, result, seed in zip(models, alone, results, seeds, strict=True):
        expected = train(lone, MNISTDataModule(batch_size=50, seed=seed), **SHORT)
        times = {name for name in expected if name.startswith("time/")}
        assert {name: result[name] for name in expected.keys() - times} == {
            name: expected[name] for name in expected.keys() - times
        }
        for (name, weights), other in zip(
            model.state_dict().items(), lone.state_dict().values(), strict=True
        ):
            assert torch.equal(weights, other), name


def test_cnns_that_are_forced_into_a_stack_are_equal_up_to_rounding() -> None:
    settings = {"channels": [2], "kernel_size": 3, "hidden_dims": [4]}
    models = [CNN(**settings, optimizer={"lr": lr}) for lr in (1e-3, 2e-3)]
    alone = copy.deepcopy(models)
    data = MNISTDataModule(batch_size=50)
    results = train_many(models, data, stack="always", **SHORT)
    for model, lone, result in zip(models, alone, results, strict=True):
        expected = train(lone, data, **SHORT)
        assert result.keys() == expected.keys()
        assert result["test/loss"] == pytest.approx(expected["test/loss"], rel=1e-4)
        for pair in zip(model.parameters(), lone.parameters(), strict=True):
            torch.testing.assert_close(*pair, rtol=1e-3, atol=1e-5)
    with pytest.raises(ConfigError, match="stack=never: must be one of auto, always, exact"):
        train_many(models, data, stack="never", **SHORT)


def test_what_has_no_stacked_form_is_trained_one_after_the_other() -> None:
    L.seed_everything(0, verbose=False)
    models = [MLP(hidden_dims=[9]), MLP(hidden_dims=[9])]
    for model in models:
        spectral_norm(model.net[1])
    alone = copy.deepcopy(models)
    check_alone(train_many(models, **SHORT), [train(model, **SHORT) for model in alone])


def test_barebones_trainings_measure_their_time_alone() -> None:
    options = {**SHORT, "barebones": True}
    results = train_many(softmax(), **options)
    check_alone(results, [train(model, **options) for model in softmax()])
    assert {*results[0]} == {"time/fit", "epochs", "steps", "num_params"}


def test_as_many_seeds_as_models() -> None:
    with pytest.raises(ValueError, match="must be 1, one for each model"):
        train_many([SoftmaxRegression()], seeds=[1, 2])


class Parity(MNISTDataModule):
    """Says whether a digit is odd, of negatives."""

    num_classes = 2

    def split(self, train: bool) -> Split:
        images, labels, sha256 = super().split(train)
        return Split(images, labels % 2, sha256)

    def on_after_batch_transfer(self, batch: tuple[Tensor, ...], dataloader_idx: int) -> Any:
        images, *others = batch
        return 255 - images, *others


def softmax(**settings: Any) -> list[Classifier]:
    """Return two models that fit together, at learning rates of their own."""
    L.seed_everything(0, verbose=False)
    return [SoftmaxRegression(optimizer={"lr": lr}, **settings) for lr in (1e-3, 1e-2)]


def check_alone(results: list[dict[str, float]], expected: list[dict[str, float]]) -> None:
    """Check that results are those of lone trainings, times apart."""
    for one, other in zip(results, expected, strict=True):
        assert {**one, "time/fit": 0} == {**other, "time/fit": 0}


def test_a_data_module_of_ones_own_serves_its_own_images() -> None:
    results = train_many(softmax(num_classes=2), Parity(), [0, 3], **SHORT)
    lone = zip(softmax(num_classes=2), (0, 3), strict=True)
    check_alone(results, [train(model, Parity(seed=seed), **SHORT) for model, seed in lone])


def test_modules_of_ones_own_are_trained_one_after_the_other() -> None:
    L.seed_everything(0, verbose=False)
    models = [Lit(), MLP(hidden_dims=[9]), Lit()]
    alone = copy.deepcopy(models)
    images = Images((1, 28, 28))
    L.seed_everything(1, verbose=False)  # which the order is drawn from
    results = train_many(models, images, **SHORT)
    L.seed_everything(1, verbose=False)
    check_alone(results, [train(model, images, **SHORT) for model in alone])
    with pytest.raises(ValueError, match="seeds: Images has none to be set; give it an attribute"):
        train_many(models, images, [1, 2, 3], **SHORT)


class Still(L.Callback):
    """Keeps the learning rate at 0, and looks at the model and its metrics."""

    def on_train_batch_start(self, trainer: L.Trainer, *_: Any) -> None:
        trainer.optimizers[0].param_groups[0]["lr"] = 0.0

    def on_train_epoch_end(self, trainer: L.Trainer, pl_module: L.LightningModule) -> None:
        assert isinstance(pl_module, SoftmaxRegression)
        assert "val/acc" in trainer.callback_metrics


def test_callbacks_are_each_models_own() -> None:
    options = {**SHORT, "max_epochs": 4}
    models = softmax()
    untrained = copy.deepcopy(models)
    stops = EarlyStopping("val/acc", mode="max", min_delta=1.0, patience=2)
    results = train_many(models, callbacks=[stops, Still()], **options)
    assert [result["epochs"] for result in results] == [3, 3]
    for model, before in zip(models, untrained, strict=True):
        assert all(map(torch.equal, model.parameters(), before.parameters()))


def test_a_logger_gets_what_a_lone_training_logs(tmp_path: Path) -> None:
    train_many(softmax(), logger=CSVLogger(tmp_path, name="", version=""), **SHORT)
    assert "val/acc" in (tmp_path / "metrics.csv").read_text()

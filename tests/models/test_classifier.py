import csv
import math
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import lightning as L
import pytest
import torch
import torch.nn.functional as F
from lightning.pytorch.callbacks import ModelCheckpoint
from lightning.pytorch.loggers import CSVLogger
from small_models import FROZEN, MODELS, every_model, every_small_model, logits_of, trainer
from torch.utils.data import DataLoader, IterableDataset

from mnist_lab.data import MNISTDataModule
from mnist_lab.data.mnist_files import Split
from mnist_lab.errors import ConfigError
from mnist_lab.models import MLP, Classifier, SoftmaxRegression
from mnist_lab.training.fit import train

# --- construction


def test_classifier_is_abstract_and_models_are_final() -> None:
    for model_class in MODELS.values():
        assert model_class.__bases__ == (Classifier,)
        assert model_class.__final__


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"init": "he"}, r"model\.init=he: must be one of default, zeros, glorot_uniform"),
        (
            {"label_smoothing": -0.1},
            r"model\.label_smoothing=-0\.1: must be a number at least 0 and",
        ),
        (
            {"label_smoothing": 1.5},
            r"model\.label_smoothing=1\.5: must be a number at least 0 and",
        ),
        (
            {"label_smoothing": math.nan},
            r"model\.label_smoothing=nan: must be a number at least 0 and",
        ),
        ({"num_classes": 1}, r"model\.num_classes=1"),
        ({"num_classes": True}, r"model\.num_classes=True"),
        ({"num_classes": -1}, r"model\.num_classes=-1"),
        ({"optimizer": {"name": "lion"}}, r"optimizer\.name=lion: must be one of adam, adamw, sgd"),
        ({"optimizer": "lion"}, r"optimizer\.name=lion: must be one of adam, adamw, sgd"),
        ({"optimizer": torch.optim.Adam}, r"optimizer=<class 'torch.*>: must be a name, or a map"),
        ({"optimizer": {"name": torch.optim.Adam}}, r"optimizer=.*: must be a name, or a mapping"),
        ({"scheduler": 3}, r"scheduler=3: must be a name, or a mapping of a name and its argumen"),
        ({"scheduler": {"name": "step"}}, r"scheduler\.name=step: must be one of none, cosine"),
    ],
)
@every_model
def test_bad_argument_is_named(model_class: type[Classifier], arguments: Any, message: str) -> None:
    with pytest.raises(ConfigError, match=message):
        model_class(**arguments)


@pytest.mark.parametrize("name", ["sgd", "torch.optim.RMSprop"])
def test_a_name_alone_is_taken(name: str) -> None:
    model = SoftmaxRegression(optimizer=name, scheduler="exponential")
    again = SoftmaxRegression(**model.hparams)
    for each in (model, again):
        assert each.optimizer_settings == {"name": name}
        assert each.scheduler_settings == {"name": "exponential"}


# --- images in, logits out


@every_model
def test_uint8_and_float_images_agree(model_class: type[Classifier], mnist_test: Split) -> None:
    model, images = model_class(), mnist_test.images[:100]
    before = images.clone()
    logits = model(images)
    assert logits.shape == (100, 10)
    assert logits.dtype == torch.float32
    assert torch.allclose(logits, model(images.float() / 255), atol=1e-5)
    assert torch.equal(images, before)


@pytest.mark.parametrize("dtype", [torch.bfloat16, torch.float64])
def test_other_precisions_take_uint8_images(dtype: torch.dtype, mnist_test: Split) -> None:
    model, images = MLP(), mnist_test.images[:100]
    expected = model(images)
    assert torch.allclose(model.to(dtype)(images).float(), expected, atol=0.02)


def test_predict_step_gives_probabilities(mnist_test: Split) -> None:
    model = MLP()
    batch = mnist_test.images[:100], mnist_test.labels[:100]
    probabilities = model.predict_step(batch, 0)
    assert torch.allclose(probabilities.sum(dim=1), torch.ones(100), atol=1e-5)
    assert torch.allclose(probabilities, model(batch[0]).softmax(dim=1), atol=1e-6)


# --- training


@pytest.mark.parametrize("ranks", [2, 3, 8])
@pytest.mark.parametrize("count", [128, 107, 1])  # a rank may have no share of the last batch
@pytest.mark.parametrize("label_smoothing", [0.0, 0.2])
def test_mean_over_ranks_is_the_mean_over_the_global_batch(
    ranks: int,
    count: int,
    label_smoothing: float,
    mnist_train: Split,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    model = MLP(hidden_dims=[16], label_smoothing=label_smoothing)
    model.trainer = trainer(model, log_every_n_steps=0)
    images, labels = mnist_train.images[:count], mnist_train.labels[:count]
    model.training_step((images, labels), 0).backward()
    expected = [parameter.grad for parameter in model.parameters()]
    model.zero_grad()
    monkeypatch.setattr(L.Trainer, "world_size", property(lambda _: ranks))
    for rank in range(ranks):
        batch = images[rank::ranks], labels[rank::ranks], count
        (model.training_step(batch, 0) / ranks).backward()  # as DDP averages gradients
    for parameter, gradient in zip(model.parameters(), expected, strict=True):
        assert parameter.grad is not None
        assert gradient is not None
        assert torch.allclose(parameter.grad, gradient, atol=1e-6)


@every_small_model
@pytest.mark.parametrize("val_size", [59_000, 0])  # 8 steps, the last one of 104; or no validation
def test_logged_metrics_are_those_of_the_images(
    model_class: Callable[..., Classifier], val_size: int, mnist_train: Split, mnist_test: Split
) -> None:
    torch.manual_seed(0)
    model = model_class(optimizer=FROZEN)
    datamodule = MNISTDataModule(val_size=val_size)
    limits = {"limit_train_batches": 8, "limit_val_batches": 3, "limit_test_batches": 4}
    metrics = train(model, datamodule, trainer(model, max_epochs=2, **limits))
    batches = datamodule.train_dataloader()
    batches.set_epoch(1)
    order = batches.order()[: 8 * 128]
    parts = {"train": (mnist_train.images[order], mnist_train.labels[order])}
    parts["test"] = mnist_test.images[:4_000], mnist_test.labels[:4_000]
    if val_size:
        parts["val"] = mnist_train.images[:3_000], mnist_train.labels[:3_000]
    assert ("val/acc" in metrics) == ("val" in parts)
    for split, (images, labels) in parts.items():
        logits = logits_of(model, images)
        assert metrics[f"{split}/loss"] == pytest.approx(
            F.cross_entropy(logits, labels).item(), rel=1e-4
        )
        correct = (logits.argmax(dim=1) == labels).double().mean().item()
        assert metrics[f"{split}/acc"] == pytest.approx(correct, abs=1e-6)
    assert metrics["test/num_samples"] == 4_000
    assert metrics["steps"] == 16


def test_step_metrics_are_those_of_the_steps_since_the_last_time(
    tmp_path: Path, mnist_train: Split
) -> None:
    model = SoftmaxRegression(optimizer=FROZEN)
    datamodule = MNISTDataModule(val_size=59_000)
    logger = CSVLogger(tmp_path)
    options = {"max_epochs": 1, "log_every_n_steps": 3, "limit_val_batches": 0, "logger": logger}
    train(model, datamodule, trainer(model, **options, limit_test_batches=1))
    with open(Path(logger.log_dir) / "metrics.csv") as file:
        rows = [row for row in csv.DictReader(file) if row["train/loss_step"]]
    assert [int(row["step"]) for row in rows] == [2, 5]  # of 0 to 7
    order = datamodule.train_dataloader().order()
    for row, part in zip(rows, order[: 6 * 128].split(3 * 128), strict=True):
        logits = logits_of(model, mnist_train.images[part])
        labels = mnist_train.labels[part]
        assert float(row["train/loss_step"]) == pytest.approx(
            F.cross_entropy(logits, labels).item(), rel=1e-4
        )
        correct = (logits.argmax(dim=1) == labels).double().mean().item()
        assert float(row["train/acc_step"]) == pytest.approx(correct, abs=1e-6)


def test_label_smoothing_is_in_the_training_loss_only(mnist_train: Split) -> None:
    model = SoftmaxRegression(label_smoothing=0.3, optimizer=FROZEN, init="normal")
    datamodule = MNISTDataModule(val_size=59_000)
    options = {"max_epochs": 1, "limit_val_batches": 1, "limit_test_batches": 1}
    metrics = train(model, datamodule, trainer(model, **options))
    logits = logits_of(model, mnist_train.images)
    part = slice(59_000, None)
    smoothed = F.cross_entropy(logits[part], mnist_train.labels[part], label_smoothing=0.3)
    assert metrics["train/loss"] == pytest.approx(smoothed.item(), rel=1e-4)
    plain = F.cross_entropy(logits[:1_000], mnist_train.labels[:1_000])
    assert metrics["val/loss"] == pytest.approx(plain.item(), rel=1e-4)


def test_a_few_steps_learn() -> None:
    torch.manual_seed(0)
    model = MLP(optimizer={"lr": 0.003})
    limits = {"limit_train_batches": 60, "limit_val_batches": 1, "limit_test_batches": 3}
    metrics = train(model, MNISTDataModule(), trainer(model, max_epochs=1, **limits))
    assert metrics["test/acc"] > 0.85


# --- test


@every_small_model
def test_test_metrics_equal_a_direct_computation(
    model_class: Callable[..., Classifier], mnist_test: Split
) -> None:
    torch.manual_seed(1)
    model = model_class()
    metrics = trainer(model).test(model, datamodule=MNISTDataModule(), verbose=False)[0]
    logits = logits_of(model, mnist_test.images)
    preds, labels = logits.argmax(dim=1), mnist_test.labels
    matrix = torch.zeros(10, 10, dtype=torch.long)
    matrix.index_put_((labels, preds), torch.ones_like(labels), accumulate=True)
    assert torch.equal(model.test_confusion_matrix.long(), matrix)
    assert metrics["test/num_samples"] == 10_000
    assert metrics["test/acc"] == pytest.approx((preds == labels).double().mean().item())
    assert metrics["test/loss"] == pytest.approx(F.cross_entropy(logits, labels).item(), rel=1e-4)
    for c in range(10):
        right = (preds == c)[labels == c].double().mean().item()
        assert metrics[f"test/acc_class_{c}"] == pytest.approx(right, abs=1e-6)


def test_second_test_starts_again() -> None:
    model = SoftmaxRegression()
    tester, datamodule = trainer(model), MNISTDataModule()
    first, second = (tester.test(model, datamodule, verbose=False)[0] for _ in range(2))
    assert first == second


# --- checkpoints


def assert_builtin(value: Any) -> None:
    assert type(value) in (int, float, str, bool, type(None), list, tuple, dict), value
    if isinstance(value, dict):
        for key, item in value.items():
            assert type(key) is str
            assert_builtin(item)
    elif isinstance(value, list | tuple):
        for item in value:
            assert_builtin(item)


CHOICES: dict[str, dict[str, Any]] = {
    "softmax": {"output": "log_sigmoid"},
    "mlp": {"hidden_dims": [20, 30], "dropout": [0.0, 0.5], "activation": "gelu"},
    "cnn": {"channels": [4], "kernel_size": 3, "hidden_dims": [], "batch_norm": True},
}
ALONE = """
import sys, torch
from mnist_lab import models
for name, path in zip(sys.argv[1::2], sys.argv[2::2]):
    model = getattr(models, name).load_from_checkpoint(path, weights_only=True)
    images = torch.arange(2 * 784).remainder(256).to(torch.uint8).view(2, 1, 28, 28)
    with torch.no_grad():
        print(model.eval()(images).double().sum().item())
assert "hydra" not in sys.modules
"""


class _CountsStarts(SoftmaxRegression):
    starts = 0

    def on_validation_epoch_start(self) -> None:
        super().on_validation_epoch_start()
        self.starts += 1


def test_what_starts_a_validation_starts_a_test() -> None:
    model = _CountsStarts()
    model.on_test_epoch_start()
    assert model.starts == 1


@pytest.mark.thorough
def test_checkpoints_load_alone_with_weights_only(tmp_path: Path) -> None:
    expected, arguments = [], []
    for name, choices in CHOICES.items():
        model = MODELS[name](
            **choices,
            label_smoothing=0.1,
            optimizer={"name": "adamw", "betas": [0.9, 0.99]},
            scheduler={"name": "one_cycle"},
        )
        fitter = trainer(
            model,
            max_epochs=1,
            limit_train_batches=3,
            limit_val_batches=1,
            limit_test_batches=1,
            enable_checkpointing=True,
            default_root_dir=tmp_path / name,
        )
        train(model, MNISTDataModule(), fitter)
        (path,) = (tmp_path / name).rglob("*.ckpt")
        checkpoint = torch.load(path, weights_only=True)
        assert_builtin(checkpoint["hyper_parameters"])
        assert choices.items() <= checkpoint["hyper_parameters"].items()
        assert set(checkpoint["state_dict"]) == set(model.state_dict())
        images = torch.arange(2 * 784).remainder(256).to(torch.uint8).view(2, 1, 28, 28)
        expected.append(model.eval()(images).double().sum().item())
        arguments += [type(model).__name__, str(path)]
    done = subprocess.run(
        [sys.executable, "-c", ALONE, *arguments], capture_output=True, text=True, timeout=300
    )
    assert done.returncode == 0, done.stderr
    assert [float(line) for line in done.stdout.split()] == pytest.approx(expected, abs=1e-4)


# --- what the trainer can ask for


BRIEF = {"max_epochs": 1, "limit_val_batches": 1, "limit_test_batches": 1}


@pytest.mark.parametrize("optimizer", ["adam", "adamw", "sgd"])
def test_gradients_are_clipped_in_mixed_precision(optimizer: str) -> None:
    model = SoftmaxRegression(optimizer={"name": optimizer, "lr": 1e-3})
    options = {"precision": "bf16-mixed", "gradient_clip_val": 0.1, "limit_train_batches": 2}
    metrics = train(model, MNISTDataModule(), trainer(model, **BRIEF, **options))
    assert metrics["steps"] == 2


def test_half_precision_counts_every_sample() -> None:
    model = SoftmaxRegression(optimizer=FROZEN, init="zeros")
    options = {"precision": "bf16-true", "log_every_n_steps": 1, "limit_train_batches": 40}
    metrics = train(model, MNISTDataModule(), trainer(model, **BRIEF, **options))
    assert metrics["train/loss"] == pytest.approx(math.log(10), rel=2e-3)


def test_accumulated_batches_are_logged_once_and_together(tmp_path: Path) -> None:
    model = SoftmaxRegression(optimizer=FROZEN)
    logger = CSVLogger(tmp_path)
    options = {"accumulate_grad_batches": 4, "log_every_n_steps": 1, "limit_train_batches": 4}
    metrics = train(model, MNISTDataModule(), trainer(model, **BRIEF, **options, logger=logger))
    with open(Path(logger.log_dir) / "metrics.csv") as file:
        (row,) = (row for row in csv.DictReader(file) if row["train/loss_step"])
    assert float(row["train/loss_step"]) == pytest.approx(metrics["train/loss"], rel=1e-5)


@pytest.mark.filterwarnings("ignore:The dirpath has changed")
@pytest.mark.filterwarnings("ignore:You're resuming from a checkpoint that ended before")
def test_a_checkpoint_from_within_an_epoch_trains_on(tmp_path: Path) -> None:
    path: Path | None = None
    for folder in (tmp_path / "first", tmp_path / "second"):
        model = SoftmaxRegression()
        keep = ModelCheckpoint(folder, filename="within", every_n_train_steps=2)
        options = {"limit_train_batches": 3, "enable_checkpointing": True, "callbacks": [keep]}
        fitter = trainer(model, **BRIEF, **options)
        fitter.fit(model, datamodule=MNISTDataModule(), ckpt_path=path, weights_only=True)
        assert fitter.global_step == 3
        path = folder / "within.ckpt"


class _Endless(IterableDataset[tuple[torch.Tensor, torch.Tensor]]):
    """Batches without a length."""

    def __iter__(self) -> Iterator[tuple[torch.Tensor, torch.Tensor]]:
        yield from [(torch.rand(4, 1, 28, 28), torch.arange(4))] * 3


class _Stream(L.LightningDataModule):
    def train_dataloader(self) -> Any:
        return DataLoader(_Endless(), batch_size=None)

    val_dataloader = train_dataloader


def test_a_loader_may_have_no_length() -> None:
    model = MLP([4], batch_norm=True, scheduler={"name": "none"})
    fitting = trainer(model, max_epochs=1)
    fitting.fit(model, _Stream())
    assert fitting.global_step == 3


def test_a_training_step_of_ones_own_has_no_metrics_of_training() -> None:
    class Own(SoftmaxRegression):
        def training_step(self, batch: tuple[Any, ...], batch_idx: int) -> torch.Tensor:
            return F.cross_entropy(self(batch[0]), batch[1])

    model = Own()
    metrics = train(model, MNISTDataModule(), trainer(model, **BRIEF, limit_train_batches=3))
    assert "train/loss" not in metrics
    assert metrics["val/acc"] > 0

"""Ends of a run that is stopped or that fails, and evaluation after it and elsewhere."""

import csv
import threading
from pathlib import Path
from typing import Any

import lightning as L
import pytest
import torch
from lightning.pytorch.loggers import CSVLogger
from omegaconf import OmegaConf
from own_code import Images, Lit
from own_training import Measured, Shuffled

from mnist_lab import MNISTDataModule, SoftmaxRegression, evaluate, train
from mnist_lab.config.compose import compose
from mnist_lab.errors import ConfigError
from mnist_lab.runs.directory import CONFIG, MANIFEST
from mnist_lab.training.checkpoints.callback import Checkpoint
from mnist_lab.training.trainer import build_trainer

FEW = {"max_epochs": 1, "limit_train_batches": 1, "accelerator": "cpu"}


class Stop(L.Callback):
    def on_train_start(self, trainer: L.Trainer, pl_module: L.LightningModule) -> None:
        raise SystemExit(7)


def exit_code() -> Any:
    options = {"callbacks": [Stop()], "enable_progress_bar": False, **FEW}
    with pytest.raises(SystemExit) as stopped:
        train(SoftmaxRegression(), MNISTDataModule(), **options)
    return stopped.value.code


def test_an_exit_of_ones_own_is_no_ctrl_c() -> None:
    assert exit_code() == 7


def test_an_exit_in_another_thread() -> None:
    codes: list[Any] = []
    thread = threading.Thread(target=lambda: codes.append(exit_code()))
    thread.start()
    thread.join(timeout=300)
    assert codes == [7]


def test_the_cpu_is_deterministic_also_beside_a_gpu(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(torch.cuda, "is_available", lambda: True)
    before = torch.are_deterministic_algorithms_enabled()
    config = compose(["trainer=cpu", "logger=none", "callbacks=none"])
    config.trainer.default_root_dir = None
    build_trainer(config, SoftmaxRegression(), validates=True)
    assert torch.are_deterministic_algorithms_enabled() == before


def test_evaluating_where_the_runs_precision_is_not(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    options = {**FEW, "limit_val_batches": 1, "limit_test_batches": 1}
    trainer = L.Trainer(**options, default_root_dir=tmp_path, logger=False)
    model = SoftmaxRegression()
    train(model, MNISTDataModule(), trainer)
    trainer.save_checkpoint(tmp_path / "checkpoints" / "last.ckpt")
    config = compose(["model=softmax"])
    config.run_dir = str(tmp_path)
    (tmp_path / CONFIG).write_text(OmegaConf.to_yaml(config))
    (tmp_path / MANIFEST).write_text('{"precision": "transformer-engine"}')
    assert 0 < evaluate(tmp_path)["test/acc"] < 1
    assert caplog.messages == [
        f"{tmp_path}: this device lacks transformer-engine; precision is auto"
    ]


class Margin(L.Callback):
    """Logs a metric of its own."""

    def on_validation_epoch_end(self, trainer: L.Trainer, pl_module: L.LightningModule) -> None:
        pl_module.log("val/margin", 0.5)


@pytest.mark.parametrize(
    ("model", "names"),
    [(Lit, ["val/margin", "val_loss"]), (SoftmaxRegression, ["val/acc", "val/loss", "val/margin"])],
)
def test_the_validation_after_training_is_no_point_of_a_curve(
    model: type[L.LightningModule], names: list[str], tmp_path: Path
) -> None:
    logger = CSVLogger(tmp_path)
    options = {**FEW, "max_epochs": 2, "limit_val_batches": 1, "limit_test_batches": 1}
    shown = {"enable_progress_bar": False, "enable_model_summary": False, "num_sanity_val_steps": 0}
    trainer = L.Trainer(**options, **shown, callbacks=[Margin()], logger=logger)
    metrics = train(model(), MNISTDataModule(), trainer)  # type: ignore[arg-type]
    assert [name for name in sorted(metrics) if name.startswith("val")] == names
    with open(Path(logger.log_dir) / "metrics.csv") as file:
        rows = list(csv.DictReader(file))
    for name in names:
        assert [row["step"] for row in rows if row[name]] == ["0", "1"]


def _saving(folder: Path, **options: Any) -> L.Trainer:
    shown = {"enable_progress_bar": False, "enable_model_summary": False, "logger": False}
    few = {**FEW, "limit_val_batches": 1, "limit_test_batches": 1, **options}
    return L.Trainer(**few, **shown, callbacks=[Checkpoint()], default_root_dir=folder)


def test_a_trainer_of_ones_own_may_have_the_labs_checkpoint(tmp_path: Path) -> None:
    model, data = SoftmaxRegression(), MNISTDataModule()
    train(model, data, _saving(tmp_path, limit_train_batches=4))
    assert sorted(path.name for path in (tmp_path / "checkpoints").iterdir()) == [
        *("best.ckpt", "last.ckpt"),
    ]
    resumed = SoftmaxRegression()
    last = tmp_path / "checkpoints" / "last.ckpt"
    train(resumed, data, _saving(tmp_path, limit_train_batches=4), ckpt_path=last)
    assert torch.equal(resumed.net[1].weight, model.net[1].weight)  # type: ignore[index]


def test_the_labs_checkpoint_needs_the_labs_loop(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match=r"Checkpoint: .* call mnist_lab.train\(model"):
        _saving(tmp_path).fit(SoftmaxRegression(), MNISTDataModule())
    assert not list(tmp_path.iterdir())


class WithoutTest(Images):
    """Has no test images."""

    test_dataloader = L.LightningDataModule.test_dataloader


class WithoutValidation(Images):
    """Has no validation images."""

    val_dataloader = L.LightningDataModule.val_dataloader


@pytest.mark.filterwarnings("ignore:You defined a `validation_step`")
@pytest.mark.parametrize(
    ("data", "splits"),
    [(WithoutTest, ["train", "val"]), (WithoutValidation, ["train", "test"])],
)
def test_a_split_without_a_loader_is_left_out(
    data: type[Images], splits: list[str], tmp_path: Path
) -> None:
    images, model = data((1, 28, 28)), SoftmaxRegression()
    metrics = train(model, images, _saving(tmp_path))
    assert [split for split in ("train", "val", "test") if f"{split}/loss" in metrics] == splits
    again = evaluate(model, images, _saving(tmp_path))
    assert again == {name: metrics[name] for name in again}
    assert f"{splits[-1]}/acc" in again


def test_what_is_logged_of_the_training_is_a_result() -> None:
    options = {"max_epochs": 1, "limit_train_batches": 2, "limit_val_batches": 1}
    metrics = train(Measured(), Shuffled(), logger=False, enable_checkpointing=False, **options)
    assert {"train_loss", "train_loss_epoch", "train_acc", "val_acc", "test_loss"} <= metrics.keys()
    assert "train_loss_step" not in metrics

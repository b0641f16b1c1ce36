"""The callback that saves checkpoints, where nothing logs the metric that chooses the best."""

from pathlib import Path
from typing import Any

import lightning as L
import pytest
from lightning.pytorch.loggers import CSVLogger
from own_code import Lit, TrainOnly

from mnist_lab import MNISTDataModule, SoftmaxRegression, train
from mnist_lab.runs.directory import LAST
from mnist_lab.training.checkpoints.callback import Checkpoint

LINE = "monitor=val/acc: not logged; there are val_loss, train_loss; type monitor=val_loss"


class Late(Lit):
    """Logs for the epoch alone, and a metric of the epoch when it ends."""

    def on_train_epoch_end(self) -> None:
        self.log("late", 1.0)


class Trace(L.Callback):
    """Notes at the start of each epoch how many lines have been said."""

    def __init__(self, caplog: pytest.LogCaptureFixture) -> None:
        self.counts: list[int] = []
        self._caplog = caplog

    def on_train_epoch_end(self, trainer: L.Trainer, pl_module: L.LightningModule) -> None:
        self.counts.append(len(self._caplog.messages))


def fit(model: Any, folder: Path, data: Any = None, monitor: Any = "val/acc", **more: Any) -> None:
    few = {"limit_train_batches": 2, "limit_val_batches": 1, "limit_test_batches": 1}
    shown = {"enable_progress_bar": False, "enable_model_summary": False, "logger": False}
    callbacks = [Checkpoint(monitor), *more.pop("callbacks", [])]
    ckpt_path = more.pop("ckpt_path", None)
    options = {"max_epochs": 3, "accelerator": "cpu", **few, **shown, **more}
    trainer = L.Trainer(**options, callbacks=callbacks, default_root_dir=folder)
    train(model, data or MNISTDataModule(), trainer, ckpt_path)


def test_is_said_once_after_the_first_validation(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    trace = Trace(caplog)
    fit(Lit(), tmp_path, callbacks=[trace])
    assert caplog.messages == [LINE]
    assert trace.counts == [0, 1, 1]


@pytest.mark.filterwarnings("ignore:You defined a `validation_step`")
def test_is_said_where_there_is_no_validation(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    fit(Lit(), tmp_path, TrainOnly((1, 28, 28)))
    assert caplog.messages == [
        "monitor=val/acc: not logged; there are train_loss; type monitor=train_loss"
    ]


@pytest.mark.parametrize(
    ("model", "options"),
    [
        (SoftmaxRegression, {}),
        (Lit, {"monitor": "val_loss"}),
        (Lit, {"monitor": "train_loss"}),
        (Late, {"monitor": "late"}),
        (Lit, {"monitor": None}),
        (SoftmaxRegression, {"max_epochs": 1, "max_steps": 1}),
        (SoftmaxRegression, {"check_val_every_n_epoch": 3}),
        (SoftmaxRegression, {"data": MNISTDataModule(val_size=0)}),
    ],
)
def test_is_not_said(
    model: type[L.LightningModule],
    options: dict[str, Any],
    tmp_path: Path,
    caplog: pytest.LogCaptureFixture,
) -> None:
    fit(model(), tmp_path, **options)
    assert not caplog.messages


class Fails(L.Callback):
    """Ends a resumed run before its first step."""

    def on_fit_start(self, trainer: L.Trainer, pl_module: L.LightningModule) -> None:
        raise KeyError("fails")


def test_a_logger_logs_again_after_a_resume_that_failed_before_its_first_step(
    tmp_path: Path,
) -> None:
    fit(SoftmaxRegression(), tmp_path)
    logger = CSVLogger(tmp_path, name="", version="")
    resumed = {"ckpt_path": tmp_path / LAST, "callbacks": [Fails()], "logger": logger}
    with pytest.raises(KeyError, match="fails"):
        fit(SoftmaxRegression(), tmp_path, **resumed)
    logger.log_metrics({"a": 1.0})
    logger.save()
    assert (tmp_path / "metrics.csv").exists()

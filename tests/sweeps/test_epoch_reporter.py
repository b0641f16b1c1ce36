"""Reports of a run that trains."""

from types import SimpleNamespace
from typing import Any

import lightning as L
import pytest
import torch

from mnist_lab import MNISTDataModule, SoftmaxRegression, train
from mnist_lab.errors import Diverged, Pruned
from mnist_lab.sweeps.epoch_reporter import EpochReporter
from mnist_lab.sweeps.trial import Trial


class Recorder(Trial):
    """A trial that keeps what it is told.

    Args:
        ends_after: the epoch after which it should end.
    """

    def __init__(self, ends_after: int | None = None) -> None:
        self.ends_after = ends_after
        self._study: Any = SimpleNamespace(address=SimpleNamespace(pruner="median"))
        self.reports: list[tuple[int, float, bool]] = []

    def report(self, epoch: int, value: float, is_last: bool = False) -> bool:
        self.reports.append((epoch, value, is_last))
        return epoch == self.ends_after

    @property
    def reason(self) -> str:
        return "enough"


class Values(L.Callback):
    """Keeps what each epoch has logged in the end."""

    def __init__(self) -> None:
        self.found: list[dict[str, float]] = []

    def on_train_epoch_start(self, trainer: L.Trainer, *_: Any) -> None:
        self._keep(trainer)

    def on_train_end(self, trainer: L.Trainer, *_: Any) -> None:
        self._keep(trainer)

    def _keep(self, trainer: L.Trainer) -> None:
        self.found.append({k: v.item() for k, v in trainer.callback_metrics.items()})


def fit(trial: Trial, monitor: str = "val/acc", **options: Any) -> list[dict[str, float]]:
    values = Values()
    L.seed_everything(0, verbose=False)
    model = options.pop("model", None) or SoftmaxRegression()
    train(
        model,
        MNISTDataModule(batch_size=64),
        max_epochs=3,
        limit_train_batches=3,
        limit_val_batches=1,
        limit_test_batches=1,
        enable_progress_bar=False,
        callbacks=[values, EpochReporter(trial, monitor)],
        **options,
    )
    return values.found[1:]


@pytest.mark.parametrize("monitor", ["val/acc", "val/loss", "train/acc"])
@pytest.mark.usefixtures("mnist_files")
def test_every_epoch_is_reported(monitor: str) -> None:
    trial = Recorder()
    found = fit(trial, monitor)
    assert trial.reports == [(n, found[n][monitor], n == 2) for n in range(3)]


@pytest.mark.usefixtures("mnist_files")
def test_a_run_ends_where_it_should() -> None:
    trial = Recorder(ends_after=1)
    with pytest.raises(Pruned, match="enough"):
        fit(trial)
    assert [epoch for epoch, _, _ in trial.reports] == [0, 1]


@pytest.mark.usefixtures("mnist_files")
def test_nothing_is_left_to_end_after_the_last_epoch() -> None:
    trial = Recorder(ends_after=2)
    fit(trial)
    assert trial.reports[-1][0] == 2


@pytest.mark.filterwarnings("ignore:Encountered `nan` values in tensor:UserWarning")
@pytest.mark.usefixtures("mnist_files")
def test_a_run_that_diverges_ends() -> None:
    model = SoftmaxRegression()
    with torch.no_grad():
        for parameter in model.parameters():
            parameter.fill_(float("nan"))
    trial = Recorder()
    with pytest.raises(Diverged, match=r"diverged: (val|train)/loss is nan after epoch 1"):
        fit(trial, model=model)
    assert trial.reports == []


@pytest.mark.usefixtures("mnist_files")
def test_what_is_not_measured_is_not_reported() -> None:
    trial = Recorder()
    fit(trial, "val/f1")
    assert trial.reports == []

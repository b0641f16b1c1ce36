"""What a run says about its progress while it trains."""

import itertools
import json
from pathlib import Path
from typing import Any

import lightning as L
import pytest
import torch
from door import FEW_BATCHES, train

from mnist_lab import MNISTDataModule, SoftmaxRegression
from mnist_lab.training import progress_file
from mnist_lab.training.epoch_loop import use_fast_loop
from mnist_lab.training.progress_file import Heartbeat


@pytest.fixture
def beats(monkeypatch: pytest.MonkeyPatch) -> list[dict[str, Any]]:
    """What is written after each batch."""
    beats: list[dict[str, Any]] = []
    write = Heartbeat._write

    def kept(self: Heartbeat, trainer: Any) -> None:
        write(self, trainer)
        path = Path(trainer.default_root_dir, "progress.json")
        beats.append(json.loads(path.read_text()))

    monkeypatch.setattr(progress_file, "_EVERY", 0.0)
    monkeypatch.setattr(Heartbeat, "_write", kept)
    return beats


def test_it_is_there_while_a_run_trains(beats: list[dict[str, Any]], tmp_path: Path) -> None:
    run = train(f"model=softmax {FEW_BATCHES} trainer.max_epochs=2", tmp_path)
    assert [(beat["epoch"], beat["share"]) for beat in beats[1:]] == [
        *((1, 0.5), (1, 1.0), (2, 0.5), (2, 1.0)),
    ]
    assert beats[0]["metrics"] == {}
    last = beats[-1]
    assert (last["max_epochs"], last["seconds_left"]) == (2, 0)
    assert {"val/acc", "val/loss", "best/val/acc"} <= last["metrics"].keys()
    assert not (run / "progress.json").exists()


class TwoSteps(SoftmaxRegression):
    """Takes two steps a batch, of two optimizers."""

    def __init__(self) -> None:
        super().__init__()
        self.automatic_optimization = False

    def training_step(self, batch: Any, batch_idx: int) -> None:  # type: ignore[override]
        for optimizer in self.optimizers():  # type: ignore[union-attr]
            optimizer.zero_grad()
            self.manual_backward(super().training_step(batch, batch_idx))
            optimizer.step()

    def configure_optimizers(self) -> Any:
        return [torch.optim.SGD(self.parameters(), lr=0.1) for _ in range(2)]


@pytest.mark.parametrize(
    ("model", "options"),
    [
        (SoftmaxRegression, {"accumulate_grad_batches": 2}),
        (TwoSteps, {}),
        (TwoSteps, {"max_epochs": -1, "max_steps": 16}),
    ],
)
def test_time_left_where_steps_are_not_batches(
    beats: list[dict[str, Any]],
    model: type[SoftmaxRegression],
    options: dict[str, int],
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    clock = itertools.count()  # asked twice a batch
    monkeypatch.setattr(progress_file.time, "monotonic", lambda: next(clock))
    trainer = L.Trainer(
        **{"max_epochs": 2, "limit_train_batches": 4, "limit_val_batches": 0, **options},
        **{"logger": False, "enable_progress_bar": False, "enable_model_summary": False},
        **{"callbacks": [Heartbeat()], "default_root_dir": tmp_path, "accelerator": "cpu"},
        enable_checkpointing=False,
    )
    use_fast_loop(trainer)
    trainer.fit(model(), MNISTDataModule(batch_size=8))
    lefts = [beat["seconds_left"] for beat in beats]
    assert lefts[0] is None
    assert lefts[2] == pytest.approx(2 * 6, rel=0.3)
    assert lefts[4] == pytest.approx(2 * 4, rel=0.2)
    assert lefts[8] == 0

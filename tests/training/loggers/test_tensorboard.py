"""Logger to TensorBoard: what is a curve comes first, and what is none is left out."""

from pathlib import Path

import pytest
from tensorboard.backend.event_processing.event_accumulator import EventAccumulator

from mnist_lab.files.tensorboard import tag_of
from mnist_lab.training.loggers.tensorboard import TensorBoard


def test_results_stand_behind_the_curves_and_the_epoch_is_left_out(tmp_path: Path) -> None:
    logger = TensorBoard(str(tmp_path), name="", version="")
    logger.log_metrics({"train/loss": 0.5, "val/acc": 0.75, "time/epoch": 1.0, "epoch": 0}, 9)
    logger.log_metrics({"epoch": 1}, 19)
    logger.log_metrics({"test/acc": 0.5, "epoch": 1}, 20)
    logger.finalize("success")
    events = EventAccumulator(str(tmp_path)).Reload()
    tags = sorted(events.Tags()["scalars"])
    assert tags == ["train/loss", "train/time_epoch", "val/acc", "z_result/test/acc"]
    assert [(event.step, event.value) for event in events.Scalars("val/acc")] == [(9, 0.75)]


@pytest.mark.parametrize("hparams", [{}, {"width": 3}])
def test_a_file_of_hparams_is_written_where_there_are_some(
    hparams: dict[str, int], tmp_path: Path
) -> None:
    logger = TensorBoard(str(tmp_path), name="", version="")
    logger.log_metrics({"val/acc": 0.75}, 9)
    logger.log_hyperparams(hparams)
    logger.save()
    logger.finalize("success")
    assert (tmp_path / "hparams.yaml").exists() == bool(hparams)
    assert EventAccumulator(str(tmp_path)).Reload().Scalars("val/acc")


@pytest.mark.parametrize(
    ("name", "tag"),
    [("lr", "train/lr"), ("best/val/f1", "z_result/best/val/f1"), ("val/f1", "val/f1")],
)
def test_tags(name: str, tag: str) -> None:
    assert tag_of(name) == tag

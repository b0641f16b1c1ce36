"""Learning curves from event files, whole and damaged."""

from pathlib import Path

from torch.utils.tensorboard import SummaryWriter

from mnist_lab.report.curves import curves
from mnist_lab.training.loggers.tensorboard import TensorBoard


def log(folder: Path) -> Path:
    with SummaryWriter(str(folder)) as writer:
        for epoch, step in enumerate((99, 199, 299)):
            writer.add_scalar("epoch", epoch, step)
            writer.add_scalar("val/acc", 0.9 + epoch / 100, step)
            writer.add_scalar("other", 1.0, step)
        writer.add_scalar("val/loss", float("nan"), 99)
    (path,) = folder.iterdir()
    return path


def test_epochs_and_values(tmp_path: Path) -> None:
    log(tmp_path)
    by_name = curves(tmp_path)
    assert set(by_name) == {"val/acc"}  # no point of the loss is a number
    assert [epoch for epoch, _ in by_name["val/acc"]] == [1, 2, 3]
    assert [round(value, 4) for _, value in by_name["val/acc"]] == [0.9, 0.91, 0.92]


def test_epochs_of_the_labs_own_logger(tmp_path: Path) -> None:
    logger = TensorBoard(str(tmp_path), name="", version="")
    for epoch in range(4):
        step = 100 * epoch + 99
        logger.log_metrics({"train/loss": 1.0, "epoch": epoch}, step)
        if epoch % 2:
            logger.log_metrics({"val/acc": 0.5, "epoch": epoch}, step)
    logger.finalize("success")
    assert curves(tmp_path) == {
        "val/acc": [(2, 0.5), (4, 0.5)],
        "train/loss": [(1, 1.0), (2, 1.0), (3, 1.0), (4, 1.0)],
    }


def test_what_is_whole_of_a_cut_file(tmp_path: Path) -> None:
    path = log(tmp_path)
    path.write_bytes(path.read_bytes()[:-130])
    assert 0 < len(curves(tmp_path)["val/acc"]) <= 3
    path.write_bytes(b"no events at all" * 100)
    assert curves(tmp_path) == {}


def test_no_files_give_no_curves(tmp_path: Path) -> None:
    assert curves(tmp_path) == {}

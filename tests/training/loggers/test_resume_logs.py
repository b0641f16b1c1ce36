"""What logs are worth when a run is killed while it writes them."""

import warnings
from pathlib import Path

from lightning.pytorch.loggers import CSVLogger

from mnist_lab.training.loggers.resume_logs import close_logs, log_lengths, rewind


def csv_logger(folder: Path) -> CSVLogger:
    return CSVLogger(folder, name="", version="")


def test_csv_rows_outlive_a_kill_while_lightning_writes_them_anew(tmp_path: Path) -> None:
    """It does so whenever there is a new column, in place."""
    logger = csv_logger(tmp_path)
    for step in range(5):
        logger.log_metrics({"train/loss": step / 2}, step=step)
    logs = log_lengths([logger])
    path = tmp_path / "metrics.csv"
    rows = path.read_text()
    for _ in range(2):  # the second time before anything was saved again
        path.write_text("")
        logger = csv_logger(tmp_path)
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # Lightning's, of files that are there
            rewind([logger], logs, step=5)
        assert path.read_text() == rows
    logger.log_metrics({"train/loss": 2.5, "val/loss": 1.0}, step=5)
    logger.save()
    assert len(path.read_text().splitlines()) == 7
    close_logs([logger], is_finished=True)
    assert [one.name for one in tmp_path.iterdir()] == ["metrics.csv"]

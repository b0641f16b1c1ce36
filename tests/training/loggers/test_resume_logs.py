"""What logs are worth when a run is killed while it writes them."""

import warnings
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from door import call
from lightning.pytorch.loggers import CSVLogger, Logger, TensorBoardLogger

from mnist_lab.errors import ConfigError
from mnist_lab.training.loggers.resume_logs import (
    claim_folders,
    close_logs,
    log_lengths,
    rewind,
)


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


def tensorboard(folder: Path) -> TensorBoardLogger:
    logger = TensorBoardLogger(folder, name="", version="")
    logger.log_metrics({"train/loss": 0.5}, step=0)
    logger.finalize("success")
    return logger


@pytest.mark.parametrize("kind", [tensorboard, csv_logger])
def test_a_folder_has_the_logs_of_one_run(kind: Callable[[Path], Logger], tmp_path: Path) -> None:
    first, second, logs = tmp_path / "first", tmp_path / "second", tmp_path / "logs"
    claim_folders([kind(first / "logs")], first)
    assert not (first / "logs" / ".mnist_lab_run").exists()
    empty = CSVLogger(logs, name="", version="")
    claim_folders([empty], first)
    claim_folders([empty], first)
    kind(logs)
    claim_folders([empty], first, [{}])
    with pytest.raises(ConfigError, match=f"logs: has the log files of {first}; a run cuts"):
        claim_folders([empty], second)


def test_logs_of_an_earlier_version_are_those_of_the_snapshot(tmp_path: Path) -> None:
    logger = tensorboard(tmp_path / "logs")
    lengths = log_lengths([logger])
    logger.finalize("success")
    with pytest.raises(ConfigError, match="has the log files of another run"):
        claim_folders([logger], tmp_path / "run")
    claim_folders([logger], tmp_path / "run", lengths)
    claim_folders([logger], tmp_path / "run")


def test_a_run_leaves_the_logs_of_another_one(tmp_path: Path) -> None:
    few = " ".join(f"trainer.limit_{split}_batches=1" for split in ("train", "val", "test"))
    command = f"train trainer=cpu model=softmax trainer.max_epochs=1 {few} "
    command += f"logger.tensorboard.save_dir={tmp_path / 'logs'} hydra.run.dir="
    done = call(f"{command}first", tmp_path)
    assert done.returncode == 0, done.stderr
    before = {path: path.stat().st_size for path in (tmp_path / "logs").rglob("*")}
    done = call(f"{command}second", tmp_path)
    assert (done.returncode, len(done.stderr.splitlines())) == (2, 1), done.stderr
    assert {path: path.stat().st_size for path in (tmp_path / "logs").rglob("*")} == before


@pytest.mark.filterwarnings("ignore:Experiment logs directory")
@pytest.mark.parametrize("place", ["logs", "run/logs"])
@pytest.mark.parametrize("kind", [TensorBoardLogger, CSVLogger])
def test_a_resumed_run_goes_on_in_the_version_that_it_had(
    kind: Callable[..., Any], place: str, tmp_path: Path
) -> None:
    logs = []
    for run_dir in (tmp_path / "run", tmp_path / "other"):
        logger = kind(tmp_path / place)
        claim_folders([logger], run_dir)
        logger.log_metrics({"train/loss": 0.5}, step=0)
        logs.append(log_lengths([logger]))
        logger.finalize("success")
    resumed, new = kind(tmp_path / place), kind(tmp_path / place)
    claim_folders([resumed], tmp_path / "run", logs[0])
    claim_folders([new], tmp_path / "run")
    assert [Path(logger.log_dir).name for logger in (resumed, new)] == ["version_0", "version_2"]


@pytest.mark.filterwarnings("ignore:Experiment logs directory")
def test_two_loggers_of_a_run_go_on_in_a_version_each(tmp_path: Path) -> None:
    run_dir, root, logs = tmp_path / "run", tmp_path / "logs", []
    for number in range(8, 11):  # the first one is another run's; as texts, 9 comes last
        (root / f"version_{number}").mkdir(parents=True)
    for _ in range(2):
        logger = CSVLogger(root, name="")
        claim_folders([logger], run_dir)
        logger.log_metrics({"train/loss": 0.5}, step=0)
        logs += log_lengths([logger])
        logger.finalize("success")
    (root / "version_99").touch()
    resumed = [CSVLogger(root, name=""), CSVLogger(root, name="")]
    claim_folders(resumed, run_dir, logs)
    assert {logger.version for logger in resumed} == {11, 12}


def test_a_resumed_command_goes_on_in_the_version_that_it_had(tmp_path: Path) -> None:
    few = " ".join(f"trainer.limit_{split}_batches=1" for split in ("train", "val", "test"))
    target = "lightning.pytorch.loggers.TensorBoardLogger"
    logger = f"logger.tensorboard._target_={target} logger.tensorboard.version=null"
    command = f"train trainer=cpu model=softmax scheduler=none {few} {logger} hydra.run.dir=run "
    command += f"logger.tensorboard.save_dir={tmp_path / 'logs'} trainer.max_epochs="
    for epochs in (1, 2):
        done = call(f"{command}{epochs}", tmp_path)
        assert done.returncode == 0, done.stderr
    assert [path.name for path in (tmp_path / "logs").iterdir()] == ["version_0"]

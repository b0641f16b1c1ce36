"""The result of a run as it is printed."""

import math
from pathlib import Path

import pytest
from lightning.pytorch.callbacks import Callback

from mnist_lab.cli.run_result import print_result
from mnist_lab.training.observer import observed_by
from mnist_lab.training.run import Result

TIMES = {"epochs": 1.0, "steps": 1234.0, "time/fit": 2.5, "time/total": 3.5}


class Watcher:
    def callbacks(self, monitor: str) -> list[Callback]:
        return []


def test_a_result_has_a_table_times_and_a_command(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    run_dir = tmp_path / "runs" / "a"
    run_dir.mkdir(parents=True)
    (run_dir / "events.out.tfevents.0").touch()
    metrics = {"test/acc": 0.5, "test/loss": 1.25, **TIMES}
    print_result(Result(run_dir, metrics, None))
    printed = capsys.readouterr().out
    assert "runs/a" in printed
    assert "50.00%" in printed
    assert "1 epoch, 1,234 steps in 2.5 s; 3.5 s with set-up and test" in printed
    assert printed.endswith("tensorboard --logdir runs\n")


def test_one_step_is_one_step(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    print_result(Result(tmp_path, {**TIMES, "epochs": 0.0, "steps": 1.0}, None))
    assert "0 epochs, 1 step in 2.5 s" in capsys.readouterr().out


def test_a_sweep_prints_its_own(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    with observed_by(Watcher()):
        print_result(Result(tmp_path, TIMES, None))
    assert capsys.readouterr().out == ""


def test_a_run_that_diverged_is_warned_of(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    print_result(Result(tmp_path, {"test/loss": math.nan, **TIMES}, None))
    assert caplog.messages == [f"{tmp_path}: training diverged: test/loss is NaN"]

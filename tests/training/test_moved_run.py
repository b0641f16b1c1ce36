"""A run's directory that is moved or deleted while the run goes on."""

import shutil
from pathlib import Path
from typing import Any

import pytest
from door import call

from mnist_lab.training.epoch_loop import FastEpochLoop
from mnist_lab.training.fit import evaluate_on

SHORT = (
    "train model=softmax trainer=cpu trainer.max_epochs=1 trainer.limit_train_batches=12 "
    "trainer.limit_val_batches=1 trainer.limit_test_batches=1 ~callbacks.pictures "
    "~callbacks.progress trainer.enable_model_summary=false callbacks.checkpoint.every_n_steps=3 "
    "hydra.run.dir=run"
)


def change(folder: Path, is_deleted: bool) -> None:
    if is_deleted:
        shutil.rmtree(folder / "run")
    else:
        (folder / "run").rename(folder / "elsewhere")


@pytest.mark.parametrize(
    ("is_deleted", "logger"),
    [
        (False, "tensorboard"),
        (True, "none"),
        pytest.param(False, "none", marks=pytest.mark.slow),
        pytest.param(True, "tensorboard", marks=pytest.mark.slow),
    ],
)
def test_it_ends_in_a_line_while_it_trains(
    is_deleted: bool, logger: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    advance, left = FastEpochLoop.advance, 8

    def changed(self: FastEpochLoop, data_fetcher: Any) -> None:
        nonlocal left
        left -= 1
        if left == 0:
            change(tmp_path, is_deleted)
        advance(self, data_fetcher)

    with monkeypatch.context() as patch:
        patch.setattr(FastEpochLoop, "advance", changed)
        done = call(f"{SHORT} logger={logger}", tmp_path)
    assert done.returncode == 5, done.stderr
    assert "run: was moved or deleted while the run went on" in done.stderr
    assert not (tmp_path / "run").exists()
    if not is_deleted:
        assert call(f"resume {tmp_path / 'elsewhere'}", tmp_path).returncode == 0


@pytest.mark.parametrize("is_deleted", [False, pytest.param(True, marks=pytest.mark.slow)])
def test_it_ends_in_a_line_while_it_is_tested(
    is_deleted: bool, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def changed(*objects: Any) -> dict[str, float]:
        metrics = evaluate_on(*objects)
        change(tmp_path, is_deleted)
        return metrics

    monkeypatch.setattr("mnist_lab.training.fit.evaluate_on", changed)
    done = call(f"{SHORT} logger=none", tmp_path)
    assert done.returncode == 5, done.stderr
    assert not (tmp_path / "run").exists()

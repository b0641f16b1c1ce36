"""A run that goes on as another one needs the other's checkpoint of that place."""

from pathlib import Path

import pytest
from door import FEW_BATCHES, train

from mnist_lab.errors import InputError
from mnist_lab.training.checkpoints.inherit import inherit, measured_at


def test_a_run_that_does_not_wait_there_is_refused(tmp_path: Path) -> None:
    run = train(f"model=softmax {FEW_BATCHES} hydra.run.dir=r", tmp_path)
    before = (run / "config.yaml").read_bytes()
    with pytest.raises(InputError, match=r"must be a checkpoint of the end of epoch 3"):
        inherit(run, run, 3, {"optimizer.lr": 0.1})
    assert (run / "config.yaml").read_bytes() == before


def test_a_run_that_is_finished_or_not_begun_does_not_wait(tmp_path: Path) -> None:
    assert measured_at(tmp_path) is None
    assert measured_at(train(f"model=softmax {FEW_BATCHES} hydra.run.dir=r", tmp_path)) is None

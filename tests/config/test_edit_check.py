"""A config.yaml that was edited since its run began is one line, before anything is done."""

import shutil
from pathlib import Path
from typing import Any

import pytest
import yaml
from door import FEW_BATCHES, call
from omegaconf import OmegaConf

from mnist_lab.runs.directory import CONFIG

TRAIN = f"train model=softmax {FEW_BATCHES} ~callbacks.pictures ~callbacks.progress"
EDITS: dict[str, Any] = {
    "optimizer.lr": 0.5,
    "model.init": "normal",
    "model._target_": "mnist_lab.models.MLP",
    "data.batch_size": 50,
    "scheduler.pct_start": 0.5,
    "callbacks.early_stopping": {
        "_target_": "lightning.pytorch.callbacks.EarlyStopping",
        "monitor": "val/acc",
        "mode": "max",
    },
    "trainer.max_epochs": 7,
    "seed": 3,
    "metrics.f1": {"_target_": "torchmetrics.classification.F1Score"},
}
MAY = {"threads": 1, "callbacks.checkpoint.every_n_seconds": 3.0, "trainer.devices": 1}


@pytest.fixture(scope="module")
def trained(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("trained")
    assert call(f"{TRAIN} hydra.run.dir=run", folder).returncode == 0
    return folder / "run"


def edited(trained: Path, folder: Path, key: str, value: Any) -> Path:
    run_dir = Path(shutil.copytree(trained, folder / "run"))
    config = OmegaConf.create(yaml.safe_load((run_dir / CONFIG).read_text()))
    OmegaConf.update(config, key, value, force_add=True)
    (run_dir / CONFIG).write_text(OmegaConf.to_yaml(config))
    return run_dir


@pytest.mark.thorough(keep=1)
@pytest.mark.parametrize("key", EDITS)
def test_one_line(key: str, trained: Path, tmp_path: Path) -> None:
    run_dir = edited(trained, tmp_path, key, EDITS[key])
    before = {path: path.read_bytes() for path in run_dir.rglob("*") if path.is_file()}
    for command in ("resume run", "evaluate run", f"{TRAIN} hydra.run.dir=run"):
        done = call(command, tmp_path)
        assert (done.returncode, done.stdout) == (3, ""), done.stderr
        assert len(done.stderr.splitlines()) == 1
        assert f"run/{CONFIG}: was edited: " in done.stderr
        assert key in done.stderr
    assert {path: path.read_bytes() for path in run_dir.rglob("*") if path.is_file()} == before


@pytest.mark.parametrize("key", MAY)
def test_what_may_differ_from_one_start_to_the_next(
    key: str, trained: Path, tmp_path: Path
) -> None:
    edited(trained, tmp_path, key, MAY[key])
    done = call("resume run", tmp_path)
    assert done.returncode == 0, done.stderr


def test_the_lengths_that_were_typed_are_known(trained: Path, tmp_path: Path) -> None:
    shutil.copytree(trained, tmp_path / "run")
    assert call("resume run trainer.max_epochs=2", tmp_path).returncode == 0
    done = call("resume run", tmp_path)
    assert done.returncode == 0, done.stderr
    edited(tmp_path / "run", tmp_path / "copy", "trainer.max_epochs", 3)
    refused = call("evaluate copy/run", tmp_path)
    assert refused.returncode == 3
    assert "trainer.max_epochs=3, and 1 when the run began; put that back" in refused.stderr
    assert "mnist-lab resume copy/run trainer.max_epochs=N" in refused.stderr

"""The recipe trains, and its run is evaluated from its directory alone."""

from pathlib import Path

import pytest

from mnist_lab import evaluate
from mnist_lab.cli.main import main

FEW = ["trainer.max_steps=50", "trainer.accelerator=cpu", "trainer.enable_progress_bar=false"]


def test_recipe(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Train 50 steps and evaluate."""
    monkeypatch.setenv("MNIST_LAB_ALLOW", "mine")
    conf = str(Path(__file__).parent / "conf")
    run = f"hydra.run.dir={tmp_path / 'run'}"
    assert main(["train", "--config-dir", conf, "experiment=mine", run, *FEW]) == 0
    assert evaluate(tmp_path / "run")["test/acc"] > 0.6

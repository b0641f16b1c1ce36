"""What a run can be judged by, and in which direction."""

import sys

import pytest
from omegaconf import OmegaConf

from mnist_lab.config.metrics import best_mode, measured


@pytest.mark.parametrize(
    ("target", "mode"),
    [
        ("torchmetrics.classification.MulticlassF1Score", "max"),
        ("torchmetrics.classification.MulticlassCalibrationError", "min"),
        ("torchmetrics.CalibrationError", "min"),
        ("torchmetrics.Accuracy", "max"),
        ("torchmetrics.Nothing", "max"),  # which is refused where targets are checked
        ("antigravity.Metric", "max"),
    ],
)
def test_mode_follows_a_metric_and_imports_nothing_unchecked(target: str, mode: str) -> None:
    config = OmegaConf.create({"metrics": {"x": {"_target_": target}}})
    assert best_mode("val/x", _root_=config) == mode
    assert best_mode("val/x_class_3", _root_=config) == mode
    assert "antigravity" not in sys.modules


def test_monitors_are_the_labs_and_those_added() -> None:
    assert list(measured(None)) == ["val/acc", "val/loss", "train/acc", "train/loss"]
    assert list(measured({"f1": {}})) == [*measured(None), "val/f1"]
    for name, mode in (
        *(("val/acc", "max"), ("val/loss", "min"), ("val_loss", "min"), ("val/x", "max")),
        *(("train/loss", "min"), ("loss/dataloader_idx_0", "min"), ("val/NLLLoss", "min")),
        *(("val/glossary", "max"), ("val/lossless", "max")),
    ):
        assert best_mode(name, _root_=OmegaConf.create({})) == mode

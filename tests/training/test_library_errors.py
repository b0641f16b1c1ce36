from pathlib import Path

import lightning as L
import pytest
import torch

from mnist_lab import MNISTDataModule, SoftmaxRegression, train
from mnist_lab.errors import ConfigError, InputError
from mnist_lab.runs.directory import LAST
from mnist_lab.training import Checkpoint
from mnist_lab.training.checkpoints.plugin import AtomicCheckpointIO
from mnist_lab.training.library_errors import settings_taken


class Fail(L.Callback):
    def setup(self, trainer: L.Trainer, pl_module: L.LightningModule, stage: str) -> None:
        raise RuntimeError("bad luck")


def resume(folder: Path, model: SoftmaxRegression, *callbacks: L.Callback) -> None:
    limits = dict.fromkeys(("limit_train_batches", "limit_val_batches", "limit_test_batches"), 1)
    last = folder / LAST
    trainer = L.Trainer(
        accelerator="cpu",
        max_epochs=2 if last.exists() else 1,
        default_root_dir=folder,
        logger=False,
        enable_progress_bar=False,
        enable_model_summary=False,
        callbacks=[Checkpoint(), *callbacks],
        plugins=[AtomicCheckpointIO()],
        **limits,
    )
    train(model, MNISTDataModule(), trainer, ckpt_path=last if last.exists() else None)


@pytest.mark.filterwarnings("ignore:The number of training batches")
@pytest.mark.usefixtures("mnist_files")
def test_only_what_loading_raises_is_the_checkpoints_fault(tmp_path: Path) -> None:
    resume(tmp_path, SoftmaxRegression())
    with pytest.raises(RuntimeError, match="bad luck") as failure:
        resume(tmp_path, SoftmaxRegression(), Fail())
    assert not isinstance(failure.value, InputError)
    with pytest.raises(InputError, match=r"last\.ckpt: is of another run: "):
        resume(tmp_path, SoftmaxRegression(num_classes=11))


def test_what_lightning_says_of_a_setting_is_one_line() -> None:
    with pytest.raises(ConfigError, match="overfit_batches") as refused, settings_taken():
        L.Trainer(overfit_batches=-1, accelerator="cpu", logger=False)
    assert "\n" not in str(refused.value)


def test_an_error_of_the_users_own_code_is_left() -> None:
    with pytest.raises(ValueError, match="bad luck"), settings_taken():
        raise ValueError("bad luck")


@pytest.mark.parametrize("layer", [torch.nn.Linear(4, 2), torch.nn.Conv2d(1, 1, 3)])
def test_a_module_that_computes_with_bytes_is_told_what_they_are(layer: torch.nn.Module) -> None:
    with pytest.raises(RuntimeError) as failure, settings_taken():
        layer(torch.zeros(1, 4, 4, dtype=torch.uint8))
    assert failure.value.__notes__ == [
        "images that are bytes, as the lab's data has them: the module begins with images / 255"
    ]

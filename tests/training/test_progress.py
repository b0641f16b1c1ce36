"""Progress on a terminal is a bar that is drawn a few times an epoch."""

import fcntl
import json
import os
import pty
import re
import struct
import subprocess
import termios
from pathlib import Path

import lightning as L
import pytest
import torch
from door import COMMAND

from mnist_lab import MNISTDataModule
from mnist_lab.training.progress import Progress


@pytest.mark.thorough
def test_a_bar_on_a_terminal(tmp_path: Path) -> None:
    master, slave = pty.openpty()
    fcntl.ioctl(slave, termios.TIOCSWINSZ, struct.pack("HHHH", 40, 80, 0, 0))
    arguments = "trainer=cpu trainer.max_epochs=2 trainer.limit_train_batches=100 logger=none"
    process = subprocess.Popen(
        [COMMAND, "train", *arguments.split()], cwd=tmp_path, stdout=slave, stderr=slave
    )
    os.close(slave)
    shown = b""
    while True:
        try:
            shown += os.read(master, 65536)
        except OSError:  # the other end is closed
            break
    assert process.wait() == 0, shown
    assert b"100/100" in shown
    assert 5 <= shown.count(b"/100 [") <= 120
    text = re.sub(r"\x1b\[[A-Z]", "", shown.decode())
    assert "Epoch 0" not in text
    assert "epoch 1/2 100%" in text
    manifest = next(tmp_path.rglob("metrics.json"))
    last = json.loads(manifest.read_text())
    lines = re.findall(r"epoch (\d)/2  train/loss (\S+)  train/acc (\S+)  val/loss (\S+)", text)
    assert [line[0] for line in lines] == ["1", "2"]
    assert lines[1][1] == f"{last['train/loss']:.4f}"  # of this epoch, not of the one before


class Named(L.LightningModule):
    """Logs metrics by names of its own."""

    def __init__(self, names: dict[str, str]) -> None:
        super().__init__()
        self.layer = torch.nn.Linear(784, 10)
        self.names = names

    def _loss(self, split: str, batch: tuple[torch.Tensor, ...], **options: bool) -> torch.Tensor:
        logits = self.layer(batch[0].flatten(1) / 255)
        loss = torch.nn.functional.cross_entropy(logits, batch[1])
        if split in self.names:
            self.log(self.names[split], loss, prog_bar=True, **options)
        return loss

    def training_step(self, batch: tuple[torch.Tensor, ...], batch_idx: int) -> torch.Tensor:
        return self._loss("train", batch, on_step=True, on_epoch=True)

    def validation_step(self, batch: tuple[torch.Tensor, ...], batch_idx: int) -> None:
        self._loss("val", batch)

    def configure_optimizers(self) -> torch.optim.Optimizer:
        return torch.optim.SGD(self.parameters(), lr=0.01)


@pytest.mark.parametrize(
    ("names", "line"),
    [
        ({"train": "train_loss", "val": "val_loss"}, r"epoch 1/1  train_loss \S+  val_loss \S+"),
        ({"val": "val/nll"}, r"epoch 1/1  val/nll \S+"),
        ({"val": "nll"}, r"epoch 1/1  nll \S+"),
        ({}, "epoch 1/1"),
    ],
)
def test_metrics_of_other_names_stand_in_an_epochs_line(
    names: dict[str, str], line: str, capsys: pytest.CaptureFixture[str]
) -> None:
    trainer = L.Trainer(
        **{"max_epochs": 1, "limit_train_batches": 2, "limit_val_batches": 1, "logger": False},
        **{"enable_checkpointing": False, "enable_model_summary": False, "accelerator": "cpu"},
        callbacks=[Progress()],
    )
    trainer.fit(Named(names), MNISTDataModule())
    assert re.fullmatch(line, capsys.readouterr().out.strip().splitlines()[-1])

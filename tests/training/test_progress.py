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

import pytest
from door import COMMAND


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

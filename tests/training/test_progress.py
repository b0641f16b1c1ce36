"""Progress on a terminal is a bar that is drawn a few times an epoch."""

import fcntl
import os
import pty
import struct
import subprocess
import termios
from pathlib import Path

from door import COMMAND


def test_a_bar_on_a_terminal(tmp_path: Path) -> None:
    master, slave = pty.openpty()
    fcntl.ioctl(slave, termios.TIOCSWINSZ, struct.pack("HHHH", 40, 120, 0, 0))
    arguments = "trainer=cpu trainer.max_epochs=1 trainer.limit_train_batches=100 logger=none"
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
    assert 5 <= shown.count(b"/100 [") <= 60
    assert b"val/acc" in shown

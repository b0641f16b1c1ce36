"""``mnist-lab runs watch`` in a terminal of its own."""

import fcntl
import json
import os
import pty
import re
import select
import shlex
import shutil
import signal
import struct
import subprocess
import termios
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from door import COMMAND, call
from made_runs import make_run, note

from mnist_lab.files.atomic import write_atomic
from mnist_lab.runs.directory import hold
from mnist_lab.training import progress_file

LIMIT = 60.0  # seconds after which a screen that was not to be seen is a failure


class Watched:
    """The command in a terminal of 100 columns and 24 lines.

    Args:
        folder: the current folder.
    """

    def __init__(self, folder: Path) -> None:
        self.terminal, inner = pty.openpty()
        fcntl.ioctl(inner, termios.TIOCSWINSZ, struct.pack("HHHH", 24, 100, 0, 0))
        environment = os.environ | {"TERM": "xterm-256color"}
        for name in ("COLUMNS", "LINES"):
            environment.pop(name, None)
        self.process = subprocess.Popen(
            [COMMAND, "runs", "watch"],
            cwd=folder,
            env=environment,
            stdin=inner,
            stdout=inner,
            stderr=inner,
        )
        os.close(inner)
        self.text = ""

    def screen(self) -> str:
        """Return the last frame that was drawn."""
        frame = self.text.rpartition("\x1b[H")[2]
        return re.sub(r"\x1b\[[\d;?]*[a-zA-Z]", "", frame)

    def wait_for(self, is_shown: Callable[[str], bool]) -> None:
        end = time.monotonic() + LIMIT
        while not is_shown(self.screen()):
            assert time.monotonic() < end, self.screen()
            if select.select([self.terminal], [], [], 0.2)[0]:
                self.text += os.read(self.terminal, 100_000).decode(errors="replace")

    def end(self, key: str) -> int:
        if key == "Ctrl-C":
            self.process.send_signal(signal.SIGINT)
        else:
            os.write(self.terminal, key.encode())
        while select.select([self.terminal], [], [], LIMIT)[0]:
            try:
                read = os.read(self.terminal, 100_000)
            except OSError:  # it has ended
                break
            self.text += read.decode(errors="replace")
        return self.process.wait(LIMIT)


@pytest.fixture
def watched(tmp_path: Path) -> Iterator[Watched]:
    make_run(tmp_path / "outputs/runs/first", 0, 0.9)
    watched = Watched(tmp_path)
    yield watched
    watched.process.kill()
    watched.process.wait()
    os.close(watched.terminal)


@pytest.mark.parametrize("key", ["q", pytest.param("Ctrl-C", marks=pytest.mark.slow)])
def test_it_follows_what_changes_and_ends_by_a_key(
    key: str, watched: Watched, tmp_path: Path
) -> None:
    runs = tmp_path / "outputs/runs"
    watched.wait_for(lambda screen: "outputs/runs/first" in screen and "90.00%" in screen)
    second = make_run(runs / "second", 0, 0.95)
    watched.wait_for(lambda screen: "second" in screen and "2 runs: 2 finished" in screen)
    note(second, state="failed", error="\x1b]0;owned\x07")
    watched.wait_for(lambda screen: "1 failed" in screen)
    shutil.rmtree(second)
    watched.wait_for(lambda screen: "second" not in screen and "1 run:" in screen)
    before = sorted(path.name for path in tmp_path.rglob("*"))
    assert ".lock" not in before
    assert "\x1b]0;" not in watched.text
    assert watched.end(key) == 0
    assert "\x1b[?1049l" in watched.text  # the screen from before is there again


def test_without_a_terminal_it_is_one_line(tmp_path: Path) -> None:
    make_run(tmp_path / "outputs/runs/a", 0, 0.9)
    done = call("runs watch", tmp_path)
    assert (done.returncode, done.stdout, done.stderr.count("\n")) == (2, "", 1)
    assert "needs a terminal" in done.stderr
    assert call("runs watch nowhere", tmp_path).returncode == 3


@pytest.mark.skipif(shutil.which("tmux") is None, reason="tmux is not installed")
def test_in_tmux_it_lags_by_a_second_at_most(tmp_path: Path) -> None:
    run = make_run(tmp_path / "outputs/runs/first", 0, None)
    (run / "metrics.json").unlink()
    note(run, state="running")
    tmux = ["tmux", "-S", str(tmp_path / "socket")]

    def screen() -> str:
        shown = subprocess.run([*tmux, "capture-pane", "-p"], capture_output=True, text=True)
        return shown.stdout

    def until(text: str) -> float:
        start = time.monotonic()
        while text not in screen():
            assert time.monotonic() < start + LIMIT, screen()
            time.sleep(0.02)
        return time.monotonic() - start

    def write(epoch: int) -> None:
        beat = {"epoch": epoch, "max_epochs": 90, "share": 0.5, "steps_per_second": 100.0}
        beat |= {"seconds_left": 9.0, "metrics": {"val/acc": 0.9}}
        write_atomic(run / "progress.json", json.dumps(beat).encode(), is_durable=False)

    command = f"{shlex.quote(str(COMMAND))} runs watch"
    size = ["-x", "100", "-y", "24"]
    subprocess.run([*tmux, "new-session", "-d", *size, "-c", tmp_path, command], check=True)
    try:
        with hold(run / ".lock", run):
            write(1)
            until("1/90")
            lags = []
            for epoch in range(2, 7):
                time.sleep(0.13)  # somewhere between two looks
                write(epoch)
                lags.append(until(f"{epoch}/90"))
        assert progress_file._EVERY + sorted(lags)[len(lags) // 2] < 1, lags
        subprocess.run([*tmux, "send-keys", "q"], check=True)
        end = time.monotonic() + LIMIT
        while subprocess.run([*tmux, "has-session"], capture_output=True).returncode == 0:
            assert time.monotonic() < end
            time.sleep(0.05)
    finally:
        subprocess.run([*tmux, "kill-server"], capture_output=True)

"""No process outlives the command that started it, however that is ended."""

import contextlib
import os
import signal
import subprocess
import time
from collections.abc import Iterator
from pathlib import Path

import pytest
from door import COMMAND, call

LONG = "model=softmax seed=1,2 trainer=cpu trainer.max_epochs=2000 logger=none ~callbacks.pictures"
LAUNCHERS = {
    "basic": "",
    "fused": "hydra/launcher=fused",
    "parallel": "hydra/launcher=parallel hydra.launcher.workers=2",
    "fused workers": "hydra/launcher=parallel hydra.launcher.fused=true hydra.launcher.workers=1",
    "ray": "hydra/launcher=ray",
}
SECONDS = 120.0


def of_command(mark: str) -> Iterator[int]:
    """Yield the processes that have a mark in their environment, which their children inherit."""
    for path in Path("/proc").glob("[0-9]*/environ"):
        try:
            if mark.encode() in path.read_bytes():
                yield int(path.parent.name)
        except OSError:  # it has ended, or is another user's
            continue


@pytest.mark.slow
@pytest.mark.skipif(not Path("/proc/self/environ").exists(), reason="lists processes by /proc")
@pytest.mark.parametrize("launcher", LAUNCHERS)
@pytest.mark.parametrize("signum", [signal.SIGINT, signal.SIGTERM, signal.SIGKILL])
@pytest.mark.parametrize("attempt", range(5))
def test_no_process_is_left(attempt: int, signum: int, launcher: str, tmp_path: Path) -> None:
    mark = f"MNIST_LAB_MARK={tmp_path}"
    words = f"train -m {LONG} hydra.sweep.dir={tmp_path / 's'} {LAUNCHERS[launcher]}"
    process = subprocess.Popen(
        [COMMAND, *words.split()],
        env=os.environ | dict([mark.split("=", 1)]),
        cwd=tmp_path,
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
    )
    try:
        start = time.monotonic()
        while not any((tmp_path / "s").glob("*/manifest.json")):
            assert process.poll() is None
            assert time.monotonic() - start < SECONDS
            time.sleep(0.1)
        time.sleep(attempt)  # in which it has come so far
        process.send_signal(signum)
        process.wait(SECONDS)
        end = time.monotonic()
        while left := list(of_command(mark)):
            assert time.monotonic() - end < SECONDS, left
            time.sleep(0.2)
    finally:
        for pid in of_command(mark):
            with contextlib.suppress(ProcessLookupError):
                os.kill(pid, signal.SIGKILL)
        process.wait()


ALLOCATED = {"SLURM_JOB_ID": "7", "SLURM_JOB_NAME": "lab", "SLURM_NTASKS": "4"}


@pytest.mark.thorough
@pytest.mark.usefixtures("mnist_files")
@pytest.mark.parametrize(
    "more",
    [
        {},
        {"SLURM_PROCID": "0", "SLURM_LOCALID": "0"},  # a script of sbatch
        {"SLURM_STEP_NUM_TASKS": "1", "SLURM_PROCID": "0"},  # the shell of salloc
        {"SLURM_NTASKS_PER_NODE": "4", "SLURM_NNODES": "2", "SLURM_JOB_NUM_NODES": "2"},
    ],
)
def test_an_allocation_of_several_tasks(
    more: dict[str, str], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    for name, value in (ALLOCATED | more).items():
        monkeypatch.setenv(name, value)
    fast = "model=softmax trainer=cpu trainer.fast_dev_run=true logger=none"
    for command in (f"train {fast} hydra.run.dir=r", f"train -m {fast} hydra.sweep.dir=s seed=1,2"):
        monkeypatch.setenv("SLURM_NTASKS", "4")
        done = call(command, tmp_path)
        assert done.returncode == 0, done.stderr
    done = call("evaluate r trainer.limit_test_batches=1 trainer.limit_val_batches=1", tmp_path)
    assert done.returncode in (0, 3), done.stderr  # a fast_dev_run leaves no checkpoint

"""A trial of a stack that was killed while its checkpoints are written ends as one that was not."""

import json
import signal
import subprocess
import sys
from pathlib import Path

import pytest
from door import call
from stack_trials import same

from mnist_lab.files.checkpoint import read_checkpoint
from mnist_lab.runs.directory import BEST, LAST, MANIFEST, METRICS

SWEEP = (
    "train -m model=softmax optimizer=sgd optimizer.lr=3 scheduler=none trainer=cpu "
    "trainer.limit_train_batches=4 trainer.limit_val_batches=1 trainer.limit_test_batches=1 "
    "trainer.max_epochs=6 logger=none ~callbacks.pictures seed=1,2 hydra/launcher=fused"
)
# Saves after epochs 2 and 4 too. Trial 0 is best after 2, 3 and 6 epochs, trial 1 after 2, 4 and 5.
KILLED = f"""
import os, signal, sys
from mnist_lab.cli.main import main
from mnist_lab.training.checkpoints.plugin import AtomicCheckpointIO
from mnist_lab.training.stacked.run import StackedRun
save, left = AtomicCheckpointIO.save_checkpoint, int(sys.argv[1])
def killed(*arguments, **options):
    global left
    left -= 1
    if left < 0:
        os.kill(os.getpid(), signal.SIGKILL)
    save(*arguments, **options)
AtomicCheckpointIO.save_checkpoint = killed
StackedRun.is_time = property(lambda run: run.epochs in (2, 4))
main({SWEEP.split()!r} + sys.argv[2:])
"""
WRITES = {
    "the first best": [1],
    "a best one of an epoch before the last checkpoint's": [5],
    "such a one after the last step": [11],
    "such a one, then the next of a trial alone": [5, 1],
    "the last of a stack, then the first of the stack that is resumed": [7, 1],
}


@pytest.fixture(scope="module")
def whole(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A sweep that was not killed."""
    folder = tmp_path_factory.mktemp("whole")
    done = call(f"{SWEEP} hydra.sweep.dir=s", folder)
    assert done.returncode == 0, done.stderr
    return folder / "s"


@pytest.mark.thorough(keep=1)
@pytest.mark.parametrize("name", WRITES)
def test_a_kill_before_a_checkpoint_is_written(name: str, whole: Path, tmp_path: Path) -> None:
    for write in WRITES[name]:
        command = [sys.executable, "-c", KILLED, str(write), "hydra.sweep.dir=s"]
        killed = subprocess.run(command, cwd=tmp_path, check=False, capture_output=True)
        assert killed.returncode == -signal.SIGKILL, killed.stderr
    done = call(f"{SWEEP} hydra.sweep.dir=s", tmp_path)
    assert done.returncode == 0, done.stderr
    assert "WARNING" not in done.stdout + done.stderr
    for number in "01":
        one, other = whole / number, tmp_path / "s" / number
        hashes = [json.loads((run / MANIFEST).read_text())["sha256"] for run in (one, other)]
        assert hashes[0] == hashes[1]
        figures = [json.loads((run / METRICS).read_text()) for run in (one, other)]
        for metric in figures[0]:
            assert metric.startswith("time/") or figures[0][metric] == figures[1][metric], metric
        for file in (BEST, LAST):
            contents = [read_checkpoint(run / file) for run in (one, other)]
            for key in ("global_step", "epoch", "state_dict", "optimizer_states", "lr_schedulers"):
                same(contents[1][key], contents[0][key])

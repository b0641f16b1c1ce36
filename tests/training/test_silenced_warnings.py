"""Training from Python says where it is, and nothing else."""

import subprocess
import sys

import pytest

CODE = (
    "from mnist_lab import SoftmaxRegression, train\n"
    "few = dict.fromkeys(['limit_train_batches', 'limit_val_batches', 'limit_test_batches'], 1)\n"
    "train(SoftmaxRegression(), max_epochs=2, accelerator='cpu', **few{more})"
)


@pytest.mark.thorough
@pytest.mark.parametrize("is_quiet", [True, False])
def test_a_line_an_epoch_or_nothing(is_quiet: bool) -> None:
    code = CODE.format(more=", enable_progress_bar=False" if is_quiet else "")
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True)
    assert (done.returncode, done.stderr) == (0, "")
    lines = [] if is_quiet else ["epoch 1/2  train/loss", "epoch 2/2  train/loss"]
    assert [line[:21] for line in done.stdout.splitlines()] == lines

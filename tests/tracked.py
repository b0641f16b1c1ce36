"""A run that is tracked, killed with SIGKILL in the middle of what tracks it, and resumed."""

import signal
import subprocess
import sys
from collections import Counter
from collections.abc import Sequence
from pathlib import Path

STEPS, EPOCHS = 24, 3
TRAIN = (
    f"train model=softmax trainer=cpu trainer.max_epochs={EPOCHS} "
    f"trainer.limit_train_batches={STEPS // EPOCHS} trainer.log_every_n_steps=2 "
    "trainer.limit_val_batches=1 trainer.limit_test_batches=1 metrics=f1 "
    "trainer.enable_model_summary=false ~callbacks.pictures callbacks.checkpoint.every_n_steps=3 "
    "hydra.run.dir=run"
)
KILLER = """\
import os
import pkgutil
import signal
import sys
from mnist_lab.cli.main import main
left, *names = sys.argv[1].split(",")
left = int(left)
def counted(function):
    def call(*arguments, **options):
        count()
        result = function(*arguments, **options)
        count()
        return result
    return call
def count():
    global left
    left -= 1
    if left == 0:
        os.kill(os.getpid(), signal.SIGKILL)
for name in names:
    place, _, method = name.rpartition(".")
    place = pkgutil.resolve_name(f"mnist_lab.training.{place}")
    setattr(place, method, counted(getattr(place, method)))
sys.exit(main(sys.argv[2:]))
"""
Points = Counter[tuple[str, int]]


def expected() -> Points:
    """Return the points of a run of TRAIN, without the epoch's number that Lightning adds."""
    points: Points = Counter()
    for step in range(1, STEPS, 2):
        points.update((name, step) for name in ("train/loss_step", "train/acc_step", "lr"))
    for step in range(STEPS // EPOCHS - 1, STEPS, STEPS // EPOCHS):
        names = ("val/loss", "val/acc", "val/f1", "train/loss", "train/acc", "time/epoch")
        points.update((name, step) for name in names)
    points.update((f"best/val/{name}", STEPS) for name in ("loss", "acc", "f1"))
    points.update((f"test/{name}", STEPS) for name in ("loss", "acc", "f1", "num_samples"))
    points.update((f"test/acc_class_{number}", STEPS) for number in range(10))
    return points


def killed(
    folder: Path, loggers: str, methods: list[str], kills: int, counts: Sequence[int]
) -> list[int]:
    """Kill a run where methods of ``mnist_lab.training`` begin or end, so many times; end it.

    Args:
        folder: the folder to run in.
        loggers: the override of the loggers.
        methods: the methods.
        kills: kills in all.
        counts: beginnings and ends in a process until it is killed; an end takes more.

    Returns:
        The numbers of the processes.
    """
    pids = []
    (folder / "killer.py").write_text(KILLER)
    names = [*methods, "checkpoint_io.AtomicCheckpointIO.save_checkpoint"]
    for number in range(kills + 1):
        after = counts[number * 7 % len(counts)] if number < kills else 0
        count = ",".join([str(after), *names])
        process = subprocess.Popen(
            [sys.executable, "-W", "ignore", "killer.py", count, *TRAIN.split(), loggers],
            cwd=folder,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
        )
        pids.append(process.pid)
        printed, _ = process.communicate(timeout=300)
        assert process.returncode == (-signal.SIGKILL if number < kills else 0), printed
        assert "wandb: " not in printed  # its own lines
    return pids

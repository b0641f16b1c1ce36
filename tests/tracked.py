"""A run that is tracked, killed with SIGKILL in the middle of what tracks it, and resumed."""

import json
import re
import signal
import subprocess
import sys
from collections import Counter
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
import mnist_lab.training.run  # which takes seconds, and once is enough
from mnist_lab.cli.main import main
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
counts, names, *words = sys.argv[1:]
for name in names.split(","):
    place, _, method = name.rpartition(".")
    place = pkgutil.resolve_name(f"mnist_lab.training.{place}")
    setattr(place, method, counted(getattr(place, method)))
for left in map(int, counts.split(",")):
    if pid := os.fork():
        status = os.waitpid(pid, 0)[1]
        print("ended:", pid, os.waitstatus_to_exitcode(status), flush=True)
    else:
        code = main(words)
        sys.stdout.flush()
        os._exit(code)
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


def killed(folder: Path, loggers: str, methods: list[str], kills: int) -> list[int]:
    """Kill a run where methods of ``mnist_lab.training`` begin or end, so many times; end it.

    Args:
        folder: the folder to run in.
        loggers: the override of the loggers.
        methods: the methods.
        kills: kills in all.

    Returns:
        The numbers of the processes.
    """
    (folder / "killer.py").write_text(KILLER)
    names = [*methods, "checkpoints.plugin.AtomicCheckpointIO.save_checkpoint"]
    counts = [*(5 + number * 7 % 15 for number in range(kills)), 0]  # an end takes more
    words = [",".join(map(str, counts)), ",".join(names), *TRAIN.split(), loggers]
    done = subprocess.run(
        [sys.executable, "-W", "ignore", "killer.py", *words],
        cwd=folder,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
    )
    ended = re.findall(r"^ended: (\d+) (\S+)$", done.stdout, re.MULTILINE)
    assert [int(code) for _, code in ended] == [-signal.SIGKILL] * kills + [0], done.stdout
    assert "wandb: " not in done.stdout  # its own lines
    attempts = json.loads((folder / "run" / "manifest.json").read_text())["attempts"]
    assert len({attempt["from_step"] for attempt in attempts}) > kills // 5
    return [int(pid) for pid, _ in ended]

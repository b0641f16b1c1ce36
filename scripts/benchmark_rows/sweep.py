"""Seconds a trial: a sweep as one program, one run after the other, and a process a trial."""

import csv
import sys
from typing import Any

from benchmark_rows import commands
from benchmark_rows.catalog import NETS, Job
from benchmark_rows.commands import mnist_lab

_LRS = ("3e-4", "1e-3", "3e-3", "1e-2")
EPOCHS = 3


def lab(job: Job, net: str, launcher: str, cnn: bool = False) -> dict[str, Any]:
    """Time the real command over a grid of learning rates and seeds, all run directories written.

    The figure is the whole command's time, its start, tests and leaderboard included, over the
    number of trials.
    """
    trials, epochs = job.size.trials // 4 if cnn else job.size.trials, 1 if cnn else EPOCHS
    seeds = max(1, trials // len(_LRS))
    limits = [] if job.size.mlp_share == 1 else ["trainer.limit_train_batches=10"]
    finished = commands.run(
        [
            *(*mnist_lab(), "train", "-m", *NETS[net].overrides, *limits),
            *(f"trainer.max_epochs={epochs}", f"optimizer.lr={','.join(_LRS)}"),
            *(f"seed=range({seeds})", f"hydra/launcher={launcher}", "hydra.sweep.dir=sweep"),
        ],
        job.folder,
    )
    with open(job.folder / "sweep" / "leaderboard.csv", encoding="utf-8") as file:
        rows = list(csv.DictReader(file))
    count = len(_LRS) * seeds
    if len(rows) != count or any(row["state"] != "finished" for row in rows):
        raise RuntimeError(f"{len(rows)} of {count} trials were finished")
    return {
        "figure": finished.seconds / count,
        "trials": count,
        "peak_mb": finished.peak_mb,
        "val_acc": max(float(row["val/acc"]) for row in rows),
        "note": f"{count} trials, {epochs} epoch{'s' if epochs > 1 else ''} each",
    }


def usual(job: Job, net: str) -> dict[str, Any]:
    """Time a process for each trial, Lightning with torchvision's data set in a DataLoader.

    Few are run, as nothing makes one of them faster or slower than another. They do not test.
    """
    count = 2 if job.size.trials > 4 else 1
    program = (
        "import sys; from pathlib import Path; from benchmark_rows import catalog, step; "
        "size = catalog.SIZES[sys.argv[1]]; root, folder = map(Path, sys.argv[2:4]); "
        "step.fit_usual(catalog.Job(size, 0, root, folder), catalog.NETS[sys.argv[4]], "
        f"{EPOCHS})"
    )
    size = "full" if job.size.mlp_share == 1 else "tiny"
    command = [sys.executable, "-c", program, size, str(job.root), str(job.folder), net]
    seconds = sum(commands.run(command, job.folder).seconds for _ in range(count))
    return {
        "figure": seconds / count,
        "trials": count,
        "note": f"{count} trials, {EPOCHS} epochs each, no test",
    }

"""Seconds from a command to its end or to its first training step.

Each command runs once before it is timed, to have its files and bytecode in the caches.
"""

import sys
from typing import Any

from benchmark_rows import commands
from benchmark_rows.catalog import Job

_CONFIG_ERROR = 2


def import_lightning(job: Job) -> dict[str, Any]:
    """Time what any Lightning program pays before it does anything."""
    return _timed([sys.executable, "-c", "import lightning"], job)


def import_lab(job: Job) -> dict[str, Any]:
    """Time the package's import."""
    return _timed([sys.executable, "-c", "import mnist_lab"], job)


def show_help(job: Job) -> dict[str, Any]:
    """Time the command's help."""
    return _timed([*commands.mnist_lab(), "--help"], job)


def config_error(job: Job) -> dict[str, Any]:
    """Time how long a misspelt key takes to be refused."""
    return _timed(commands.train(job.folder, "modle=cnn"), job, exit_code=_CONFIG_ERROR)


def first_step(job: Job) -> dict[str, Any]:
    """Time from the start of the command to the end of the first batch, on a callback's clock."""
    path = job.folder / "first_step"
    for attempt in range(2):
        command = commands.train(
            job.folder / str(attempt),  # not the same run again, which would be resumed
            "trainer.max_epochs=1",
            "trainer.limit_train_batches=1",
            "+callbacks.first._target_=benchmark_rows.first_step.FirstStep",
            "allow_targets=[benchmark_rows.]",
        )
        finished = commands.run(command, job.folder, {"BENCHMARK_FIRST_STEP": str(path)})
    ended = float(path.read_text(encoding="ascii"))
    return {"figure": ended - finished.started, "whole_command": finished.seconds}


def _timed(command: list[str], job: Job, exit_code: int = 0) -> dict[str, Any]:
    for _ in range(2):
        finished = commands.run(command, job.folder, exit_code=exit_code)
    return {"figure": finished.seconds}

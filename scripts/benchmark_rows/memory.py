"""Peak resident memory of whole processes, as the kernel counts it.

This module and what starts it import nothing heavy: on Linux a new program's peak begins at what
the process that started it had.
"""

import sys
from typing import Any

from benchmark_rows import commands
from benchmark_rows.catalog import Job

_USUAL = """
import sys
from pathlib import Path
from benchmark_rows.catalog import SIZES, Job, Net
from benchmark_rows.step import fit_usual
net = Net("the lab's default", 128, (512, 256), dropout=0.2)
size = SIZES[sys.argv[3]]
fit_usual(Job(size, 0, Path(sys.argv[1]), Path(sys.argv[2])), net, epochs=1)
"""


def import_lightning(job: Job) -> dict[str, Any]:
    """Measure what any Lightning program holds before it does anything."""
    return _measured([sys.executable, "-c", "import lightning"], job)


def lab(job: Job) -> dict[str, Any]:
    """Measure the lab's default run, cut to one epoch."""
    return _measured(commands.train(job.folder, "trainer.max_epochs=1"), job)


def usual(job: Job) -> dict[str, Any]:
    """Measure Lightning with torchvision's data set, one epoch of the same net."""
    size = "tiny" if job.size.data_batches else "full"
    arguments = [str(job.root), str(job.folder), size]
    return _measured([sys.executable, "-c", _USUAL, *arguments], job)


def _measured(command: list[str], job: Job) -> dict[str, Any]:
    finished = commands.run(command, job.folder)
    return {"figure": finished.peak_mb, "seconds": finished.seconds}

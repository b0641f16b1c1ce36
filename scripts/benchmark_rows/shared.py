"""Seconds of fit of the lab's own command, alone and beside two processes that never rest."""

import json
import os
import subprocess
import sys
from typing import Any

from benchmark_rows import commands
from benchmark_rows.catalog import Job

_BATCHES = {"mlp": 430, "cnn": 200}
_BUSY = "import os; parent = os.getppid()\nwhile os.getppid() == parent: pass"
_VARIABLES = ("GOMP_SPINCOUNT", "OMP_WAIT_POLICY", "OMP_NUM_THREADS")


def fit(job: Job, model: str, busy: int, waits: dict[str, str]) -> dict[str, Any]:
    """Time two epochs of a default model.

    Args:
        job: where to write.
        model: mlp or cnn.
        busy: processes beside it.
        waits: environment variables of OpenMP; none is the lab's default.
    """
    for name in _VARIABLES:
        os.environ.pop(name, None)
    batches = max(1, round(_BATCHES[model] * job.size.cnn_share))
    limits = [f"trainer.limit_{part}_batches=1" for part in ("val", "test")]
    command = commands.train(
        job.folder,
        f"model={model}",
        "trainer=cpu",
        "trainer.max_epochs=2",
        f"trainer.limit_train_batches={batches}",
        "~callbacks.pictures",
        *limits,
    )
    beside = [subprocess.Popen([sys.executable, "-c", _BUSY]) for _ in range(busy)]
    try:
        commands.run(command, job.folder, waits)
    finally:
        for process in beside:
            process.kill()
            process.wait()
    run_dir = job.folder / "run"
    metrics = json.loads((run_dir / "metrics.json").read_text(encoding="utf-8"))
    return {"figure": metrics["time/fit"]}

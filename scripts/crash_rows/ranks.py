"""Ranks that train together, of which scripts/crash_test.py kills one."""

import os
import random
import signal
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

from crash_rows.compare import differences, outcome
from crash_rows.runner import References
from mnist_lab.runs.directory import LAST


def ranks(folder: Path, _: References, count: int) -> dict[str, Any]:
    """Kill one of two ranks; the command has to end soon, leave nothing, and go on to the same."""
    options = (
        "trainer=ddp_cpu model=mlp model.hidden_dims=[32] model.dropout=0.3 trainer.max_epochs=2 "
        "trainer.limit_train_batches=60 trainer.log_every_n_steps=10 data.augment=affine "
        "callbacks.checkpoint.every_n_steps=10"
    )
    command = [sys.executable, "-m", "mnist_lab", "train", *options.split()]
    environment = os.environ | {"OMP_NUM_THREADS": "1"}

    def run(name: str) -> "subprocess.Popen[bytes]":
        output = open(folder / f"{name}.out", "ab")  # noqa: SIM115 - the process keeps it
        return subprocess.Popen(
            [*command, f"hydra.run.dir={name}"],
            cwd=folder,
            env=environment,
            stdout=output,
            stderr=subprocess.STDOUT,
        )

    run("unbroken_ranks").wait()
    expected = outcome(folder / "unbroken_ranks")
    problems, slowest = [], 0.0
    for rank in (0, 1):
        for number in range(count):
            name = f"rank_{rank}_{number}"
            process = run(name)
            last = folder / name / LAST
            while process.poll() is None and not last.exists():
                time.sleep(0.005)
            time.sleep(random.uniform(0, 0.4))
            victim = process.pid if rank == 0 else _children(process.pid)[0]
            others = [process.pid, *_children(process.pid)]
            os.kill(victim, signal.SIGKILL)
            start = time.monotonic()
            code = process.wait()
            while any(_is_alive(pid) for pid in others) and time.monotonic() - start < 60:
                time.sleep(0.01)
            seconds = time.monotonic() - start
            slowest = max(slowest, seconds)
            if code == 0 or seconds > 15:
                problems.append(f"{name}: exit {code} after {seconds:.1f} s")
            if run(name).wait() != 0:
                problems.append(f"{name}: {(folder / f'{name}.out').read_text()[-1500:]}")
            elif found := differences(expected, outcome(folder / name)):
                problems.append(f"{name}: {found}")
    return {
        "killed": 2 * count,
        "different": len(problems),
        "problems": problems,
        "slowest_end_s": round(slowest, 1),
    }


def _children(pid: int) -> list[int]:
    text = Path(f"/proc/{pid}/task/{pid}/children").read_text()
    return [int(child) for child in text.split()]


def _is_alive(pid: int) -> bool:
    try:
        return Path(f"/proc/{pid}/stat").read_text().rsplit(")", 1)[1].split()[0] != "Z"
    except OSError:
        return False

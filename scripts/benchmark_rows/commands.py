"""Commands that a row measures from outside: their wall time and peak memory."""

import os
import subprocess
import sys
import time
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import NamedTuple

_SCRIPTS = Path(__file__).parents[1]


class Finished(NamedTuple):
    """What a command took.

    Args:
        started: time at its start, seconds since the epoch.
        seconds: wall time.
        peak_mb: peak resident memory in MB (10^6 bytes).
    """

    started: float
    seconds: float
    peak_mb: float


def mnist_lab() -> list[str]:
    """Return the installed command, or what is the same where it is not beside this Python."""
    command = Path(sys.executable).with_name("mnist-lab")
    return [str(command)] if command.exists() else [sys.executable, "-m", "mnist_lab"]


def train(folder: Path, *overrides: str) -> list[str]:
    """Return the command that trains with a run directory of its own, ``folder/run``."""
    return [*mnist_lab(), "train", *overrides, f"hydra.run.dir={folder / 'run'}"]


def run(
    command: Sequence[str],
    folder: Path,
    variables: Mapping[str, str] | None = None,
    exit_code: int = 0,
) -> Finished:
    """Run a command to its end.

    Args:
        command: program and arguments.
        folder: working directory.
        variables: environment variables besides this process's own; PYTHONPATH always begins
            with the folder of these scripts.
        exit_code: the one that the command must end with.

    Raises:
        RuntimeError: it ended with another one.
    """
    python_path = os.pathsep.join([str(_SCRIPTS), os.environ.get("PYTHONPATH", "")])
    environment = {**os.environ, "PYTHONPATH": python_path, **(variables or {})}
    started, start = time.time(), time.perf_counter()
    process = subprocess.Popen(command, cwd=folder, env=environment)
    # wait4 and not RUSAGE_CHILDREN, which is the highest of all children so far.
    _, status, usage = os.wait4(process.pid, 0)
    seconds = time.perf_counter() - start
    process.returncode = os.waitstatus_to_exitcode(status)
    if process.returncode != exit_code:
        raise RuntimeError(f"{' '.join(command)}: ended with {process.returncode}")
    unit = 1 if sys.platform == "darwin" else 1024  # bytes on macOS, KiB on Linux
    return Finished(started, seconds, usage.ru_maxrss * unit / 1e6)
